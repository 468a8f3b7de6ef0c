package daemon_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pawl/internal/config"
	"pawl/internal/daemon"
	"pawl/internal/hostlock"
	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
	"pawl/signer/grep11"
	"pawl/signer/signertest"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// folder is what a daemon starts from: a card, one key, a ratchet, keys.json.
type folder struct {
	t    *testing.T
	card *card
	path string // of keys.json
	key  tezos.PublicKeyHash
	made grep11.Generated
}

func newFolder(t *testing.T) *folder {
	t.Helper()
	f := &folder{t: t, card: newCard(t)}
	dir := string(f.card.Dir)
	f.path = filepath.Join(dir, "keys.json")
	client := f.card.Dial(t)
	f.made = cardtest.Generate(t, client, tezos.P256)
	f.key = f.made.PublicKey.Hash()
	if err := sqlite.Create(t.Context(), filepath.Join(dir, "ratchet.db")); err != nil {
		t.Fatal(err)
	}
	f.inRatchet(func(db *ratchettest.DB) error { return db.RegisterNew(t.Context(), f.key) })
	f.write(map[string]any{})
	return f
}

func (f *folder) inRatchet(do func(*ratchettest.DB) error) {
	t := f.t
	t.Helper()
	db, err := ratchettest.OpenDB(t.Context(), filepath.Join(string(f.card.Dir), "ratchet.db"), ratchettest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// write makes keys.json, with some names changed or, with nil, left out.
func (f *folder) write(changes map[string]any) {
	t := f.t
	t.Helper()
	content := map[string]any{
		"url": f.card.Address, "cert_path": "client.pem", "key_path": "client-key.pem", "cacert_path": "ca.pem", "db": "ratchet.db",
		"witness": ratchettest.WitnessOf(f.path),
		"keys":    map[string]any{f.key.String(): map[string]any{"public_key": f.made.PublicKey.String(), "secret_key": f.made.Blob.Hex()}},
		"policy":  map[string]any{"baking": true, "operations": []string{}},
	}
	for name, value := range changes {
		if content[name] = value; value == nil {
			delete(content, name)
		}
	}
	data, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *folder) open() (*daemon.Daemon, []config.Finding, error) {
	t := f.t
	t.Helper()
	cfg, findings, err := config.Load(f.path)
	if err != nil {
		t.Fatalf("Load: %v %v", err, findings)
	}
	return daemon.Open(t.Context(), cfg, daemon.Options{})
}

func closeSigner(t *testing.T, s interface{ Close() error }) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestOpenSigns(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	for run := range 2 { // the second run finds what the first one left
		s, findings, err := f.open()
		if err != nil || len(findings) != 0 {
			t.Fatalf("Open: %v %v", err, findings)
		}
		res, err := s.Sign(t.Context(), f.key, block(5, 0, 0))
		if err != nil || res.Stored != (run == 1) {
			t.Errorf("run %d: stored %v, %v", run, res.Stored, err)
		}
		closeSigner(t, s)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		damage func(f *folder)
		want   string
	}{
		"no client certificate": {func(f *folder) { f.remove("client.pem") }, "cert_path"},
		"no client key":         {func(f *folder) { f.remove("client-key.pem") }, "key_path"},
		"no CA":                 {func(f *folder) { f.remove("ca.pem") }, "cacert_path"},
		"CA not PEM":            {func(f *folder) { f.overwrite("ca.pem", "x") }, "no certificate in PEM form"},
		"client key readable by others": {func(f *folder) {
			if err := os.Chmod(filepath.Join(string(f.card.Dir), "client-key.pem"), 0o644); err != nil {
				f.t.Fatal(err)
			}
		}, "chmod 600"},
		"no ratchet":     {func(f *folder) { f.remove("ratchet.db") }, "pawl ratchet init"},
		"no db named":    {func(f *folder) { f.write(map[string]any{"db": nil}) }, "has no db"},
		"no url":         {func(f *folder) { f.write(map[string]any{"url": nil}) }, "url: missing"},
		"no key file":    {func(f *folder) { f.keyFile("none.sk.hex") }, "secret_key_file"},
		"bad key file":   {func(f *folder) { f.overwrite("x.sk.hex", "00ff"); f.keyFile("x.sk.hex") }, "secret_key_file"},
		"not registered": {func(f *folder) { f.freshRatchet() }, "pawl ratchet register"},
		"registered in another ratchet": {func(f *folder) {
			f.freshRatchet() // of the key alone; that of all others has the registration
			client := f.card.Dial(f.t)
			second := cardtest.Generate(f.t, client, tezos.Ed25519)
			f.inRatchet(func(db *ratchettest.DB) error { return db.RegisterNew(f.t.Context(), second.PublicKey.Hash()) })
			entry := func(made grep11.Generated, db string) map[string]any {
				return map[string]any{"public_key": made.PublicKey.String(), "secret_key": made.Blob.Hex(), "db": db}
			}
			f.write(map[string]any{"keys": map[string]any{
				f.key.String():                   entry(f.made, "fresh.db"),
				second.PublicKey.Hash().String(): entry(second, "ratchet.db"),
			}})
		}, "pawl ratchet register"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			test.damage(f)
			s, findings, err := f.open()
			if err == nil {
				t.Fatalf("Open accepts it: %v", s.Close())
			}
			if all := fmt.Sprint(err, findings); !strings.Contains(all, test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Open: %s; want one line with %q", all, test.want)
			}
			// What was open is closed again: a good configuration starts.
			if name == "no url" {
				f.write(map[string]any{})
				if s, _, err = f.open(); err != nil {
					t.Fatalf("Open after a refused one: %v", err)
				}
				closeSigner(t, s)
			}
		})
	}
}

func (f *folder) remove(name string) {
	t := f.t
	t.Helper()
	if err := os.Remove(filepath.Join(string(f.card.Dir), name)); err != nil {
		t.Fatal(err)
	}
}

func (f *folder) overwrite(name, text string) {
	t := f.t
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(f.card.Dir), name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// keyFile has keys.json name a file for the key blob.
func (f *folder) keyFile(name string) {
	f.t.Helper()
	f.write(map[string]any{"keys": map[string]any{f.key.String(): map[string]any{"public_key": f.made.PublicKey.String(), "secret_key_file": name}}})
}

func (f *folder) freshRatchet() {
	t := f.t
	t.Helper()
	if err := sqlite.Create(t.Context(), filepath.Join(string(f.card.Dir), "fresh.db")); err != nil {
		t.Fatal(err)
	}
	f.write(map[string]any{"db": "fresh.db"})
}

// TestCertificateEnds: one that ends soon is warned of, and each is told.
func TestCertificateEnds(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	path := filepath.Join(string(f.card.Dir), "ca.pem")
	soon := time.Now().Add(20 * 24 * time.Hour)
	f.overwrite("ca.pem", readFile(t, path)+"\n") // still the CA: the file is read anew
	s, findings, err := f.open()
	if err != nil || len(findings) != 0 {
		t.Fatalf("Open: %v %v", err, findings)
	}
	ends := s.CertificateEnds(nil)
	if len(ends) != 2 || ends["cert_path"].Before(soon) || ends["cacert_path"].Before(soon) {
		t.Errorf("CertificateEnds = %v; want two, ten years from now", ends)
	}
	closeSigner(t, s)

	f.overwrite("ca.pem", certificateUntil(t, soon))
	s, findings, err = f.open()
	if err != nil {
		t.Fatal(err)
	}
	defer closeSigner(t, s)
	if !slices.ContainsFunc(findings, func(f config.Finding) bool {
		return f.Severity == config.Warning && strings.Contains(f.Text, "ends on "+soon.UTC().Format(time.DateOnly))
	}) {
		t.Errorf("findings = %v; want a warning of %s", findings, soon.UTC().Format(time.DateOnly))
	}
	if left := time.Until(s.CertificateEnds(nil)["cacert_path"]); left > 21*24*time.Hour {
		t.Errorf("cacert_path ends in %v, want 20 days", left)
	}
}

// certificateUntil is a CA certificate in PEM.
func certificateUntil(t *testing.T, end time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end.UTC(), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestOpenTwice: the second daemon is refused before it signs anything, on the
// same ratchet and on the same key with another ratchet.
func TestOpenTwice(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s, _, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.open(); !errors.Is(err, hostlock.ErrKeyHeld) && !errors.Is(err, ratchet.ErrLocked) {
		t.Errorf("second Open on the same ratchet: %v; want ErrKeyHeld or ErrLocked", err)
	}
	f.freshRatchet()
	if _, _, err := f.open(); !errors.Is(err, hostlock.ErrKeyHeld) {
		t.Errorf("second Open on the same key: %v; want ErrKeyHeld", err)
	}
	closeSigner(t, s)
	f.write(map[string]any{})
	if s, _, err = f.open(); err != nil {
		t.Fatalf("Open after Close: %v", err)
	}
	closeSigner(t, s)
}

func TestOpenKeyFromFile(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	f.overwrite(f.key.String()+".sk.hex", f.made.Blob.Hex())
	f.keyFile(f.key.String() + ".sk.hex")
	s, findings, err := f.open()
	if err != nil {
		t.Fatalf("Open: %v %v", err, findings)
	}
	defer closeSigner(t, s)
	if _, err := s.Sign(t.Context(), f.key, block(5, 0, 0)); err != nil {
		t.Error(err)
	}
}

// TestReadiness follows a card that goes and comes back, without a restart.
func TestReadiness(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s, _, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	defer closeSigner(t, s)
	if s.Readiness()[f.key] == nil {
		t.Error("ready before a signature was seen")
	}
	signertest.Watch(t, s.Watch)
	waitFor := signertest.AwaitReady(t, s.Signer, f.key)
	waitFor(true)
	f.card.Stop()
	waitFor(false)
	f.card.Start(t)
	waitFor(true)
}
