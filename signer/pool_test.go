package signer_test

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"pawl/internal/logtest"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/hsm"
	"pawl/signer/signertest"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// record is a log that tests read.
type record struct{ logtest.Buffer }

// lines are the messages of the log with their server.
func (r *record) lines(t *testing.T) (lines []string) {
	t.Helper()
	for _, line := range r.Lines() {
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
	keys []*grep11.Key
	log  *record
}

// newPool makes keys at the first of the clients.
func newPool(t *testing.T, maker *card, n int, kind tezos.KeyKind, clients ...*grep11.Client) *pool {
	t.Helper()
	p := &pool{log: &record{}}
	var entries []signer.Entry
	first := maker.Dial(t)
	for range n {
		made := cardtest.Generate(t, first, kind)
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
	b = a.Twin(t, nil)
	p = newPool(t, a, 1, tezos.P256, a.Dial(t), b.Dial(t))
	p.prove(t, 2)
	return a, b, p
}

func (p *pool) watched(t *testing.T) (stop func()) {
	t.Helper()
	return signertest.Watch(t, p.Watch)
}

func (p *pool) await(t *testing.T, wants ...bool) {
	t.Helper()
	signertest.AwaitServers(t, p.Signer, wants...)
}

func (p *pool) prove(t *testing.T, servers int) {
	t.Helper()
	signertest.Prove(t, p.Signer, servers)
}

func (p *pool) sign(t *testing.T, key int, payload []byte) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	_, err := p.Sign(t.Context(), p.keys[key].PublicKey().Hash(), payload)
	return time.Since(start), err
}
