// Package signertest has what the tests of packages signer and daemon share: cards with keys,
// ratchets, payloads, and a signer whose keys are at several servers.
package signertest

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pawl/policy"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/hsm"
	"pawl/softcard"
	"pawl/softcard/cardtest"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// patience is how long tests wait for what comes at all.
const patience = 20 * time.Second

// AllowAll allows what tests ask for.
var AllowAll = policy.Policy{Baking: true, Michelson: true}

// Card is a software card behind mutual TLS, which can be stopped and started.
type Card struct{ *cardtest.Server }

// NewCard serves a new card.
func NewCard(tb testing.TB) *Card {
	tb.Helper()
	dir := cardtest.Folder(tb)
	return &Card{cardtest.Serve(tb, cardtest.Open(tb, dir), dir)}
}

// Twin starts another server with c's certificates, and with its master key unless another card is
// given.
func (c *Card) Twin(tb testing.TB, other *softcard.Card) *Card {
	tb.Helper()
	if other == nil {
		other = cardtest.Open(tb, c.Dir)
	}
	return &Card{cardtest.Serve(tb, other, c.Dir)}
}

// Foreign is a card of another master key.
func Foreign(tb testing.TB) *softcard.Card {
	tb.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	c, err := softcard.New(key)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// Config allows more calls at once than tests make.
func (c *Card) Config() grep11.Config {
	cfg := c.Server.Config()
	cfg.MaxInFlight = 64
	return cfg
}

// Dial connects to the card until the test ends.
func (c *Card) Dial(tb testing.TB) *grep11.Client {
	tb.Helper()
	return cardtest.Dial(tb, c.Config())
}

// Generate makes a key on a card.
func Generate(tb testing.TB, client *grep11.Client, kind tezos.KeyKind) grep11.Generated {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	made, err := client.Generate(ctx, kind, false)
	if err != nil {
		tb.Fatal(err)
	}
	return made
}

// NewKey makes a key on a card.
func NewKey(tb testing.TB, client *grep11.Client, kind tezos.KeyKind) *grep11.Key {
	tb.Helper()
	made := Generate(tb, client, kind)
	key, err := client.Key(made.PublicKey, made.Blob)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// NewRatchet makes and opens a ratchet in which keys are registered as new.
func NewRatchet(tb testing.TB, keys ...hsm.Key) (*ratchettest.DB, string) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "ratchet.db")
	return CreateRatchet(tb, path, keys...), path
}

// CreateRatchet makes and opens a ratchet at path in which keys are registered as new.
func CreateRatchet(tb testing.TB, path string, keys ...hsm.Key) *ratchettest.DB {
	tb.Helper()
	if err := sqlite.Create(tb.Context(), path); err != nil {
		tb.Fatal(err)
	}
	db, err := ratchettest.OpenDB(tb.Context(), path, ratchettest.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	for _, key := range keys {
		if err := db.RegisterNew(tb.Context(), key.PublicKey().Hash()); err != nil {
			tb.Fatal(err)
		}
	}
	return db
}

// Vote is an attestation or preattestation on mainnet; payloads of one slot differ by variant.
func Vote(kind tezos.Kind, level, round uint32, variant uint64) []byte {
	if kind == tezos.Preattestation {
		return tezostest.Preattestation(int32(level), int32(round), variant) //nolint:gosec // tests know their levels
	}
	return tezostest.Attestation(int32(level), int32(round), variant) //nolint:gosec // tests know their levels
}

// Block is a block header on mainnet; payloads of one slot differ by variant.
func Block(level, round uint32, variant uint64) []byte {
	return tezostest.Block(int32(level), int32(round), variant) //nolint:gosec // tests know their levels
}

// Michelson is packed Michelson data, which has no level.
func Michelson(n byte) []byte { return []byte{5, 0, n & 0x3f} }

// Watch runs Watch until the function that it returns is called, or the test ends.
func Watch(tb testing.TB, watch func(context.Context)) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan struct{})
	go func() { defer close(done); watch(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	tb.Cleanup(stop)
	return stop
}

// AwaitServers waits until the servers are good, or not, as wanted.
func AwaitServers(tb testing.TB, s *signer.Signer, wants ...bool) {
	tb.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		states, right := s.Servers(), true
		for i, want := range wants {
			right = right && (states[i].Err == nil) == want
		}
		if right {
			return
		}
		if time.Since(start) > patience {
			tb.Fatalf("servers are %v, want good %v", states, wants)
		}
	}
}

// Prove watches until all of n servers are good, and no longer.
func Prove(tb testing.TB, s *signer.Signer, n int) {
	tb.Helper()
	stop := Watch(tb, s.Watch)
	wants := make([]bool, n)
	for i := range wants {
		wants[i] = true
	}
	AwaitServers(tb, s, wants...)
	stop()
}

// AwaitReady returns a function that waits until a key is ready, or not, as wanted.
func AwaitReady(tb testing.TB, s *signer.Signer, key tezos.PublicKeyHash) (waitFor func(ready bool)) {
	tb.Helper()
	return func(ready bool) {
		tb.Helper()
		for start := time.Now(); (s.Readiness()[key] == nil) != ready; time.Sleep(10 * time.Millisecond) {
			if time.Since(start) > patience {
				tb.Fatalf("readiness %v, want ready %v", s.Readiness()[key], ready)
			}
		}
	}
}
