package signer_test

import (
	"strings"
	"testing"
	"time"

	"pawl/softcard"
	"pawl/tezos"
)

// TestServerOfAnotherMasterKey is left out and named, in readiness and by one line of
// the log; its keys sign elsewhere. One key of five is probed there. Once it has the
// right master key it is in use again.
func TestServerOfAnotherMasterKey(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.Twin(t, foreign(t))
	p := newPool(t, a, 5, tezos.P256, a.Dial(t), b.Dial(t))
	p.watched(t)
	p.await(t, true, false)
	for start := time.Now(); p.Servers()[1].Err == nil || !strings.Contains(p.Servers()[1].Err.Error(), "5 of 5 keys"); time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("the other server: %v, want 5 of 5 keys", p.Servers()[1].Err)
		}
	}
	probes := &softcard.Fault{Call: "SignSingle", Delay: time.Nanosecond}
	b.Card.SetFaults(probes)
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
	left, back := "HSM server left out "+b.Address, "HSM server in use "+b.Address
	if got := p.log.lines(t); len(got) != 1 || got[0] != left {
		t.Errorf("log %q, want one line %q", got, left)
	}
	b.Stop()
	right, err := softcard.Open(a.Dir)
	if err != nil {
		t.Fatal(err)
	}
	b.Card = right
	b.Start(t)
	p.await(t, true, true)
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if got := p.log.lines(t); got[len(got)-1] == back {
			break
		} else if time.Since(start) > 5*time.Second {
			t.Fatalf("log %q, want %q at last", got, back)
		}
	}
}
