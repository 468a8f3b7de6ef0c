package ratchet

// The one rule of the ratchet. Judge says what may be signed: for the look before the HSM is asked,
// for the transaction of a store, and for `pawl explain`.

import (
	"pawl/tezos"
)

// DefaultMaxLevelGap is four days of blocks: 4 cycles of 14,400 levels, of 6 seconds each (Octez,
// parameters of protocol 025 Ushuaia on mainnet).
const DefaultMaxLevelGap = 57_600

// Standing is all that Judge must know to judge a mark.
type Standing struct {
	Registered bool        // the key, on the chain
	HasFloor   bool        // false for a key that was new on the chain
	Floor      int32       // the lowest level that may be signed
	NeverUsed  bool        // the key was registered with AnyChain: requests may open further chains
	Chains     int         // how many chains the key is registered for
	Mark       *StoredMark // nil when nothing was signed yet
}

// Add adds a registration of the mark's key. chain is the chain of the mark.
func (s *Standing) Add(r Registration, chain tezos.ChainID) {
	if r.AnyChain {
		s.NeverUsed = true
		return
	}
	s.Chains++
	if r.ChainID == chain {
		s.Registered, s.HasFloor, s.Floor = true, !r.NoFloor, r.FromLevel
	}
}

// Admits reports whether a request may open the chain: the key was made by pawl and has fewer than
// MaxChains.
func (s Standing) Admits() bool { return !s.Registered && s.NeverUsed && s.Chains < MaxChains }

// Judge returns the stored signature if the very same bytes were signed, a [*RefusedError] if m must
// be refused, or neither if m may be signed. The watermark is checked first, in Octez's words. A
// request more than maxGap levels above the higher of mark and floor is refused, because one stray
// request for the highest level would lock the key for ever.
func (s Standing) Judge(m Mark, d tezos.Digest, maxGap int32) (*tezos.Signature, error) {
	if s.Mark != nil {
		if stored, err := s.Mark.judge(m, d); stored != nil || err != nil {
			return stored, err
		}
	}
	switch {
	case s.Admits():
		return nil, nil
	case !s.Registered && s.NeverUsed:
		return nil, &RefusedError{Reason: TooManyChains, Mark: m}
	case !s.Registered:
		return nil, &RefusedError{Reason: NotRegistered, Mark: m}
	case s.HasFloor && m.Level < s.Floor:
		return nil, &RefusedError{Reason: BelowFloor, Mark: m, Level: s.Floor}
	}
	base, known := s.base()
	if known && int64(m.Level)-int64(base) > int64(maxGap) {
		return nil, &RefusedError{Reason: LevelGap, Mark: m, Level: base}
	}
	return nil, nil
}

// base returns the level from which the gap counts: the higher of mark and floor. A key that was new
// has neither before its first mark, and no gap applies.
func (s Standing) base() (level int32, known bool) {
	switch {
	case s.Mark == nil:
		return s.Floor, s.HasFloor
	case s.HasFloor:
		return max(s.Mark.Level, s.Floor), true
	}
	return s.Mark.Level, true
}

// judge compares m with the mark that is stored under its slot key.
func (r StoredMark) judge(m Mark, d tezos.Digest) (*tezos.Signature, error) {
	refused := &RefusedError{Mark: m, Level: r.Level, Round: r.Round}
	switch {
	case m.Above(r.Mark):
		return nil, nil
	case r.Above(m):
		refused.Reason = BelowWatermark
	case r.Signature == nil:
		refused.Reason = NoSignature
	case r.Digest != d:
		refused.Reason = OtherBytes
	default:
		return r.Signature, nil
	}
	return nil, refused
}
