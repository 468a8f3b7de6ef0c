// Package tezostest builds what bakers and wallets ask a remote signer to sign, byte by
// byte and without package tezos's parser, for tests and measurements.
//
// Layouts are those of Octez, block_header_repr.ml and operation_repr.ml of
// src/proto_*/lib_protocol, for keys of kind tz1, tz2 and tz3.
package tezostest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"pawl/tezos"
)

// Mainnet is the chain id NetXdQprcVkpaWU.
var Mainnet = tezos.ChainID{0x7a, 0x06, 0xa7, 0x70}

// The delegate slot of a vote, and the sizes of payloads in bytes.
const (
	delegateSlot = 7
	blockSize    = 198
	voteSize     = 80
)

// Block is a block header on mainnet: 198 bytes. Blocks of one level and round that differ
// in variant conflict.
func Block(level, round int32, variant uint64) []byte {
	return Consensus(Mainnet, tezos.Block, level, round, PayloadHash(variant))
}

// Preattestation is one of 80 bytes on mainnet.
func Preattestation(level, round int32, variant uint64) []byte {
	return Consensus(Mainnet, tezos.Preattestation, level, round, PayloadHash(variant))
}

// Attestation is one without DAL, of 80 bytes, on mainnet.
func Attestation(level, round int32, variant uint64) []byte {
	return Consensus(Mainnet, tezos.Attestation, level, round, PayloadHash(variant))
}

// PayloadHash is a block payload hash of 32 bytes that look like chance; those of different
// variants differ.
func PayloadHash(variant uint64) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, variant))
}

// Consensus is what a baker asks for. Payloads of one chain, kind, level and round that
// differ in payloadHash conflict.
func Consensus(chain tezos.ChainID, kind tezos.Kind, level, round int32, payloadHash [32]byte) []byte {
	if kind == tezos.Block {
		return block(chain, level, round, payloadHash)
	}
	var branch [32]byte
	tag := 0x14 + byte(kind-tezos.Preattestation)
	p := append(make([]byte, 0, voteSize), byte(kind))
	p = append(p, chain[:]...)
	p = append(p, branch[:]...)
	p = append(p, tag, 0, delegateSlot)
	p = int32s(p, level, round)
	return append(p, payloadHash[:]...)
}

func block(chain tezos.ChainID, level, round int32, payloadHash [32]byte) []byte {
	const noLockedRound = 0 // the length of that element
	var hash [32]byte
	var long [8]byte
	p := append(make([]byte, 0, blockSize), byte(tezos.Block))
	p = append(p, chain[:]...)
	p = int32s(p, level)
	p = append(p, 1)             // number of the protocol in the chain
	p = append(p, hash[:]...)    // predecessor
	p = append(p, long[:]...)    // timestamp
	p = append(p, 4)             // validation passes
	p = append(p, hash[:]...)    // operations
	p = int32s(p, 33)            // fitness: five elements, each with its length before it
	p = append(p, 0, 0, 0, 1, 2) // version 2
	p = int32s(p, 4, level, noLockedRound)
	p = int32s(p, 4, -1) // round 0 of the predecessor, as -1-round
	p = int32s(p, 4, round)
	p = append(p, hash[:]...) // context
	p = append(p, payloadHash[:]...)
	p = int32s(p, 0)          // payload round
	p = append(p, long[:]...) // proof of work
	return append(p, 0, 0)    // no seed nonce; liquidity baking vote: on
}

// int32s appends numbers in two's complement, big-endian, as Octez does.
func int32s(p []byte, numbers ...int32) []byte {
	for _, n := range numbers {
		p = binary.BigEndian.AppendUint32(p, uint32(n)) //nolint:gosec // two's complement
	}
	return p
}

// operation is the head of what is under 0x03: the magic byte and a branch of zeros.
func operation() []byte { return append([]byte{0x03}, make([]byte, 32)...) }

// Noop is a failing_noop (octez-client sign message) of size bytes in all, at least 38.
func Noop(size int) []byte {
	const head = 1 + 32 + 1 + 4
	p := int32s(append(operation(), 0x11), int32(size-head)) //nolint:gosec // a test's
	return append(p, bytes.Repeat([]byte{'m'}, size-head)...)
}

// Transaction is a payment of source to itself. Its numbers are those of Octez's example,
// tezt/tests/expected/encoding.ml/U025 operation.unsigned.out; the counter is 732.
func Transaction(source tezos.PublicKeyHash) []byte {
	p := append(append(operation(), 0x6c), source[:]...)
	p = append(p, 0x21, 0xdc, 0x05)                       // fee, counter
	p = append(p, 0xed, 0xec, 0xc0, 0x04)                 // gas limit
	p = append(p, 0xad, 0xca, 0xcd, 0xb7, 0xd4, 0x01)     // storage limit
	p = append(append(p, 0x97, 0x03, 0x00), source[:]...) // amount; destination: an implicit account
	return append(p, 0)                                   // no parameters
}

// Reveal is an operation that reveals the public key of a tz1, tz2 or tz3 key.
func Reveal(key tezos.PublicKey) []byte {
	hash := key.Hash()
	p := append(append(operation(), 0x6b), hash[:]...)
	p = append(p, 1, 1, 1, 0) // fee, counter, gas limit, storage limit
	p = append(append(p, byte(key.Kind())), key.Bytes()...)
	return append(p, 0) // no proof
}

// Quoted is a payload as octez-client sends it: a JSON string of hex and a line end.
func Quoted(payload []byte) []byte {
	body := append(make([]byte, 0, hex.EncodedLen(len(payload))+3), '"')
	return append(hex.AppendEncode(body, payload), '"', '\n')
}
