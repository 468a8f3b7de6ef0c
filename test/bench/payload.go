package main

import (
	"encoding/binary"
	"encoding/hex"
	"slices"

	"pawl/tezos"
)

// chains are ids of as many networks as a new key may sign on.
var chains = func() (ids [8]tezos.ChainID) {
	for i := range ids {
		ids[i] = tezos.ChainID{0x7a, 0x06, 0xa7, 0x70 + byte(i)} // the first is mainnet
	}
	return ids
}()

var kinds = [...]tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation}

// payload is what a baker of a tz1, tz2 or tz3 key sends (block_header_repr.ml and
// operation_repr.ml of src/proto_*/lib_protocol, after the magic byte). Payloads of
// one slot that differ in variant conflict.
func payload(chain tezos.ChainID, kind tezos.Kind, level int32, variant byte) []byte {
	p := append([]byte{byte(kind)}, chain[:]...)
	if kind == tezos.Block {
		return block(p, level, variant)
	}
	p = append(p, make([]byte, 32)...)                        // branch
	p = append(p, 0x14+byte(kind-tezos.Preattestation), 0, 7) // tag and slot
	p = be32(be32(p, level), 0)                               // level and round
	return append(p, content(variant)...)
}

func block(p []byte, level int32, variant byte) []byte {
	zero := make([]byte, 32)
	p = be32(p, level)
	p = slices.Concat(p, []byte{1}, zero, zero[:8], []byte{4}, zero) // protocol, predecessor, time, passes, operations
	p = append(be32(p, 33), 0, 0, 0, 1, 2)                           // fitness of version 2: level, not locked, rounds 0
	p = be32(be32(be32(p, 4), level), 0)
	p = be32(be32(p, 4), -1)
	p = be32(be32(p, 4), 0)
	p = slices.Concat(p, zero, content(variant))             // context and payload hash
	return slices.Concat(be32(p, 0), zero[:8], []byte{0, 2}) // payload round, proof of work, no nonce hash, votes
}

func content(variant byte) []byte { return append(make([]byte, 31), variant) }

func be32(p []byte, n int32) []byte { return binary.BigEndian.AppendUint32(p, uint32(n)) } //nolint:gosec // two's complement, as Octez

// quoted is a payload as the body of a request.
func quoted(p []byte) []byte {
	body := append(make([]byte, 0, 2*len(p)+3), '"')
	body = hex.AppendEncode(body, p)
	return append(body, '"', '\n')
}
