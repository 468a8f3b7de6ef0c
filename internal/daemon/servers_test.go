package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pawl/internal/config"
	"pawl/internal/daemon"
	"pawl/internal/ep11"
	"pawl/ratchet/ratchettest"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/signertest"
	"pawl/softcard"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// TestOpenSeveralServers: url as a list leads to a signer with all of them.
func TestOpenSeveralServers(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	b := f.card.Twin(t, nil)
	f.write(map[string]any{"url": []string{f.card.Address, b.Address}})
	s, findings, err := f.open()
	if err != nil {
		t.Fatalf("Open: %v %v", err, findings)
	}
	defer closeSigner(t, s)
	states := s.Servers()
	if len(states) != 2 || states[0].Address != f.card.Address || states[1].Address != b.Address {
		t.Fatalf("servers %v", states)
	}
	signertest.Watch(t, s.Watch)
	signertest.AwaitReady(t, s.Signer, f.key)(true)
	f.card.Stop()
	for level := range uint32(3) {
		if _, err := s.Sign(t.Context(), f.key, block(level+1, 0, 0)); err != nil {
			t.Errorf("with one of two servers: %v", err)
		}
	}
}

// TestOneTryMarksAllKeysOfAMasterKey: what one key learns of a server's master key holds
// for all that it wraps.
func TestOneTryMarksAllKeysOfAMasterKey(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	second := cardtest.Generate(t, f.card.Dial(t), tezos.Ed25519)
	f.inRatchet(func(db *ratchettest.DB) error { return db.RegisterNew(t.Context(), second.PublicKey.Hash()) })
	b := f.card.Twin(t, nil)
	entry := func(made grep11.Generated) map[string]any {
		return map[string]any{"public_key": made.PublicKey.String(), "secret_key": made.Blob.Hex()}
	}
	f.write(map[string]any{
		"url":  []string{f.card.Address, b.Address},
		"keys": map[string]any{f.key.String(): entry(f.made), second.PublicKey.Hash().String(): entry(second)},
	})
	s, findings, err := f.open()
	if err != nil {
		t.Fatalf("Open: %v %v", err, findings)
	}
	defer closeSigner(t, s)
	p := s
	signertest.Prove(t, p.Signer, 2)
	foreign := &softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(ep11.CodeIBMWKIDMismatch)}
	b.Card.SetFaults(foreign)
	for level := range uint32(2) { // one of them goes there
		if _, err := s.Sign(t.Context(), f.key, block(level+1, 0, 0)); err != nil {
			t.Error(err)
		}
	}
	if got := s.Servers()[1]; got.Err == nil || !strings.Contains(got.Err.Error(), "2 of 2 keys") || foreign.Hits() != 2 {
		t.Errorf("after one try, and one of the other key: %d calls, %v, want both keys", foreign.Hits(), got.Err)
	}
}

// TestServersChangeTheirMasterKeyOneByOne: each server is asked with the blob that it
// takes, whether the next one was there at the start or taken up, and no try fails. A key
// that was not rewrapped is left out there alone.
func TestServersChangeTheirMasterKeyOneByOne(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	before, after := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	var cards [2]*card
	for i := range cards {
		made, err := softcard.New(before)
		if err != nil {
			t.Fatal(err)
		}
		cards[i] = f.card.Twin(t, made)
	}
	client := cards[0].Dial(t)
	keys := make(map[string]any)
	var made [2]grep11.Generated // the second is not rewrapped
	for i := range made {
		made[i] = cardtest.Generate(t, client, tezos.P256)
		hash := made[i].PublicKey.Hash()
		keys[hash.String()] = map[string]any{"public_key": made[i].PublicKey.String(), "secret_key": made[i].Blob.Hex()}
		f.inRatchet(func(db *ratchettest.DB) error { return db.RegisterNew(t.Context(), hash) })
	}
	f.write(map[string]any{"url": []string{cards[0].Address, cards[1].Address}, "keys": keys})
	level := uint32(0)
	open := func() *daemon.Daemon {
		t.Helper()
		s, findings, err := f.open()
		if err != nil {
			t.Fatalf("Open: %v %v", err, findings)
		}
		return s
	}
	signs := func(p *daemon.Daemon, when string) {
		t.Helper()
		for range 4 {
			level++
			if _, err := p.Sign(t.Context(), made[0].PublicKey.Hash(), block(level, 0, 0)); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		for _, state := range p.Servers() {
			if state.Failed != 0 || state.Signed == 0 {
				t.Errorf("%s: %s signed %d times and failed %d times", when, state.Address, state.Signed, state.Failed)
			}
		}
	}
	p := open()
	signertest.Prove(t, p.Signer, 2)
	for _, c := range cards {
		if err := errors.Join(c.Card.LoadNext(after), c.Card.CommitNext()); err != nil {
			t.Fatal(err)
		}
	}
	next, err := client.Rewrap(t.Context(), made[0].Blob)
	if err != nil {
		t.Fatal(err)
	}
	if err := config.AddNextBlobs(f.path, []config.Rotation{{Key: made[0].PublicKey.Hash(), Blob: made[0].Blob, Next: next}}); err != nil {
		t.Fatal(err)
	}
	p.Reload(context.Background())
	if err := cards[1].Card.Finalise(); err != nil {
		t.Fatal(err)
	}
	signs(p, "taken up, and finalised at one")
	for l := range uint32(2) { // one of them goes there
		if _, err := p.Sign(t.Context(), made[1].PublicKey.Hash(), block(l+1, 0, 0)); err != nil {
			t.Error(err)
		}
	}
	if err := p.Servers()[1].Err; err == nil || !strings.Contains(err.Error(), "1 of 2 keys") {
		t.Errorf("the server that has finalised: %v, want the key without a next blob left out", err)
	}
	closeSigner(t, p)
	p = open()
	defer closeSigner(t, p)
	stop := signertest.Watch(t, p.Signer.Watch)
	for start := time.Now(); p.Servers()[0].Err != nil || p.Servers()[1].Err == nil || !strings.Contains(p.Servers()[1].Err.Error(), "1 of 2 keys"); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("servers %v", p.Servers())
		}
	}
	stop()
	signs(p, "opened with both blobs")
	if err := cards[0].Card.Finalise(); err != nil {
		t.Fatal(err)
	}
	signs(p, "finalised at both")
}

// TestEachKeyAtItsOwnServer: two servers of different master keys, and of two keys each fits
// one of them. Both sign, and both servers are named for the other key.
func TestEachKeyAtItsOwnServer(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	b := f.card.Twin(t, foreign(t))
	keys := make(map[string]any)
	var hashes []tezos.PublicKeyHash
	for _, at := range []*card{f.card, b} {
		made := cardtest.Generate(t, at.Dial(t), tezos.P256)
		hashes = append(hashes, made.PublicKey.Hash())
		keys[made.PublicKey.Hash().String()] = map[string]any{"public_key": made.PublicKey.String(), "secret_key": made.Blob.Hex()}
		f.inRatchet(func(db *ratchettest.DB) error { return db.RegisterNew(t.Context(), made.PublicKey.Hash()) })
	}
	f.write(map[string]any{"url": []string{f.card.Address, b.Address}, "keys": keys})
	s, _, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	defer closeSigner(t, s)
	p := s
	stop := signertest.Watch(t, p.Signer.Watch)
	for level := range uint32(6) {
		for _, hash := range hashes {
			if _, err := s.Sign(t.Context(), hash, block(level+1, 0, 0)); err != nil {
				t.Errorf("key %v, level %d: %v", hash, level+1, err)
			}
		}
	}
	named := func(state signer.ServerState) bool {
		return state.Err != nil && strings.Contains(state.Err.Error(), "1 of 2 keys cannot sign there: it has another master key")
	}
	for start := time.Now(); !named(s.Servers()[0]) || !named(s.Servers()[1]); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("servers %v", s.Servers())
		}
	}
	for hash, err := range s.Readiness() {
		if err != nil {
			t.Errorf("readiness of %v: %v", hash, err)
		}
	}
	stop()
}
