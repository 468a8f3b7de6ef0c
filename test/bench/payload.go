package main

import (
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// chains are ids of as many networks as a new key may sign on.
var chains = func() (ids [8]tezos.ChainID) {
	for i := range ids {
		ids[i] = tezos.ChainID{0x7a, 0x06, 0xa7, 0x70 + byte(i)} // the first is mainnet
	}
	return ids
}()

var kinds = [...]tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation}

// payload is what a baker asks for. Payloads of one slot that differ in variant conflict.
func payload(chain tezos.ChainID, kind tezos.Kind, level int32, variant uint64) []byte {
	return tezostest.Consensus(chain, kind, level, 0, tezostest.PayloadHash(variant))
}
