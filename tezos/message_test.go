package tezos_test

import (
	"testing"

	"pawl/tezos"
)

// The signature of a probe must be useless for anything else.
func TestProbeIsNoPayload(t *testing.T) {
	t.Parallel()
	seen := make(map[tezos.Digest]bool)
	for range 100 {
		probe, err := tezos.NewProbe()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{tz1Key, tz4Key} {
			if req, err := tezos.ParseRequest(probe.Payload(), parseHash(t, key)); err == nil {
				t.Errorf("the probe %x is a payload: %v", probe.Payload(), req)
			}
		}
		if len(probe.Payload()) != 32 || probe.Payload()[0] != 0 {
			t.Errorf("probe %x: want 32 bytes, the first one 0", probe.Payload())
		}
		if probe.Digest() != tezos.DigestOf(probe.Payload()) {
			t.Errorf("probe %x has digest %v", probe.Payload(), probe.Digest())
		}
		seen[probe.Digest()] = true
	}
	if len(seen) != 100 {
		t.Errorf("100 probes have %d digests", len(seen))
	}
}
