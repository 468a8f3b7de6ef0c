package fault_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
	"pawl/signer/grep11"
	"pawl/softcard"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// rig is a folder with a card, three keys under policies of their own, a ratchet and
// a keys.json, the card itself, and the program that serves them, patched if need be.
type rig struct {
	dir    string
	pawl   string   // the built program
	before []string // arguments before its own, if pawl is another program that runs it
	keys   []tezos.PublicKey
	card   *cardLog
	oracle *oracle
}

func newRig(t *testing.T, patches ...patch) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{dir: dir, pawl: buildPatched(t, patches...), card: newCardLog()}
	r.configure(t, r.startCard(t).Config())
	r.oracle = newOracle(r.keys)
	return r
}

// startCard runs the card in this process, so that its log outlives the daemon.
func (r *rig) startCard(t *testing.T) *cardtest.Server {
	t.Helper()
	dir := cardtest.Init(t, softcard.Dir(filepath.Join(r.dir, "card")))
	card := cardtest.Open(t, dir)
	card.OnSign = r.card.add
	return cardtest.Serve(t, card, dir)
}

// configure makes the keys, the ratchet and the keys.json.
func (r *rig) configure(t *testing.T, card grep11.Config) {
	t.Helper()
	client := cardtest.Dial(t, card)
	defer func() { _ = client.Close() }()
	entries := make(map[string]any)
	for _, kind := range []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256} {
		made := cardtest.Generate(t, client, kind)
		r.keys = append(r.keys, made.PublicKey)
		entries[made.PublicKey.Hash().String()] = map[string]any{
			"public_key": made.PublicKey.String(), "secret_key": made.Blob.Hex(), "policy": policies[kind].entry(),
		}
	}
	r.createRatchet(t)
	config, err := json.Marshal(map[string]any{
		"url": card.Address, "cert_path": "card/client.pem", "key_path": "card/client-key.pem", "cacert_path": "card/ca.pem",
		"db": "ratchet.db", "witness": ratchettest.WitnessOf(r.ratchet()),
		"policy": map[string]any{"baking": true, "operations": []string{}}, "keys": entries,
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
