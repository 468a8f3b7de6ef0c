package fault_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"

	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
	"pawl/signer/grep11"
	"pawl/softcard"
	"pawl/tezos"
)

// rig is a folder with a card, three keys, a ratchet and a keys.json, the card
// itself, and the program that serves them, patched if need be.
type rig struct {
	dir    string
	pawl   string // the built program
	keys   []tezos.PublicKey
	card   *cardLog
	oracle *oracle
}

func newRig(t *testing.T, patches ...patch) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{dir: dir, pawl: buildPatched(t, patches...), card: newCardLog()}
	address := r.startCard(t)
	r.configure(t, address)
	r.oracle = newOracle(r.keys)
	return r
}

// startCard runs the card in this process, so that its log outlives the daemon.
func (r *rig) startCard(t *testing.T) (address string) {
	t.Helper()
	dir := softcard.Dir(filepath.Join(r.dir, "card"))
	if _, err := dir.Init(); err != nil {
		t.Fatal(err)
	}
	card, err := softcard.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	card.OnSign = r.card.add
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- card.Serve(ctx, ln, dir, false) }()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Errorf("card: %v", err)
		}
	})
	return ln.Addr().String()
}

// configure makes the keys, the ratchet and the keys.json.
func (r *rig) configure(t *testing.T, card string) {
	t.Helper()
	file := func(name string) string { return filepath.Join(r.dir, "card", name) }
	client, err := grep11.Dial(grep11.Config{
		Address: card, CertPath: file("client.pem"), KeyPath: file("client-key.pem"), CACertPath: file("ca.pem"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	entries := make(map[string]any)
	for _, kind := range []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256} {
		made, err := client.Generate(t.Context(), kind, false)
		if err != nil {
			t.Fatal(err)
		}
		r.keys = append(r.keys, made.PublicKey)
		entries[made.PublicKey.Hash().String()] = map[string]string{
			"public_key": made.PublicKey.String(), "secret_key": made.Blob.Hex(),
		}
	}
	r.createRatchet(t)
	config, err := json.Marshal(map[string]any{
		"url": card, "cert_path": "card/client.pem", "key_path": "card/client-key.pem", "cacert_path": "card/ca.pem",
		"db": "ratchet.db", "policy": map[string]any{"baking": true, "operations": []string{}}, "keys": entries,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.config(), config, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) createRatchet(t *testing.T) {
	t.Helper()
	if err := sqlite.Create(t.Context(), r.ratchet()); err != nil {
		t.Fatal(err)
	}
	db, err := ratchettest.OpenDB(t.Context(), r.ratchet(), ratchettest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range r.keys {
		if err := db.RegisterNew(t.Context(), key.Hash()); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) config() string  { return filepath.Join(r.dir, "keys.json") }
func (r *rig) ratchet() string { return filepath.Join(r.dir, "ratchet.db") }
