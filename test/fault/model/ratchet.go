// Package model says in a few lines what a ratchet must do, and walks at random to
// compare the two. It shares no package with pawl: the ratchet is in another process,
// at the other end of two pipes, and can be killed there.
package model

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Slot is what levels only rise for.
type Slot struct{ Key, Chain, Kind int }

// Mark is what is signed at most once.
type Mark struct {
	Slot
	Level, Round int64
}

// payload is what is asked to be signed: a mark, and the number of the bytes for it.
type payload struct {
	Mark
	bytes int
}

// place is a key on a chain.
type place struct{ key, chain int }

// row is what was signed last in a slot.
type row struct {
	level, round     int64
	bytes, signature int
}

// noFloor is the floor of a key that was new, none the highest level of a place without a mark.
const (
	noFloor = -1
	none    = -1
)

// maxChains and maxGap are the limits. The gap is the walk's choice.
const (
	maxChains = 8
	maxGap    = 20
)

// ratchet is the model: who may sign from which level, and what was signed last.
type ratchet struct {
	unused map[int]bool // keys that any chain will do for
	floors map[place]int64
	rows   map[Slot]row
}

func newRatchet() ratchet {
	return ratchet{unused: make(map[int]bool), floors: make(map[place]int64), rows: make(map[Slot]row)}
}

func (r ratchet) clone() ratchet {
	return ratchet{unused: maps.Clone(r.unused), floors: maps.Clone(r.floors), rows: maps.Clone(r.rows)}
}

// may is the verdict that a signature is to be made.
const may = ""

// judge says what becomes of a payload: may, "stored" and a signature, or a refusal.
func (r ratchet) judge(p payload) string {
	last, marked := r.rows[p.Slot]
	at := place{p.Key, p.Chain}
	floor, registered := r.floors[at]
	base := max(floor, r.highest(at))
	switch {
	case marked && (p.Level < last.level || p.Level == last.level && p.Round < last.round):
		return fmt.Sprintf("refused below_watermark %d %d", last.level, last.round)
	case marked && p.Level == last.level && p.Round == last.round && p.bytes == last.bytes:
		return fmt.Sprintf("stored %d", last.signature)
	case marked && p.Level == last.level && p.Round == last.round:
		return fmt.Sprintf("refused other_bytes %d %d", last.level, last.round)
	case !registered && r.unused[p.Key] && !r.confined(p.Key) && r.chains(p.Key) >= maxChains:
		return "refused too_many_chains 0 0"
	case !registered && r.unused[p.Key] && !r.confined(p.Key):
		return may
	case !registered:
		return "refused not_registered 0 0"
	case p.Level < floor:
		return fmt.Sprintf("refused below_floor %d 0", floor)
	case base != none && p.Level > base+maxGap:
		return fmt.Sprintf("refused level_gap %d 0", base)
	}
	return may
}

// highest is the highest level that was signed in a place, whatever the kind.
func (r ratchet) highest(at place) int64 {
	level := int64(none)
	for slot, last := range r.rows {
		if slot.Key == at.key && slot.Chain == at.chain {
			level = max(level, last.level)
		}
	}
	return level
}

// confined says that an operator has named a chain for a key: requests open no others.
func (r ratchet) confined(key int) bool {
	for at, floor := range r.floors {
		if at.key == key && floor != noFloor {
			return true
		}
	}
	return false
}

// places are those where somebody may sign, in their order.
func (r ratchet) places() []place { return sortedPlaces(r.floors) }

func sortedPlaces(levels map[place]int64) []place {
	return slices.SortedFunc(maps.Keys(levels), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.chain, b.chain))
	})
}

// chains is how many a key is registered for, by request or operator.
func (r ratchet) chains(key int) (n int) {
	for at := range r.floors {
		if at.key == key {
			n++
		}
	}
	return n
}

// place stores a fresh signature, or says why not.
func (r ratchet) place(p payload, signature int) string {
	if verdict := r.judge(p); verdict != may {
		return verdict
	}
	if at := (place{p.Key, p.Chain}); !r.registered(at) {
		r.floors[at] = noFloor
	}
	r.rows[p.Slot] = row{p.Level, p.Round, p.bytes, signature}
	return fmt.Sprintf("signed %d", signature)
}

func (r ratchet) registered(at place) bool {
	_, registered := r.floors[at]
	return registered
}

// register is what an operator does for a chain.
func (r ratchet) register(at place, from int64) string {
	operators := 0
	for other, floor := range r.floors {
		if other.key == at.key && floor != noFloor {
			operators++
		}
	}
	switch {
	case !r.registered(at) && operators >= maxChains:
		return "refused too_many_chains 0 0"
	case r.registered(at) && from < r.floors[at]:
		return "error"
	}
	r.floors[at] = from
	return "registered"
}

// registerNew is what is done for a key that was just made.
func (r ratchet) registerNew(key int) string {
	if r.unused[key] || r.chains(key) > 0 {
		return "error"
	}
	r.unused[key] = true
	return "registered"
}

// String is what the other process must say of its ratchet.
func (r ratchet) String() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(r.unused)) {
		fmt.Fprintf(&b, " %d/*", key)
	}
	for _, at := range r.places() {
		fmt.Fprintf(&b, " %d/%d>=%d", at.key, at.chain, max(r.floors[at], 0))
	}
	slots := slices.SortedFunc(maps.Keys(r.rows), func(a, b Slot) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Chain, b.Chain), cmp.Compare(a.Kind, b.Kind))
	})
	for _, slot := range slots {
		last := r.rows[slot]
		fmt.Fprintf(&b, " %d/%d/%d=%d,%d,%d", slot.Key, slot.Chain, slot.Kind, last.level, last.round, last.bytes)
	}
	return "state" + b.String()
}
