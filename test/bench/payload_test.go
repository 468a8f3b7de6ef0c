package main

import (
	"testing"

	"pawl/tezos"
)

// What the load asks for is what a baker asks for: pawl reads chain, kind, level and
// round from it, and payloads of one slot differ.
func TestPayload(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		p := payload(chains[1], kind, 77, 0)
		got, err := tezos.ParseRequest(p, tezos.PublicKeyHash{})
		if err != nil {
			t.Fatalf("%v: %v", kind, err)
		}
		consensus, ok := got.(tezos.Consensus)
		want := tezos.Consensus{Kind: kind, ChainID: chains[1], Level: 77, LiquidityBaking: consensus.LiquidityBaking}
		if !ok || consensus != want {
			t.Errorf("%v: got %+v, want %+v", kind, got, want)
		}
		if tezos.DigestOf(p) == tezos.DigestOf(payload(chains[1], kind, 77, 1)) {
			t.Errorf("%v: variants are equal", kind)
		}
	}
}
