package ratchet

// Bringing what another store held into this one.

import (
	"fmt"

	"pawl/tezos"
)

// Merge returns how s comes to hold what another store does. Marks and floors only rise, and a key that s
// knows gets no right to open further chains. Of two marks of one slot that are of different bytes the slot
// stays, with neither signature. Where a key is retired, handed over or fenced is of the place: of a key
// that s knows its own counts, of another that of the other store, fences left out.
//
// It is an error if other has a row twice or one that no store can have. A key that would have more than
// MaxChains chains is a [*RefusedError].
func (s Snapshot) Merge(other Snapshot) (Changes, error) { return s.merge(other, false) }

// Recover is Merge for rows that s has had itself, and has lost: its keys are retired and handed over as they
// were then.
func (s Snapshot) Recover(own Snapshot) (Changes, error) { return s.merge(own, true) }

func (s Snapshot) merge(other Snapshot, own bool) (m Changes, err error) {
	have, err := s.index()
	if err != nil {
		return Changes{}, err
	}
	if _, err := other.index(); err != nil {
		return Changes{}, err
	}
	for _, r := range other.Registrations {
		if before, after := s.mergeRegistration(have, r, own); after != nil {
			m.put(before, *after)
		}
	}
	for _, mark := range other.Marks {
		if c, changes := have.mergeMark(mark); changes {
			m.Marks = append(m.Marks, c)
		}
	}
	if err := s.checkChains(m); err != nil {
		return Changes{}, err
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
		_, twice := i.registrations[r.Row()]
		switch {
		case r.FromLevel < 0 || r.NotAfter < 0:
			return i, fmt.Errorf("key %s is registered on %s from level %d to %d: want none negative", r.Key, r.ChainID,
				r.FromLevel, r.NotAfter)
		case r.Retired != "" && checkReason(r.Retired) != nil:
			return i, fmt.Errorf("key %s is retired for %v", r.Key, checkReason(r.Retired))
		case twice:
			return i, fmt.Errorf("key %s is registered twice on %s", r.Key, r.ChainID)
		}
		i.registrations[r.Row()], i.known[r.Key] = r, true
	}
	return i, nil
}

// Row names a registration: there is one for each. It is the slot key of no mark.
func (r Registration) Row() SlotKey {
	if r.AnyChain {
		return SlotKey{Key: r.Key, Kind: anyChain}
	}
	return SlotKey{Key: r.Key, ChainID: r.ChainID}
}

// mergeRegistration returns the row that is there, nil for none, and what a registration of another store
// makes of it, nil for nothing.
func (s Snapshot) mergeRegistration(have index, r Registration, own bool) (before, after *Registration) {
	row, there := have.registrations[r.Row()]
	if !there {
		r.Fence = Fence{}
		if !have.known[r.Key] {
			return nil, &r
		}
		bounds := s.boundsOf(r.Key, nil)
		if r.Fence = bounds.Fence; bounds.Retired != "" {
			r.Retired = bounds.Retired
		}
		if r.AnyChain {
			return nil, nil
		}
		return nil, &r
	}
	made := row
	if !r.AnyChain && !r.NoFloor && (row.NoFloor || r.FromLevel > row.FromLevel) {
		made.NoFloor, made.FromLevel = false, r.FromLevel
	}
	if own && r.Bounded && (!row.Bounded || r.NotAfter > row.NotAfter) {
		made.Bounded, made.NotAfter = true, r.NotAfter
	}
	if own && row.Retired == "" {
		made.Retired = r.Retired
	}
	return &row, &made
}

func (i index) mergeMark(m StoredMark) (c MarkChange, changes bool) {
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
func (s Snapshot) checkChains(m Changes) error {
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
