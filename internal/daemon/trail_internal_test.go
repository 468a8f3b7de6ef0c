package daemon

import (
	"testing"
	"time"

	"pawl/internal/audit"
	"pawl/ratchet"
	"pawl/tezos"
)

// TestRefusalsOfATrail: a flood leaves room for all else, and what is left out is counted.
func TestRefusalsOfATrail(t *testing.T) {
	t.Parallel()
	var trail trail
	now := time.Unix(1000, 0)
	fits := 0
	for range 3 * refusalsPerSecond {
		if _, ok := trail.room(now); ok {
			fits++
		}
	}
	if fits != refusalsPerSecond {
		t.Errorf("%d of a second fit, want %d", fits, refusalsPerSecond)
	}
	for i, want := range []uint64{2 * refusalsPerSecond, 0} {
		if left, ok := trail.room(now.Add(time.Second)); !ok || left != want {
			t.Errorf("refusal %d of the next second: %d left out before it, %t, want %d", i+1, left, ok, want)
		}
	}
}

// TestTrailOfDecisions: what rose and what was refused is told, and without a trail nothing is.
func TestTrailOfDecisions(t *testing.T) {
	t.Parallel()
	new(trail).decided(ratchet.Mark{}, tezos.Digest{}, nil)
	path := t.TempDir() + "/ratchet.db"
	log, err := audit.Open(path, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	told := &trail{log: log}
	m := ratchet.Mark{Kind: tezos.Block, Level: 7, Round: 1}
	told.decided(m, tezos.Digest{1}, nil)
	told.decided(m, tezos.Digest{2}, &ratchet.RefusedError{Reason: ratchet.OtherBytes, Mark: m})
	told.changed(ratchet.Changes{Registrations: []ratchet.RegistrationChange{{After: ratchet.Registration{NoFloor: true}}}})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if seq, _ := log.Head(); seq != 5 { // with start and stop
		t.Errorf("the trail has %d lines, want 5", seq)
	}
}
