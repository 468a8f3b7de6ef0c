package fault_test

import (
	"fmt"

	"golang.org/x/crypto/blake2b"

	"pawl/ratchet"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

var chain = tezostest.Mainnet

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

// payload is what a baker asks for. Its content differs by key and variant.
func (a ask) payload() []byte {
	content := blake2b.Sum256([]byte(a.String()))
	return tezostest.Consensus(a.mark.ChainID, a.mark.Kind, a.mark.Level, a.mark.Round, content)
}
