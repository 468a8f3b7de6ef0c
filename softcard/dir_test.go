package softcard_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pawl/softcard"
	"pawl/softcard/cardtest"
)

func contents(tb testing.TB, d softcard.Dir) map[string]string {
	tb.Helper()
	found := make(map[string]string)
	entries, err := os.ReadDir(string(d))
	if err != nil {
		tb.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(string(d), entry.Name()))
		if err != nil {
			tb.Fatal(err)
		}
		found[entry.Name()] = string(data)
	}
	return found
}

func TestInitMakesTheCardOnce(t *testing.T) {
	t.Parallel()
	d := cardtest.Folder(t)
	info, err := os.Stat(string(d))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	first := contents(t, d)
	if len(first) != 7 {
		t.Errorf("files %v", first)
	}
	for _, name := range softcard.DirFiles {
		info, err := os.Stat(filepath.Join(string(d), name))
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	key, err := hex.DecodeString(strings.TrimSpace(first["master.key"]))
	if err != nil || len(key) != 32 {
		t.Errorf("master.key has %d bytes, %v", len(key), err)
	}
	created, err := d.Init()
	if created || err != nil {
		t.Errorf("second Init: %v, %v", created, err)
	}
	for name, data := range contents(t, d) {
		if data != first[name] {
			t.Errorf("the second Init changed %s", name)
		}
	}
}

func TestInitKeepsOtherFiles(t *testing.T) {
	t.Parallel()
	d := softcard.Dir(t.TempDir())
	other := filepath.Join(string(d), "keys.json")
	if err := os.WriteFile(other, []byte("mine"), 0o640); err != nil {
		t.Fatal(err)
	}
	if created, err := d.Init(); err != nil || !created {
		t.Fatalf("Init: %v, %v", created, err)
	}
	if found := contents(t, d); len(found) != 8 || found["keys.json"] != "mine" {
		t.Errorf("files %v", found)
	}
}

func TestIncompleteCardIsNamedAndUntouched(t *testing.T) {
	t.Parallel()
	for _, name := range softcard.DirFiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := cardtest.Folder(t)
			if err := os.Remove(filepath.Join(string(d), name)); err != nil {
				t.Fatal(err)
			}
			before := contents(t, d)
			if created, err := d.Init(); created || err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("Init: %v, %v", created, err)
			}
			if _, err := softcard.Open(d); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("Open: %v", err)
			}
			after := contents(t, d)
			if len(after) != len(before) {
				t.Errorf("files %v", after)
			}
		})
	}
}

func TestInitThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, name := range softcard.DirFiles {
		d := softcard.Dir(t.TempDir())
		// A dangling link is not a file of a card, but it takes the name.
		if err := os.Symlink("nowhere", filepath.Join(string(d), name)); err != nil {
			t.Fatal(err)
		}
		if created, err := d.Init(); created || err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: Init: %v, %v", name, created, err)
		}
		entries, err := os.ReadDir(string(d))
		if err != nil || len(entries) != 1 || entries[0].Name() != name {
			t.Errorf("%s: left %v, %v", name, entries, err)
		}
	}
}

func TestOpenWithoutCard(t *testing.T) {
	t.Parallel()
	for _, d := range []softcard.Dir{softcard.Dir(t.TempDir()), softcard.Dir(filepath.Join(t.TempDir(), "none"))} {
		if _, err := softcard.Open(d); err == nil || !strings.Contains(err.Error(), "master.key") {
			t.Errorf("Open: %v", err)
		}
		if _, err := os.Stat(filepath.Join(string(d), "master.key")); err == nil {
			t.Error("Open made a card")
		}
	}
}

func TestConcurrentInitMakesOneCard(t *testing.T) {
	t.Parallel()
	d := softcard.Dir(filepath.Join(t.TempDir(), "card"))
	var wait sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 8 {
		wait.Go(func() {
			created, err := d.Init()
			mu.Lock()
			defer mu.Unlock()
			if created && err == nil {
				made++
			}
		})
	}
	wait.Wait()
	if made != 1 {
		t.Errorf("%d made the card", made)
	}
	found := contents(t, d)
	if len(found) != 7 {
		t.Errorf("files %v", found)
	}
	authority := x509.NewCertPool()
	authority.AppendCertsFromPEM([]byte(found["ca.pem"]))
	for _, name := range []string{"server", "client"} {
		pair, err := tls.X509KeyPair([]byte(found[name+".pem"]), []byte(found[name+"-key.pem"]))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: authority, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMasterKeyOpenToOthersIsRefused(t *testing.T) {
	t.Parallel()
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o644, 0o601} {
		d := cardtest.Folder(t)
		if err := os.Chmod(filepath.Join(string(d), "master.key"), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := softcard.Open(d); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	d := cardtest.Folder(t)
	if err := os.Chmod(filepath.Join(string(d), "master.key"), 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := softcard.Open(d); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
}

func TestDamagedMasterKeyIsRefusedAndNotShown(t *testing.T) {
	t.Parallel()
	good := strings.Repeat("ab", 32)
	for name, text := range map[string]string{
		"empty": "", "short": good[2:], "long": good + "ab", "odd": good[1:], "not hex": "x" + good[1:], "two": good + "\n" + good,
	} {
		d := cardtest.Folder(t)
		if err := os.WriteFile(filepath.Join(string(d), "master.key"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := softcard.Open(d)
		if err == nil || !strings.Contains(err.Error(), "master.key") || strings.Contains(err.Error(), "abab") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReopenedCardReadsItsBlobs(t *testing.T) {
	t.Parallel()
	d := cardtest.Folder(t)
	first := cardtest.Open(t, d)
	second := cardtest.Open(t, d)
	c := cardtest.Client(t, second)
	for _, curve := range testCurves {
		pair := curve.pair(t, direct(first))
		parts := [][]byte{make([]byte, 32)}
		signature, err := signSingle(t.Context(), c, mech(curve.mech), pair.GetPrivKeyBytes(), parts)
		if err != nil {
			t.Fatalf("%s: %v", curve.name, err)
		}
		if err := verifySingle(t.Context(), c, mech(curve.mech), pair.GetPubKeyBytes(), parts, signature); err != nil {
			t.Errorf("%s: %v", curve.name, err)
		}
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	found := contents(t, cardtest.Folder(t))
	for name, want := range map[string]struct {
		uses []x509.ExtKeyUsage
		ca   bool
	}{
		"ca.pem":     {ca: true},
		"server.pem": {uses: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		"client.pem": {uses: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
	} {
		block, rest := pem.Decode([]byte(found[name]))
		if block == nil || len(rest) > 0 {
			t.Fatalf("%s is not one PEM block", name)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if certificate.PublicKeyAlgorithm != x509.ECDSA || certificate.IsCA != want.ca {
			t.Errorf("%s: %v, authority %v", name, certificate.PublicKeyAlgorithm, certificate.IsCA)
		}
		if len(certificate.ExtKeyUsage) != len(want.uses) || (len(want.uses) > 0 && certificate.ExtKeyUsage[0] != want.uses[0]) {
			t.Errorf("%s: uses %v", name, certificate.ExtKeyUsage)
		}
		if left := time.Until(certificate.NotAfter); left < 3650*24*time.Hour || left > 3653*24*time.Hour {
			t.Errorf("%s ends in %v", name, left)
		}
		if name != "server.pem" {
			continue
		}
		for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
			if err := certificate.VerifyHostname(host); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
}
