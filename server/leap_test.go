package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pawl/server"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// TestLeapsAreTold: a rise of more than 1,000 levels is counted each time and logged once, and refused
// never.
func TestLeapsAreTold(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{kinds: []tezos.KeyKind{tezos.Ed25519, tezos.P256}})
	const line = "the level leapt in one request"
	count := func() (lines int) { return strings.Count(rig.log.String(), line) }
	level := int32(12_200_000) // the first mark of a chain is above nothing
	for _, step := range []struct {
		up    int32
		leaps int
	}{{0, 0}, {1000, 0}, {1001, 1}, {1, 1}, {50_000, 2}, {57_600, 3}} {
		level += step.up
		if got := rig.post(t, 1, tezostest.Attestation(level, 0, 1)); got.status != 200 {
			t.Fatalf("level %d: %d %s", level, got.status, got.body)
		}
		rig.post(t, 1, tezostest.Attestation(level, 0, 1)) // the stored one is no leap
		rig.post(t, 1, tezostest.Block(level-500, 0, 1))   // nor is another kind that is behind
		want := fmt.Sprintf("pawl_level_leaps_total{pkh=%q} %d\n", rig.keys[1].Hash(), step.leaps)
		// A metric is written after the answer.
		for begun := time.Now(); strings.Contains(do(t, "GET", rig.admin+"/metrics", "").body, want) != (step.leaps > 0); {
			if time.Since(begun) > 10*time.Second {
				t.Fatalf("%d levels up: metrics have %q is not %t", step.up, want, step.leaps > 0)
			}
		}
		if got, want := count(), min(step.leaps, 1); got != want {
			t.Errorf("%d levels up: %d lines, want %d", step.up, got, want)
		}
	}
	rig.post(t, 0, tezostest.Attestation(5, 0, 1))
	rig.post(t, 0, tezostest.Attestation(5000, 0, 1))
	for begun := time.Now(); count() != 2; {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("with a leap of another key: %d lines, want 2", count())
		}
	}
	for _, part := range []string{`"severity":"WARN"`, `"level":12202001`, `"levels_above":1001`, `"leaps_not_logged":0`} {
		if !strings.Contains(rig.log.String(), part) {
			t.Errorf("the log lacks %s", part)
		}
	}
}

// TestLeapsOfAMinute: the line after a pause tells how many there were meanwhile.
func TestLeapsOfAMinute(t *testing.T) {
	t.Parallel()
	var leaps server.Leaps
	start := time.Now()
	for _, step := range []struct {
		after  time.Duration
		key    byte
		tell   bool
		untold int
	}{
		{0, 1, true, 0},
		{time.Second, 1, false, 0},
		{59 * time.Second, 1, false, 0},
		{59 * time.Second, 2, true, 0},
		{61 * time.Second, 1, true, 2},
		{62 * time.Second, 1, false, 0},
	} {
		tell, untold := leaps.Add(tezos.PublicKeyHash{0, step.key}, start.Add(step.after))
		if tell != step.tell || untold != step.untold {
			t.Errorf("key %d after %v: %t, %d, want %t, %d", step.key, step.after, tell, untold, step.tell, step.untold)
		}
	}
}
