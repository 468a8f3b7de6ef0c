package fault_test

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/crypto/blake2b"

	"pawl/ratchet"
	"pawl/tezos"
)

// chain is mainnet, NetXdQprcVkpaWU.
var chain = tezos.ChainID{0x7a, 0x06, 0xa7, 0x70}

// kinds are those that a baker signs, each with a watermark of its own.
var kinds = []tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation}

// ask is one sign request: payloads of one mark and different variants conflict.
type ask struct {
	mark    ratchet.Mark
	variant int
}

func (a ask) String() string {
	return fmt.Sprintf("%v %v (%d,%d) variant %d", a.mark.Key, a.mark.Kind, a.mark.Level, a.mark.Round, a.variant)
}

func (a ask) digest() tezos.Digest { return tezos.DigestOf(a.payload()) }

// payload is what a baker of a tz1, tz2 or tz3 key sends: block_header_repr.ml
// and operation_repr.ml of src/proto_*/lib_protocol, after the magic byte.
func (a ask) payload() []byte {
	content := blake2b.Sum256([]byte(a.String())) // differs by key and variant
	p := append([]byte{byte(a.mark.Kind)}, a.mark.ChainID[:]...)
	switch a.mark.Kind {
	case tezos.Block:
		return a.block(p, content[:])
	case tezos.Preattestation:
		return a.consensusOperation(p, 0x14, content[:])
	case tezos.Attestation:
		return a.consensusOperation(p, 0x15, content[:])
	}
	return nil
}

func (a ask) block(p, content []byte) []byte {
	zero := make([]byte, 32)
	p = be32(p, a.mark.Level)
	p = append(p, 1)                                // proto level
	p = append(p, zero...)                          // predecessor
	p = append(p, 0, 0, 0, 0, 0, 0, 0, 0)           // timestamp
	p = append(p, 4)                                // validation passes
	p = append(p, zero...)                          // operations hash
	p = be32(p, 33)                                 // fitness: version, level, no locked round, predecessor round, round
	p = append(p, 0, 0, 0, 1, 2)                    // version 2
	p = be32(be32(p, 4), a.mark.Level)              //
	p = be32(p, 0)                                  // no locked round
	p = be32(be32(p, 4), -1)                        // predecessor round 0, as -1-round
	p = be32(be32(p, 4), a.mark.Round)              //
	p = append(p, zero...)                          // context
	p = append(p, content...)                       // payload hash
	p = be32(p, 0)                                  // payload round
	return slices.Concat(p, zero[:8], []byte{0, 2}) // proof of work, no seed nonce, votes
}

func (a ask) consensusOperation(p []byte, tag byte, content []byte) []byte {
	p = append(p, make([]byte, 32)...) // branch
	p = append(p, tag, 0, 7)           // slot 7
	p = be32(be32(p, a.mark.Level), a.mark.Round)
	return append(p, content...)
}

func be32(p []byte, n int32) []byte { return binary.BigEndian.AppendUint32(p, uint32(n)) }
