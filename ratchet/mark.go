package ratchet

import (
	"context"
	"fmt"
	"time"

	"pawl/tezos"
)

// Mark names a slot: what may only go up.
type Mark struct {
	Key          tezos.PublicKeyHash
	ChainID      tezos.ChainID
	Kind         tezos.Kind
	Level, Round int32
}

// slot is what one mark is kept for; levels and rounds of a slot only rise.
type slot struct {
	key   tezos.PublicKeyHash
	chain tezos.ChainID
	kind  tezos.Kind
}

func (m Mark) slot() slot { return slot{m.Key, m.ChainID, m.Kind} }

// check refuses what no parsed payload can hold, before it nears the file.
func (m Mark) check() error {
	switch m.Kind {
	case tezos.Block, tezos.Preattestation, tezos.Attestation:
	default:
		return fmt.Errorf("kind 0x%02x has no high watermark", uint8(m.Kind))
	}
	if m.Level < 0 || m.Round < 0 {
		return fmt.Errorf("level %d and round %d: want neither negative", m.Level, m.Round)
	}
	return nil
}

// DefaultMaxLevelGap is four days of blocks: 4 cycles of 14,400 levels, of 6
// seconds each (Octez, parameters of protocol 025 Ushuaia on mainnet).
const DefaultMaxLevelGap = 57_600

// Options are the choices of [Open]. The zero value is a good one.
type Options struct {
	// MaxLevelGap is how many levels a request may be above the mark or, if that
	// is higher, the floor of its slot: one stray request for the highest level
	// must not lock a key for ever. 0 means [DefaultMaxLevelGap].
	MaxLevelGap int32

	// OnCommit is called after each COMMIT that returned nil and stored at least
	// one mark, with the time of the transaction and the number of marks in it.
	// It runs where the transaction did, often on the goroutine of a request, and the
	// next transaction waits for it. It may be nil.
	OnCommit func(elapsed time.Duration, marks int)
}

// Release is a signature that may leave: it is durable.
type Release struct {
	Signature tezos.Signature
	Stored    bool          // answered from the row, not freshly made
	SignTime  time.Duration // of the sign call of this flight; 0 when Stored
}

// SignFunc makes and verifies a signature. Its context is the flight's own: it
// ends five seconds after the flight began, not when a caller leaves.
type SignFunc func(ctx context.Context) (tezos.Signature, error)

// Entry is one stored mark.
type Entry struct {
	Mark
	Digest       tezos.Digest // zero for a mark that was imported without one
	HasSignature bool
}

// Registration says on which chain, and from which level, a key may sign.
type Registration struct {
	Key       tezos.PublicKeyHash
	ChainID   tezos.ChainID // zero when AnyChain
	AnyChain  bool          // never used before, on any chain
	FromLevel int32         // 0 also when the key was new: no floor
}
