package ratchet

// What the ratchet is about: marks, registrations, releases.

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"pawl/tezos"
)

// Mark is a slot as the ratchet keeps it: under its SlotKey, level and round only go up.
type Mark struct {
	Key          tezos.PublicKeyHash
	ChainID      tezos.ChainID
	Kind         tezos.Kind
	Level, Round int32
}

// SlotKey names a high watermark: there is one for each key, chain and kind, and it only rises.
type SlotKey struct {
	Key     tezos.PublicKeyHash
	ChainID tezos.ChainID
	Kind    tezos.Kind
}

// SlotKey returns the mark without level and round.
func (m Mark) SlotKey() SlotKey { return SlotKey{m.Key, m.ChainID, m.Kind} }

// Above reports whether m has a higher level than other, or the same level and a higher round.
func (m Mark) Above(other Mark) bool {
	return m.Level > other.Level || m.Level == other.Level && m.Round > other.Round
}

// check refuses a mark that no parsed payload can have.
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

// StoredMark is a high watermark as a store keeps it.
type StoredMark struct {
	Mark
	Digest    tezos.Digest     // of the payload; zero if it is unknown
	Signature *tezos.Signature // nil if it is unknown: the schema allows marks brought from another signer
	// Time is when it was committed by the clock of the host, to the millisecond, in UTC; zero if it is
	// unknown. It is for people: no decision depends on it.
	Time time.Time
}

// MaxChains is how many chains requests may open for a key that pawl made, so that stray chain ids
// cannot fill the store. An operator may register as many besides; from the first one on requests open
// no more.
const MaxChains = 8

// Registration says on which chain, and from which level, a key may sign.
type Registration struct {
	Key     tezos.PublicKeyHash
	ChainID tezos.ChainID // zero when AnyChain
	// AnyChain is set for a key that was registered when it was made. Until an operator registers a
	// chain for it, it may sign on any chain, and its first request on a chain registers the chain.
	AnyChain bool
	// FromLevel is the floor: the lowest level that may be signed. With NoFloor there is none,
	// because the key was new on the chain.
	FromLevel int32
	NoFloor   bool
	// Bounded is set once the key was handed over: NotAfter is the last level that may be signed here.
	Bounded  bool
	NotAfter int32
	// Retired says why the key signs nothing here any more, in 1 to [MaxReason] bytes; "" if it is not retired.
	Retired string
	Fence   Fence
}

// MaxReason bounds the reason of a retirement, in bytes.
const MaxReason = 200

// Snapshot is all that a store holds, ordered by key, chain and kind.
type Snapshot struct {
	Marks         []StoredMark
	Registrations []Registration
}

// Sort orders the rows by key, chain and kind, a registration for any chain first.
func (s *Snapshot) Sort() {
	inOrder := func(a, b SlotKey) int {
		return cmp.Or(bytes.Compare(a.Key[:], b.Key[:]), bytes.Compare(a.ChainID[:], b.ChainID[:]), cmp.Compare(a.Kind, b.Kind))
	}
	slices.SortFunc(s.Marks, func(a, b StoredMark) int { return inOrder(a.SlotKey(), b.SlotKey()) })
	slices.SortStableFunc(s.Registrations, func(a, b Registration) int {
		return inOrder(SlotKey{a.Key, a.ChainID, 0}, SlotKey{b.Key, b.ChainID, 0})
	})
}

// Standing returns what a verdict on m depends on.
func (s Snapshot) Standing(m Mark) Standing {
	var standing Standing
	for _, r := range s.Registrations {
		if r.Key == m.Key {
			standing.Add(r, m.ChainID)
		}
	}
	for _, stored := range s.Marks {
		if stored.Key == m.Key && stored.ChainID == m.ChainID {
			standing.AddMark(stored, m.Kind)
		}
	}
	return standing
}

// HeldBack returns the registrations that are retired or fenced, those whose fence was passed left out.
func (s Snapshot) HeldBack() (rows []Registration) {
	for _, r := range s.Registrations {
		fenced := r.Fence.Cause != NoCause && !r.Fence.passed(s.Standing(Mark{Key: r.Key, ChainID: r.ChainID}).Highest)
		if r.Retired != "" || fenced {
			rows = append(rows, r)
		}
	}
	return rows
}

// Stopped returns why a registration allows nothing until an operator does something, or nil.
func (r Registration) Stopped() error {
	mark := Mark{Key: r.Key, ChainID: r.ChainID}
	switch {
	case r.Retired != "":
		return &RefusedError{Reason: Retired, Mark: mark, Text: r.Retired}
	case r.Fence.Cause == Moved && r.Fence.Pending():
		return &RefusedError{Reason: Fenced, Mark: mark, Fence: r.Fence}
	}
	return nil
}

// Allowed says in words what a registration of the snapshot allows. The marks bound it too.
func (s Snapshot) Allowed(r Registration) (chain, allows string) {
	if r.AnyChain {
		others := s.Standing(Mark{Key: r.Key})
		others.Registered = false // as a chain may be whose id is zero
		return "others", others.Allows()
	}
	return r.ChainID.String(), s.Standing(Mark{Key: r.Key, ChainID: r.ChainID}).Allows()
}

// Release is a signature that may leave: it is durable.
type Release struct {
	Signature tezos.Signature
	Stored    bool          // it was in the store already
	SignTime  time.Duration // of the sign call of this flight; 0 when Stored
	// Rise is how many levels the mark was above the highest of the floor and all kinds' marks of
	// its key and chain, as Standing.Rise; 0 when Stored, and when it was not above.
	Rise int64
}

// SignFunc makes and verifies a signature of a message. Its context is the flight's own: it ends
// five seconds after the flight began, not when a caller leaves.
type SignFunc func(ctx context.Context, m tezos.Message) (tezos.Signature, error)
