package ratchet

// Bringing what another store held into this one.

import (
	"fmt"

	"pawl/tezos"
)

// Merge is what brings the rows of another store into a store: each row that changes, once, in the
// order of the other store.
type Merge struct {
	Marks         []MarkChange
	Registrations []RegistrationChange
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
func (m Merge) Empty() bool { return len(m.Marks)+len(m.Registrations) == 0 }

// Plan returns how s comes to hold what other does. Marks and floors only rise, and a key that s knows
// gets no right to open further chains. Of two marks of one slot that are of different bytes the slot
// stays, with neither signature.
//
// It is an error if other has a row twice or one that no store can have. A key that would have more than
// MaxChains chains is a [*RefusedError].
func (s Snapshot) Plan(other Snapshot) (m Merge, err error) {
	have, err := s.index()
	if err != nil {
		return Merge{}, err
	}
	if _, err := other.index(); err != nil {
		return Merge{}, err
	}
	for _, r := range other.Registrations {
		if c, changes := have.planRegistration(r); changes {
			m.Registrations = append(m.Registrations, c)
		}
	}
	for _, mark := range other.Marks {
		if c, changes := have.planMark(mark); changes {
			m.Marks = append(m.Marks, c)
		}
	}
	if err := s.checkChains(m); err != nil {
		return Merge{}, err
	}
	return m, nil
}

// index finds the rows of a snapshot.
type index struct {
	marks         map[SlotKey]StoredMark
	registrations map[SlotKey]Registration // of kind 0, or anyChain
	known         map[tezos.PublicKeyHash]bool
}

// anyChain stands for the kind of a registration for any chain: a chain id may be zero too.
const anyChain = 0xff

// index refuses rows that no store can have.
func (s Snapshot) index() (index, error) {
	i := index{
		make(map[SlotKey]StoredMark, len(s.Marks)), make(map[SlotKey]Registration, len(s.Registrations)),
		make(map[tezos.PublicKeyHash]bool),
	}
	for _, m := range s.Marks {
		if err := m.check(); err != nil {
			return i, fmt.Errorf("the mark of %s on %s: %v", m.Key, m.ChainID, err)
		}
		if _, twice := i.marks[m.SlotKey()]; twice {
			return i, fmt.Errorf("there are two marks of %s on %s for %ss", m.Key, m.ChainID, m.Kind)
		}
		i.marks[m.SlotKey()], i.known[m.Key] = m, true
	}
	for _, r := range s.Registrations {
		_, twice := i.registrations[r.row()]
		switch {
		case r.FromLevel < 0:
			return i, fmt.Errorf("key %s is registered on %s from level %d: want none negative", r.Key, r.ChainID, r.FromLevel)
		case twice:
			return i, fmt.Errorf("key %s is registered twice on %s", r.Key, r.ChainID)
		}
		i.registrations[r.row()], i.known[r.Key] = r, true
	}
	return i, nil
}

// row is what there is one registration of.
func (r Registration) row() SlotKey {
	if r.AnyChain {
		return SlotKey{Key: r.Key, Kind: anyChain}
	}
	return SlotKey{Key: r.Key, ChainID: r.ChainID}
}

func (i index) planRegistration(r Registration) (c RegistrationChange, changes bool) {
	before, there := i.registrations[r.row()]
	switch {
	case !there:
		return RegistrationChange{nil, r}, !r.AnyChain || !i.known[r.Key]
	case r.AnyChain || r.NoFloor:
		return c, false
	}
	return RegistrationChange{&before, r}, before.NoFloor || r.FromLevel > before.FromLevel
}

func (i index) planMark(m StoredMark) (c MarkChange, changes bool) {
	before, there := i.marks[m.SlotKey()]
	if !there {
		return MarkChange{nil, m}, true
	}
	after := before.Merge(m)
	return MarkChange{&before, after}, !after.is(before)
}

// Merge returns the higher of two marks of a slot key. Of one slot it returns the one that can answer a
// retry, and one that cannot if they are of different bytes. A mark of unknown bytes stays so: they may
// have been two already.
func (r StoredMark) Merge(other StoredMark) StoredMark {
	var unknown tezos.Digest
	switch {
	case other.Above(r.Mark):
		return other
	case r.Above(other.Mark), other.Digest == unknown:
		return r
	case r.Digest == other.Digest && r.Signature == nil:
		return other
	case r.Digest == other.Digest:
		return r
	}
	return StoredMark{Mark: r.Mark, Time: r.Time}
}

// is reports whether two marks are equal, but for their times.
func (r StoredMark) is(other StoredMark) bool {
	if (r.Signature == nil) != (other.Signature == nil) || r.Signature != nil && *r.Signature != *other.Signature {
		return false
	}
	return r.Mark == other.Mark && r.Digest == other.Digest
}

// checkChains refuses a merge after which a key has more chains than Register and Place allow.
func (s Snapshot) checkChains(m Merge) error {
	type group struct {
		key    tezos.PublicKeyHash
		opened bool // by a request
	}
	chains := make(map[group]int)
	for _, r := range s.Registrations {
		if !r.AnyChain {
			chains[group{r.Key, r.NoFloor}]++
		}
	}
	for _, c := range m.Registrations {
		if c.After.AnyChain {
			continue
		}
		if c.Before != nil {
			chains[group{c.Before.Key, c.Before.NoFloor}]--
		}
		of := group{c.After.Key, c.After.NoFloor}
		if chains[of]++; chains[of] > MaxChains {
			return &RefusedError{Reason: TooManyChains, Mark: Mark{Key: c.After.Key, ChainID: c.After.ChainID}}
		}
	}
	return nil
}
