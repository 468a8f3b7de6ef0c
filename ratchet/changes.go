package ratchet

// What commands and starts change in a store: each a plan over all that it holds.

import (
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"pawl/tezos"
)

// Changes are the rows that a plan puts into a store, in order.
type Changes struct {
	Marks         []MarkChange
	Registrations []RegistrationChange
}

// A Plan says what is to change in all that a store holds. It does nothing else.
type Plan func(held Snapshot) (Changes, error)

// Registering is the plan of [Snapshot.Register].
func Registering(r Registration) Plan {
	return func(held Snapshot) (Changes, error) { return held.Register(r) }
}

// MarkChange puts After in the place of Before, which is nil when the slot key had no mark.
type MarkChange struct {
	Before *StoredMark
	After  StoredMark
}

// RegistrationChange puts After in the place of Before, which is nil when there was none.
type RegistrationChange struct {
	Before *Registration
	After  Registration
}

// Empty reports whether nothing is to be done.
func (c Changes) Empty() bool { return len(c.Marks)+len(c.Registrations) == 0 }

// put adds a registration, unless it is there already.
func (c *Changes) put(before *Registration, after Registration) {
	if before == nil || *before != after {
		c.Registrations = append(c.Registrations, RegistrationChange{before, after})
	}
}

// Then returns the changes with others after them.
func (c Changes) Then(next Changes) Changes {
	return Changes{slices.Concat(c.Marks, next.Marks), slices.Concat(c.Registrations, next.Registrations)}
}

// With returns the rows as they are after the changes, in order.
func (s Snapshot) With(c Changes) Snapshot {
	after := Snapshot{slices.Clone(s.Marks), slices.Clone(s.Registrations)}
	for _, m := range c.Marks {
		after.Marks = slices.DeleteFunc(after.Marks, func(r StoredMark) bool { return r.SlotKey() == m.After.SlotKey() })
		after.Marks = append(after.Marks, m.After)
	}
	for _, r := range c.Registrations {
		after.Registrations = slices.DeleteFunc(after.Registrations, func(x Registration) bool { return x.Row() == r.After.Row() })
		after.Registrations = append(after.Registrations, r.After)
	}
	after.Sort()
	return after
}

// registration returns the row of a key and chain, or of any chain if chain is nil; nil for none.
func (s Snapshot) registration(key tezos.PublicKeyHash, chain *tezos.ChainID) *Registration {
	for _, r := range s.Registrations {
		if r.Key == key && r.AnyChain == (chain == nil) && (chain == nil || r.ChainID == *chain) {
			return &r
		}
	}
	return nil
}

// Register allows a key to sign on a chain from a level on, or raises that level. It never lowers it: that
// is a *FloorError. A key that is retired, one that was handed over below the level, and one more chain
// than MaxChains are a *RefusedError. With AnyChain the key must be unknown to the store. NoFloor is ignored:
// only a request registers a chain without a floor.
func (s Snapshot) Register(r Registration) (c Changes, err error) {
	if r.AnyChain {
		return s.registerNew(r.Key)
	}
	mark := Mark{Key: r.Key, ChainID: r.ChainID, Level: r.FromLevel}
	standing, before := s.Standing(mark), s.registration(r.Key, &r.ChainID)
	switch bounds := s.boundsOf(r.Key, before); {
	case r.FromLevel < 0:
		return c, fmt.Errorf("from level %d: want a level, 0 or higher", r.FromLevel)
	case bounds.Retired != "":
		return c, &RefusedError{Reason: Retired, Mark: mark, Text: bounds.Retired}
	case before == nil && s.floors(r.Key) >= MaxChains:
		return c, &RefusedError{Reason: TooManyChains, Mark: mark}
	case standing.HasFloor && r.FromLevel < standing.Floor:
		return c, &FloorError{Registration: r, Base: standing.Floor}
	case bounds.Bounded && r.FromLevel > bounds.NotAfter:
		return c, &RefusedError{Reason: HandedOver, Mark: mark, Level: bounds.NotAfter}
	default:
		after := Registration{
			Key: r.Key, ChainID: r.ChainID, FromLevel: r.FromLevel,
			Bounded: bounds.Bounded, NotAfter: bounds.NotAfter, Fence: bounds.Fence,
		}
		c.put(before, after)
		return c, nil
	}
}

// boundsOf are those of a row, or of a new row of the key: one that is retired or may live elsewhere is so
// on all chains.
func (s Snapshot) boundsOf(key tezos.PublicKeyHash, row *Registration) (b Bounds) {
	if row != nil {
		return row.bounds()
	}
	for _, r := range s.Registrations {
		if r.Key != key {
			continue
		}
		if b.Retired == "" {
			b.Retired = r.Retired
		}
		if r.Fence.Pending() && r.Fence.Cause == Moved {
			b.Fence = r.Fence
		}
	}
	return b
}

// floors counts the chains that an operator has registered for a key.
func (s Snapshot) floors(key tezos.PublicKeyHash) (n int) {
	for _, r := range s.Registrations {
		if r.Key == key && !r.AnyChain && !r.NoFloor {
			n++
		}
	}
	return n
}

// knows reports whether there is any row of a key.
func (s Snapshot) knows(key tezos.PublicKeyHash) bool {
	return slices.ContainsFunc(s.Registrations, func(r Registration) bool { return r.Key == key }) ||
		slices.ContainsFunc(s.Marks, func(m StoredMark) bool { return m.Key == key })
}

func (s Snapshot) registerNew(key tezos.PublicKeyHash) (c Changes, err error) {
	if s.knows(key) {
		return c, fmt.Errorf("key %s is known to the ratchet, so it is not new: pawl ratchet register %s --chain NetX… "+
			"--from-level N", key, key)
	}
	c.put(nil, Registration{Key: key, AnyChain: true})
	return c, nil
}

// RegisterNear is Register for a level that a person has typed: one digit too many would lock the key for
// ever. A level that is more than maxGap above all that the store has of the key and chain, or above
// MaxFirstLevel if it has nothing, is a [*FloorError].
func (s Snapshot) RegisterNear(r Registration, maxGap int32) (Changes, error) {
	if err := s.Standing(Mark{Key: r.Key, ChainID: r.ChainID}).judgeFloor(r, maxGap); err != nil {
		return Changes{}, err
	}
	return s.Register(r)
}

// Registered returns a *RefusedError unless the key is registered on the chain.
func (s Snapshot) Registered(key tezos.PublicKeyHash, chain tezos.ChainID) error {
	if s.registration(key, &chain) == nil {
		return &RefusedError{Reason: NotRegistered, Mark: Mark{Key: key, ChainID: chain}}
	}
	return nil
}

// Retire has the key sign nothing more here, on any chain, for a reason. There is no way back but taking
// over from where it signs then ([Snapshot.TakeOver]). A key that is unknown, or retired already, is an error.
func (s Snapshot) Retire(key tezos.PublicKeyHash, reason string) (c Changes, err error) {
	if err := checkReason(reason); err != nil {
		return c, err
	}
	for _, r := range s.Registrations {
		if r.Key == key && r.Retired == "" {
			after := r
			after.Retired = reason
			c.put(&r, after)
		}
	}
	switch why := s.boundsOf(key, nil).Retired; {
	case !c.Empty():
		return c, nil
	case why != "":
		return c, &RefusedError{Reason: Retired, Mark: Mark{Key: key}, Text: why}
	}
	return c, fmt.Errorf("key %s is not registered: it signs nothing here already", key)
}

func checkReason(reason string) error {
	if reason == "" || len(reason) > MaxReason {
		return fmt.Errorf("a reason of %d bytes: want 1 to %d", len(reason), MaxReason)
	}
	if !utf8.ValidString(reason) || slices.ContainsFunc([]rune(reason), func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("reason %q: want printable text of one line", reason)
	}
	return nil
}

// Fenced fences all keys after a start with a cause, none with NoCause, and drops the fences that were
// passed.
func (s Snapshot) Fenced(cause Cause) (c Changes) {
	highest := make(map[SlotKey]int32)
	for _, m := range s.Marks {
		at := SlotKey{Key: m.Key, ChainID: m.ChainID}
		highest[at] = max(highest[at], m.Level)
	}
	for _, r := range s.Registrations {
		after := r
		if !r.AnyChain && r.Fence.passed(highest[r.Row()]) {
			after.Fence = Fence{}
		}
		after.Fence = after.Fence.after(cause, highest[r.Row()])
		c.put(&r, after)
	}
	return c
}

// Meet has a request set the fence that it meets. It changes nothing if the mark may be signed, or is
// refused for another reason.
func (s Snapshot) Meet(m Mark, d tezos.Digest, maxGap int32) (c Changes) {
	standing := s.Standing(m)
	if _, err := standing.Judge(m, d, maxGap); !standing.meets(err) {
		return c
	}
	base, known := standing.base()
	s.setFence(&c, m.Key, m.ChainID, standing.Fence.meet(m.Level, base, known))
	return c
}

// setFence puts a fence on a chain, which it opens for a key that may sign on any.
func (s Snapshot) setFence(c *Changes, key tezos.PublicKeyHash, chain tezos.ChainID, f Fence) {
	before := s.registration(key, &chain)
	after := Registration{Key: key, ChainID: chain, NoFloor: true}
	if before != nil {
		after = *before
	}
	after.Fence = f
	c.put(before, after)
}

// Unfence lets a fenced key sign on a chain from a level on: an operator says that nothing else signs with
// it, and that the level is above all that was ever signed. A level that is not above all that is known is
// a [*FloorError], as is one that is more than maxGap above it; 0 allows any.
func (s Snapshot) Unfence(key tezos.PublicKeyHash, chain tezos.ChainID, from, maxGap int32) (c Changes, err error) {
	standing := s.Standing(Mark{Key: key, ChainID: chain})
	base, known := standing.base()
	r := Registration{Key: key, ChainID: chain, FromLevel: from}
	switch {
	case standing.Fence.passed(standing.Highest) || !standing.Registered && !standing.opensChains():
		return c, fmt.Errorf("key %s is not fenced on chain %s", key, chain)
	case from < 1 || known && from <= base:
		return c, &FloorError{Registration: r, Base: base, Not: true}
	case maxGap > 0:
		if err := standing.judgeFloor(r, maxGap); err != nil {
			return c, err
		}
	}
	fence := standing.Fence
	fence.Set, fence.Until = true, from-1
	s.setFence(&c, key, chain, fence)
	return c, nil
}

// Heads sets the fences of a chain that wait for a first request by the level of the chain's head, which a
// node has told.
func (s Snapshot) Heads(chain tezos.ChainID, head int32) (c Changes) {
	for _, r := range s.Registrations {
		if r.AnyChain || r.ChainID != chain || !r.Fence.Pending() || r.Fence.Cause == Moved {
			continue
		}
		fence := r.Fence
		fence.Set, fence.Until = true, max(head, fence.Known)
		if fence.Cause == RolledBack {
			fence.Until = max(head+1, fence.Known)
		}
		s.setFence(&c, r.Key, chain, fence)
	}
	return c
}
