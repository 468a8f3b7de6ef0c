package ratchet

// The one rule of the ratchet. Judge says what may be signed: for the look before the HSM is asked,
// for the transaction of a store, and for `pawl explain`.

import (
	"errors"
	"fmt"

	"pawl/tezos"
)

// DefaultMaxLevelGap is four days of blocks: 4 cycles of 14,400 levels, of 6 seconds each (Octez,
// parameters of protocol 025 Ushuaia on mainnet).
const DefaultMaxLevelGap = 57_600

// MaxFirstLevel is the highest level of a first registration that is taken without a second word: a chain
// of 6-second blocks gets there in 19 years. What is higher is a time, or has a digit too many.
const MaxFirstLevel = 100_000_000

// Standing is all that Judge must know to judge a mark.
type Standing struct {
	Registered bool        // the key, on the chain
	HasFloor   bool        // false for a key that was new on the chain
	Floor      int32       // the lowest level that may be signed
	NeverUsed  bool        // the key was registered with AnyChain
	Confined   bool        // an operator has registered a chain for the key: requests open no others
	Chains     int         // how many chains the key is registered for
	Mark       *StoredMark // of the kind; nil when none was signed yet
	Signed     bool        // any kind was signed on the chain
	Highest    int32       // the highest level of all kinds on the chain, once Signed
	Bounds                 // of the registration, or of that for any chain if a request may open this one
}

// Bounds are what keeps a key that is registered from signing.
type Bounds struct {
	Bounded  bool
	NotAfter int32 // the last level that may be signed here, if Bounded
	Retired  string
	Fence    Fence
}

func (r Registration) bounds() Bounds { return Bounds{r.Bounded, r.NotAfter, r.Retired, r.Fence} }

// Add adds a registration of the mark's key. chain is the chain of the mark.
func (s *Standing) Add(r Registration, chain tezos.ChainID) {
	if r.AnyChain {
		if s.NeverUsed = true; !s.Registered {
			s.Bounds = r.bounds()
		}
		return
	}
	s.Chains++
	s.Confined = s.Confined || !r.NoFloor
	if r.ChainID == chain {
		s.Registered, s.HasFloor, s.Floor, s.Bounds = true, !r.NoFloor, r.FromLevel, r.bounds()
	}
}

// AddMark adds a mark of any kind of the key and chain. kind is that of the mark to be judged.
func (s *Standing) AddMark(m StoredMark, kind tezos.Kind) {
	s.Highest = max(s.Highest, m.Level) // levels are not negative
	s.Signed = true
	if m.Kind == kind {
		s.Mark = &m
	}
}

// Admits reports whether a request may open the chain: the key was made by pawl, no operator has
// registered a chain for it, and it has fewer than MaxChains.
func (s Standing) Admits() bool { return s.opensChains() && s.Chains < MaxChains }

// opensChains reports whether requests of the key may open chains, and this one is not open.
func (s Standing) opensChains() bool { return !s.Registered && s.NeverUsed && !s.Confined }

// Allows says in words what the registrations of a key allow on the chain. The marks bound it too.
func (s Standing) Allows() string {
	if s.Registered || s.opensChains() {
		if limits := s.limits(); limits != "" {
			return limits
		}
	}
	switch {
	case s.Registered && s.HasFloor:
		return fmt.Sprintf("from level %d on", s.Floor)
	case s.Registered:
		return "any level: made by pawl, and a request opened the chain"
	case s.Admits():
		return "any level: made by pawl, and not used there yet"
	case s.opensChains():
		return fmt.Sprintf("nothing: it has %d chains already", s.Chains)
	case s.NeverUsed:
		return "nothing: it is registered for another chain"
	}
	return "nothing: not registered"
}

// limits says what the bounds leave, "" if there are none.
func (s Standing) limits() string {
	from := "any level"
	if s.HasFloor {
		from = fmt.Sprintf("from level %d on", s.Floor)
	}
	switch {
	case s.Retired != "":
		return "nothing: retired: " + s.Retired
	case s.Fence.Cause == Moved && s.Fence.Pending():
		return "nothing: fenced, see pawl ratchet unfence"
	case s.Fence.Pending():
		return "nothing before a first request sets the fence"
	case s.Bounded:
		return fmt.Sprintf("%s, up to level %d: handed over", from, s.NotAfter)
	case !s.Fence.passed(s.Highest):
		return fmt.Sprintf("from level %d on: fenced", int64(s.Fence.Until)+1)
	}
	return ""
}

// Judge returns the stored signature if the very same bytes were signed, a [*RefusedError] if m must
// be refused, or neither if m may be signed. The watermark is checked first, in Octez's words. A
// request more than maxGap levels above the base is refused, because one stray request for the highest
// level would lock the key for ever.
func (s Standing) Judge(m Mark, d tezos.Digest, maxGap int32) (*tezos.Signature, error) {
	if s.Retired != "" {
		return nil, &RefusedError{Reason: Retired, Mark: m, Text: s.Retired}
	}
	if s.Mark != nil {
		if stored, err := s.Mark.judge(m, d); stored != nil || err != nil {
			return stored, err
		}
	}
	switch {
	case s.Admits(): // it has no floor
	case s.opensChains():
		return nil, &RefusedError{Reason: TooManyChains, Mark: m}
	case !s.Registered:
		return nil, &RefusedError{Reason: NotRegistered, Mark: m}
	case s.HasFloor && m.Level < s.Floor:
		return nil, &RefusedError{Reason: BelowFloor, Mark: m, Level: s.Floor}
	case s.Bounded && m.Level > s.NotAfter:
		return nil, &RefusedError{Reason: HandedOver, Mark: m, Level: s.NotAfter}
	}
	base, known := s.base()
	if known && int64(m.Level)-int64(base) > int64(maxGap) {
		return nil, &RefusedError{Reason: LevelGap, Mark: m, Level: base}
	}
	if s.Fence.Blocks(m.Level) {
		return nil, &RefusedError{Reason: Fenced, Mark: m, Level: s.Fence.Until, Fence: s.Fence}
	}
	return nil, nil
}

// meets reports whether a refusal is one of a fence that the request has to set: then it is judged again.
func (s Standing) meets(refused error) bool {
	e, ok := errors.AsType[*RefusedError](refused)
	return ok && e.Reason == Fenced && s.Fence.Pending() && s.Fence.Cause != Moved
}

// judgeFloor refuses a floor that is more than maxGap levels above the base, or above MaxFirstLevel if
// there is no base.
func (s Standing) judgeFloor(r Registration, maxGap int32) error {
	base, known := s.base()
	switch {
	case r.AnyChain:
		return nil
	case known && s.Rise(r.FromLevel) > int64(maxGap):
		return &FloorError{Registration: r, Base: base}
	case !known && r.FromLevel > MaxFirstLevel:
		return &FloorError{Registration: r, First: true}
	}
	return nil
}

// Rise returns how many levels a level is above the base, and 0 if there is no base.
func (s Standing) Rise(level int32) int64 {
	base, known := s.base()
	if !known {
		return 0
	}
	return int64(level) - int64(base)
}

// base returns the level from which the gap counts: the highest of the floor, the marks of all kinds and
// what a fence knows. A baker attests at every level and bakes seldom: counted from the mark of its last block, the
// gap would cost it a block. A key that was new has no base before its first mark.
func (s Standing) base() (level int32, known bool) {
	if s.HasFloor {
		level = s.Floor
	}
	if s.Signed {
		level = max(level, s.Highest)
	}
	return max(level, s.Fence.Known), s.HasFloor || s.Signed || s.Fence.Known > 0
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
