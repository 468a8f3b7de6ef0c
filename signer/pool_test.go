package signer_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"pawl/internal/daemon"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/hsm"
	"pawl/softcard"
	"pawl/tezos"
)

// twin starts another server with c's certificates, and with its master key unless
// another card is given.
func (c *card) twin(t *testing.T, other *softcard.Card) *card {
	t.Helper()
	second := &card{dir: c.dir, card: other, address: "127.0.0.1:0"}
	if other == nil {
		var err error
		if second.card, err = softcard.Open(c.dir); err != nil {
			t.Fatal(err)
		}
	}
	second.start(t)
	return second
}

// foreign is a card of another master key.
func foreign(t *testing.T) *softcard.Card {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	c, err := softcard.New(key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// record is a log that tests read.
type record struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

// lines are the messages of the log with their server.
func (r *record) lines(t *testing.T) (lines []string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.buf.String()) {
		var entry struct{ Msg, Server string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, entry.Msg+" "+entry.Server)
	}
	return lines
}

// pool is a signer whose keys are at several servers.
type pool struct {
	*signer.Signer
	daemon *daemon.Daemon // nil without a keys.json
	keys   []*grep11.Key
	log    *record
}

// newPool makes keys at the first of the clients.
func newPool(t *testing.T, maker *card, n int, kind tezos.KeyKind, clients ...*grep11.Client) *pool {
	t.Helper()
	p := &pool{log: &record{}}
	var entries []signer.Entry
	first := maker.dial(t)
	for range n {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		made, err := first.Generate(ctx, kind, false)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		entry := signer.Entry{Policy: allowAll}
		for i, client := range clients {
			key, err := client.Key(made.PublicKey, made.Blob)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				p.keys = append(p.keys, key)
			}
			entry.Replicas = append(entry.Replicas, signer.Replica{Key: key, Server: client})
		}
		entries = append(entries, entry)
	}
	var all []hsm.Key
	for _, e := range entries {
		all = append(all, e.Replicas[0].Key)
	}
	db, _ := newRatchet(t, all...)
	for i := range entries {
		entries[i].Ratchet = db.Ratchet
	}
	var err error
	if p.Signer, err = signer.New(entries, signer.Options{Log: slog.New(slog.NewJSONHandler(p.log, nil))}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// twoServers is a pool of one key at two servers, which are known to be good.
func twoServers(t *testing.T) (a, b *card, p *pool) {
	t.Helper()
	a = newCard(t)
	b = a.twin(t, nil)
	p = newPool(t, a, 1, tezos.P256, a.dial(t), b.dial(t))
	p.prove(t, 2)
	return a, b, p
}

// watched runs Watch until the function that it returns is called.
func (p *pool) watched(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Watch(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

// await waits until the servers are good, or not, as wanted.
func (p *pool) await(t *testing.T, wants ...bool) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		states, right := p.Servers(), true
		for i, want := range wants {
			right = right && (states[i].Err == nil) == want
		}
		if right {
			return
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("servers are %v, want good %v", states, wants)
		}
	}
}

// prove watches until all servers are good, and no longer.
func (p *pool) prove(t *testing.T, servers int) {
	t.Helper()
	stop := p.watched(t)
	wants := make([]bool, servers)
	for i := range wants {
		wants[i] = true
	}
	p.await(t, wants...)
	stop()
}

func (p *pool) sign(t *testing.T, key int, payload []byte) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	_, err := p.Sign(t.Context(), p.keys[key].PublicKey().Hash(), payload)
	return time.Since(start), err
}
