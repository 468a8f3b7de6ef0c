package ratchet

// The right to sign, from one store to another, at a level.

import (
	"fmt"

	"pawl/tezos"
)

// HandOver bounds all keys of a chain to the levels below at, and returns what the store that takes over
// must know: their marks, and their registrations from at on. Both stores may be in use: one signs below
// the level, the other from it on. Keys that do not sign on the chain stay as they are.
//
// A level that is not above all that a key has signed is a [*FloorError], as is one that is more than
// maxGap above it; 0 allows any. A fence must be set before.
func (s Snapshot) HandOver(chain tezos.ChainID, at, maxGap int32) (c Changes, given Snapshot, err error) {
	var done []tezos.PublicKeyHash
	for _, r := range s.Registrations {
		if r.AnyChain == (s.registration(r.Key, &chain) != nil) || !r.AnyChain && r.ChainID != chain {
			continue // of another chain; or the row of the chain stands for the key
		}
		if err := s.handOver(&c, r.Key, chain, at, maxGap); err != nil {
			return Changes{}, Snapshot{}, err
		}
		given.Registrations = append(given.Registrations, Registration{Key: r.Key, ChainID: chain, FromLevel: at})
		done = append(done, r.Key)
	}
	if done == nil {
		return c, given, fmt.Errorf("no key is registered for chain %s", chain)
	}
	for _, m := range s.Marks {
		if m.ChainID == chain && s.With(c).registration(m.Key, &chain) != nil {
			given.Marks = append(given.Marks, m)
		}
	}
	given.Sort()
	return c, given, nil
}

func (s Snapshot) handOver(c *Changes, key tezos.PublicKeyHash, chain tezos.ChainID, at, maxGap int32) error {
	standing, before := s.Standing(Mark{Key: key, ChainID: chain}), s.registration(key, &chain)
	base, known := standing.base()
	r := Registration{Key: key, ChainID: chain, FromLevel: at}
	switch {
	case standing.Fence.Pending():
		return &RefusedError{Reason: Fenced, Mark: Mark{Key: key, ChainID: chain}, Fence: standing.Fence}
	case standing.Bounded && at-1 == standing.NotAfter:
		return nil // again
	case standing.Bounded:
		return &RefusedError{Reason: HandedOver, Mark: Mark{Key: key, ChainID: chain, Level: at}, Level: standing.NotAfter}
	case at < 2 || known && at <= base:
		return &FloorError{Registration: r, Base: base, Not: true}
	case maxGap > 0:
		if err := standing.judgeFloor(r, maxGap); err != nil {
			return err
		}
	}
	after := Registration{Key: key, ChainID: chain, NoFloor: true, Retired: standing.Retired, Fence: standing.Fence}
	if before != nil {
		after = *before
	}
	after.Bounded, after.NotAfter = true, at-1
	c.put(before, after)
	return nil
}

// TakeOver merges what HandOver has given, and gives back the right to sign where it was handed over or
// retired: the level must be above all that was known here, and by more than one above the last level that
// was allowed here: what this very store has once given ends there. Else it is a [*RefusedError].
func (s Snapshot) TakeOver(given Snapshot) (Changes, error) {
	c, err := s.Merge(given)
	if err != nil {
		return Changes{}, err
	}
	c.Registrations = nil
	for _, r := range given.Registrations {
		if err := s.takeOver(&c, r); err != nil {
			return Changes{}, err
		}
	}
	return c, s.checkChains(c)
}

func (s Snapshot) takeOver(c *Changes, r Registration) error {
	before := s.registration(r.Key, &r.ChainID)
	standing, bounds := s.Standing(Mark{Key: r.Key, ChainID: r.ChainID}), s.boundsOf(r.Key, before)
	if base, known := standing.base(); bounds.Bounded || bounds.Retired != "" {
		mark := Mark{Key: r.Key, ChainID: r.ChainID, Level: r.FromLevel}
		switch {
		case bounds.Bounded && int64(r.FromLevel) <= int64(bounds.NotAfter)+1:
			return &RefusedError{Reason: HandedOver, Mark: mark, Level: bounds.NotAfter}
		case known && r.FromLevel <= base:
			why := fmt.Sprintf("%s (the handover is from level %d on, which is not above %d)", bounds.Retired, r.FromLevel, base)
			return &RefusedError{Reason: Retired, Mark: mark, Text: why}
		}
	}
	after := Registration{Key: r.Key, ChainID: r.ChainID, FromLevel: r.FromLevel, Fence: bounds.Fence}
	if before != nil && !before.NoFloor {
		after.FromLevel = max(after.FromLevel, before.FromLevel)
	}
	c.put(before, after)
	return nil
}
