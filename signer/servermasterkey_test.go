package signer_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pawl/internal/config"
	"pawl/internal/ep11"
	"pawl/ratchet/ratchettest"
	"pawl/signer/grep11"
	"pawl/softcard"
	"pawl/tezos"
)

// TestServerOfAnotherMasterKey is left out and named, in readiness and by one line of
// the log; its keys sign elsewhere. One key of five is probed there. Once it has the
// right master key it is in use again.
func TestServerOfAnotherMasterKey(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.twin(t, foreign(t))
	p := newPool(t, a, 5, tezos.P256, a.dial(t), b.dial(t))
	p.watched(t)
	p.await(t, true, false)
	for start := time.Now(); p.Servers()[1].Err == nil || !strings.Contains(p.Servers()[1].Err.Error(), "5 of 5 keys"); time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("the other server: %v, want 5 of 5 keys", p.Servers()[1].Err)
		}
	}
	probes := &softcard.Fault{Call: "SignSingle", Delay: time.Nanosecond}
	b.card.SetFaults(probes)
	began := time.Now()
	for level := uint32(1); time.Since(began) < 3*time.Second; level++ {
		for i := range p.keys {
			if _, err := p.sign(t, i, block(level, 0, 0)); err != nil {
				t.Fatalf("level %d: %v", level, err)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	if n := probes.Hits(); n < 1 || n > 5 {
		t.Errorf("the server of another master key was asked %d times in three seconds, want one key a second", n)
	}
	if got := p.Servers()[1]; got.Signed != 0 || got.Failed != 0 {
		t.Errorf("the server of another master key had %d signatures and %d failures, want no try", got.Signed, got.Failed)
	}
	text := p.Servers()[1].Err.Error()
	for _, want := range []string{"another master key", "CKR_IBM_WKID_MISMATCH (0x80010001)"} {
		if !strings.Contains(text, want) {
			t.Errorf("readiness %q does not say %q", text, want)
		}
	}
	for hash, err := range p.Readiness() {
		if err != nil {
			t.Errorf("key %v: %v; it signs at the other server", hash, err)
		}
	}
	left, back := "HSM server left out "+b.address, "HSM server in use "+b.address
	if got := p.log.lines(t); len(got) != 1 || got[0] != left {
		t.Errorf("log %q, want one line %q", got, left)
	}
	b.stop()
	right, err := softcard.Open(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	b.card = right
	b.start(t)
	p.await(t, true, true)
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if got := p.log.lines(t); got[len(got)-1] == back {
			break
		} else if time.Since(start) > 5*time.Second {
			t.Fatalf("log %q, want %q at last", got, back)
		}
	}
}

// TestOneTryMarksAllKeysOfAMasterKey: what one key learns of a server's master key holds
// for all that it wraps.
func TestOneTryMarksAllKeysOfAMasterKey(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	second, err := f.card.dial(t).Generate(t.Context(), tezos.Ed25519, false)
	if err != nil {
		t.Fatal(err)
	}
	f.inRatchet(func(db *ratchettest.DB) error { return db.RegisterNew(t.Context(), second.PublicKey.Hash()) })
	b := f.card.twin(t, nil)
	entry := func(made grep11.Generated) map[string]any {
		return map[string]any{"public_key": made.PublicKey.String(), "secret_key": made.Blob.Hex()}
	}
	f.write(map[string]any{
		"url":  []string{f.card.address, b.address},
		"keys": map[string]any{f.key.String(): entry(f.made), second.PublicKey.Hash().String(): entry(second)},
	})
	s, findings, err := f.open()
	if err != nil {
		t.Fatalf("Open: %v %v", err, findings)
	}
	defer closeSigner(t, s)
	p := &pool{Signer: s.Signer, daemon: s}
	p.prove(t, 2)
	b.card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(ep11.CodeIBMWKIDMismatch), Times: 1})
	for level := range uint32(2) { // one of them goes there
		if _, err := s.Sign(t.Context(), f.key, block(level+1, 0, 0)); err != nil {
			t.Error(err)
		}
	}
	if got := s.Servers()[1]; got.Err == nil || !strings.Contains(got.Err.Error(), "2 of 2 keys") {
		t.Errorf("after one refusal: %v, want both keys", got.Err)
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
		cards[i] = f.card.twin(t, made)
	}
	client := cards[0].dial(t)
	keys := make(map[string]any)
	var made [2]grep11.Generated // the second is not rewrapped
	for i := range made {
		var err error
		if made[i], err = client.Generate(t.Context(), tezos.P256, false); err != nil {
			t.Fatal(err)
		}
		hash := made[i].PublicKey.Hash()
		keys[hash.String()] = map[string]any{"public_key": made[i].PublicKey.String(), "secret_key": made[i].Blob.Hex()}
		f.inRatchet(func(db *ratchettest.DB) error { return db.RegisterNew(t.Context(), hash) })
	}
	f.write(map[string]any{"url": []string{cards[0].address, cards[1].address}, "keys": keys})
	level := uint32(0)
	open := func() *pool {
		t.Helper()
		s, findings, err := f.open()
		if err != nil {
			t.Fatalf("Open: %v %v", err, findings)
		}
		return &pool{Signer: s.Signer, daemon: s}
	}
	signs := func(p *pool, when string) {
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
	p.prove(t, 2)
	for _, c := range cards {
		if err := errors.Join(c.card.LoadNext(after), c.card.CommitNext()); err != nil {
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
	p.daemon.Reload(context.Background())
	if err := cards[1].card.Finalise(); err != nil {
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
	closeSigner(t, p.daemon)
	p = open()
	defer closeSigner(t, p.daemon)
	stop := p.watched(t)
	for start := time.Now(); p.Servers()[0].Err != nil || p.Servers()[1].Err == nil || !strings.Contains(p.Servers()[1].Err.Error(), "1 of 2 keys"); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("servers %v", p.Servers())
		}
	}
	stop()
	signs(p, "opened with both blobs")
	if err := cards[0].card.Finalise(); err != nil {
		t.Fatal(err)
	}
	signs(p, "finalised at both")
}
