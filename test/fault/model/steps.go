package model

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"pgregory.net/rapid"
)

// Keys 0 and 1 are registered at the start, 2 is new, 3 is not known. Few slots are
// drawn often, so that requests meet.
var (
	someKey   = rapid.SampledFrom([]int{0, 0, 0, 0, 1, 1, 2, 2, 3})
	someChain = rapid.SampledFrom([]int{0, 0, 0, 0, 0, 1, 1, 2, 3, 4})
	someKind  = rapid.SampledFrom([]int{0x11, 0x11, 0x12, 0x13})
	someBytes = rapid.IntRange(0, 2)
	// How far a request is from what was signed, often near a limit.
	levelStep = rapid.SampledFrom([]int64{0, 0, 0, 0, 1, 1, 1, 1, 2, -1, maxGap, maxGap + 1, math.MaxInt32})
	// otherKinds has the level be near that of the kind that is ahead.
	otherKinds = rapid.SampledFrom([]bool{false, false, false, true})
	roundStep  = rapid.SampledFrom([]int64{0, 0, 0, 1, 1, -1, math.MaxInt32})
)

func limited(n int64) int64 { return min(max(n, 0), math.MaxInt32) }

// near draws a level and a round that are close to those of the slot, or of the other kinds.
func (w *walk) near(t *rapid.T, slot Slot) Mark {
	last, marked := w.rows[slot]
	at := place{slot.Key, slot.Chain}
	if !marked {
		last.level = max(w.floors[at], 0)
	}
	if otherKinds.Draw(t, "other kinds") {
		last.level = max(w.highest(at), last.level)
	}
	step := levelStep.Draw(t, "level")
	round := roundStep.Draw(t, "round")
	if step == 0 {
		round += last.round
	}
	return Mark{slot, limited(last.level + step), limited(round)}
}

func (w *walk) someSlot(t *rapid.T) Slot {
	return Slot{someKey.Draw(t, "key"), someChain.Draw(t, "chain"), someKind.Draw(t, "kind")}
}

func (w *walk) askSomething(t *rapid.T) {
	w.askNow(payload{w.near(t, w.someSlot(t)), someBytes.Draw(t, "bytes")})
}

// askAgain asks for what a slot was signed for, or for what is on its way.
func (w *walk) askAgain(t *rapid.T) {
	var known []payload
	for slot, last := range w.rows {
		known = append(known, payload{Mark{slot, last.level, last.round}, last.bytes})
	}
	for _, f := range w.flights() {
		known = append(known, f.payload)
	}
	if len(known) == 0 {
		t.Skip()
	}
	slices.SortFunc(known, compare)
	w.askNow(rapid.SampledFrom(known).Draw(t, "payload"))
}

// askNow asks, and says whether the HSM is.
func (w *walk) askNow(p payload) (called bool) {
	state, command := w.stateOf(p.Slot), "ask"+w.relation(p)
	w.ids++
	w.Tally.Requests++
	id := w.ids
	w.requests[id] = p
	said, outcome := w.ask(id, p)
	w.do(fmt.Sprintf("ask %d %d %d %d %d %d %d", id, p.Key, p.Chain, p.Kind, p.Level, p.Round, p.bytes), said...)
	w.count(state, command, outcome)
	return outcome == "HSM asked"
}

// stateOf is what a slot is in.
func (w *walk) stateOf(slot Slot) string {
	state := "not registered"
	if _, marked := w.rows[slot]; marked {
		state = "marked"
	} else if w.registered(place{slot.Key, slot.Chain}) {
		state = "registered"
	} else if w.unused[slot.Key] {
		state = "never used"
	}
	switch waiting := len(w.lines[slot]); {
	case w.closing:
		return "closing"
	case waiting > maxWaiting:
		return state + ", queue full"
	case waiting > 0:
		return state + ", busy"
	}
	return state
}

// relation is how a payload stands to what was signed last.
func (w *walk) relation(p payload) string {
	last, marked := w.rows[p.Slot]
	switch {
	case !marked:
		return ""
	case p.Level > last.level || p.Level == last.level && p.Round > last.round:
		return " higher"
	case p.Level < last.level || p.Round < last.round:
		return " lower"
	case p.bytes == last.bytes:
		return " same bytes"
	}
	return " other bytes"
}

// flights are all, those who wait too, in a fixed order.
func (w *walk) flights() (all []*flight) {
	for _, line := range w.lines {
		all = append(all, line...)
	}
	slices.SortFunc(all, func(a, b *flight) int { return a.id - b.id })
	return all
}

// someFlight is one that the HSM is asked for.
func (w *walk) someFlight(t *rapid.T) *flight {
	flights := w.asked()
	if len(flights) == 0 {
		t.Skip()
	}
	f := flights[rapid.IntRange(0, len(flights)-1).Draw(t, "flight")]
	w.rejoin(w.lines[f.Slot])
	return f
}

// rejoin asks again for what all callers have left, or nothing would tell its end.
func (w *walk) rejoin(flights []*flight) {
	for _, f := range flights {
		if len(f.callers) == 0 {
			w.askNow(f.payload)
		}
	}
}

func (w *walk) behind(f *flight) string {
	state := "HSM asked"
	if len(w.lines[f.Slot]) > 1 {
		state += ", others wait"
	}
	if w.closing {
		state += ", closing"
	}
	return state
}

func (w *walk) hsmSigns(t *rapid.T) { w.sign(w.someFlight(t)) }

func (w *walk) sign(f *flight) {
	state := w.behind(f)
	w.made++
	signature := w.made
	said, verdict := w.land(f, signature)
	w.do(fmt.Sprintf("hsm %d ok %d", f.id, signature), said...)
	w.count(state, "HSM signs", outcomeOf(verdict))
	if outcomeOf(verdict) != "signed" {
		w.Tally.NeverReleased++
	}
}

// several are flights of different keys: what becomes of one does not depend on another.
func (w *walk) several(t *rapid.T, least int) (flights []*flight) {
	for _, f := range w.asked() {
		if !slices.ContainsFunc(flights, func(g *flight) bool { return g.Key == f.Key }) {
			flights = append(flights, f)
		}
	}
	if len(flights) < least {
		t.Skip()
	}
	for _, f := range flights {
		w.rejoin(w.lines[f.Slot])
	}
	return flights
}

// hsmSignsSeveral has commits meet in one transaction.
func (w *walk) hsmSignsSeveral(t *rapid.T) {
	command, all, outcomes := "hsm", []string(nil), []string(nil)
	for _, f := range w.several(t, 2) {
		w.made++
		said, verdict := w.land(f, w.made)
		command += fmt.Sprintf(" %d ok %d", f.id, w.made)
		all, outcomes = append(all, said...), append(outcomes, outcomeOf(verdict))
	}
	w.do(command, all...)
	for _, outcome := range outcomes {
		w.count("HSM asked in several slots", "HSM signs", outcome)
	}
}

func (w *walk) hsmFails(t *rapid.T) {
	f := w.someFlight(t)
	state := w.behind(f)
	w.do(fmt.Sprintf("hsm %d error", f.id), w.crash(f, "hsm")...)
	w.count(state, "HSM fails", "error")
}

func (w *walk) hsmHangs(t *rapid.T) {
	if w.Hangs == 0 {
		t.Skip()
	}
	w.hang(w.someFlight(t))
}

func (w *walk) hang(f *flight) {
	w.Hangs--
	state := w.behind(f)
	w.do(fmt.Sprintf("hsm %d hang", f.id), w.crash(f, "timeout")...)
	w.count(state, "HSM hangs", "timeout")
}

func (w *walk) leaveSomething(t *rapid.T) {
	flights := w.flights()
	if len(flights) == 0 || w.closing {
		t.Skip()
	}
	f := rapid.SampledFrom(flights).Draw(t, "flight")
	if len(f.callers) == 0 {
		return
	}
	caller := rapid.SampledFrom(f.callers).Draw(t, "caller")
	said, outcome := w.leave(f, caller)
	w.do(fmt.Sprintf("leave %d", caller), said...)
	w.count("waits", "leave", outcome)
}

// fill asks for more than may wait, of a slot that is busy if there is one.
func (w *walk) fill(t *rapid.T) {
	slot := Slot{Kind: someKind.Draw(t, "kind")}
	if flights := w.asked(); len(flights) > 0 {
		slot = flights[0].Slot
	}
	p := payload{w.near(t, slot), someBytes.Draw(t, "bytes")}
	for range maxWaiting + 3 {
		w.askNow(p)
		p.Round = limited(p.Round + 1)
		p.bytes++
	}
}

// strayChains asks for more chains than a key that was new may have. All are
// asked for before the first is signed, so that it is the transaction that refuses.
func (w *walk) strayChains(t *rapid.T) {
	if len(w.unused) == 0 || w.closing {
		t.Skip()
	}
	key := rapid.SampledFrom(slices.Sorted(maps.Keys(w.unused))).Draw(t, "key")
	var asked []*flight
	for chain := range maxChains + 2 {
		p := payload{Mark{Slot{key, chain, 0x11}, 3, 0}, 0}
		if _, busy := w.lines[p.Slot]; !busy && w.askNow(p) {
			asked = append(asked, w.lines[p.Slot][0])
		}
	}
	for _, f := range asked {
		w.sign(f)
	}
}

// registerSomething is often at the level of what is on its way there.
func (w *walk) registerSomething(t *rapid.T) {
	slot := w.someSlot(t)
	level := max(w.floors[place{slot.Key, slot.Chain}], w.rows[slot].level)
	if flights := w.asked(); len(flights) > 0 && rapid.Bool().Draw(t, "below a flight") {
		slot, level = flights[0].Slot, flights[0].Level
	}
	w.registerNow(place{slot.Key, slot.Chain}, limited(level+levelStep.Draw(t, "from")))
}

// overtake registers a chain from above what the HSM is signing there: the transaction
// must refuse what was good before.
func (w *walk) overtake(t *rapid.T) {
	f := w.someFlight(t)
	w.registerNow(place{f.Key, f.Chain}, limited(f.Level+1))
	w.sign(f)
}

// registerNow does what an operator does, who never goes below what was signed in a
// file that is lost.
func (w *walk) registerNow(at place, from int64) {
	from = max(from, w.heads[at])
	if from > math.MaxInt32 {
		return // the key has signed the highest level there
	}
	state := w.standing(at)
	outcome := w.register(at, from)
	w.do(fmt.Sprintf("register %d %d %d", at.key, at.chain, from), outcome)
	w.count(state, "register", outcomeOf(outcome))
}

func (w *walk) standing(at place) string {
	switch {
	case w.registered(at):
		return "registered"
	case w.unused[at.key]:
		return "never used"
	}
	return "not registered"
}

// newKey does not call new what has signed in a file that is lost.
func (w *walk) newKey(t *rapid.T) {
	key := rapid.IntRange(0, 5).Draw(t, "key")
	for at := range w.heads {
		if at.key == key {
			return
		}
	}
	w.newKeyNow(key)
}

func (w *walk) newKeyNow(key int) {
	state := "not known"
	if w.unused[key] || w.chains(key) > 0 {
		state = "known"
	}
	outcome := w.registerNew(key)
	w.do(fmt.Sprintf("new %d", key), outcome)
	w.count(state, "register as new", outcomeOf(outcome))
}

// closeNow stops cleanly: at once, or when all who are in have their answers.
func (w *walk) closeNow(t *rapid.T) {
	if w.closing {
		t.Skip()
	}
	w.rejoin(w.flights())
	said := w.close()
	w.do("close", said...)
	outcome := "closed"
	if len(said) == 1 {
		outcome = "waits"
	}
	w.count("open", "close", outcome)
}

// second has another process try to open the file.
func (w *walk) second(*rapid.T) {
	first := w.process
	w.start()
	if w.err == nil {
		w.do(fmt.Sprintf("open %s %d", w.path, maxGap), "failed locked")
		w.process.kill()
		w.count("open", "open in another process", "locked")
	}
	w.process = first
}

func compare(a, b payload) int {
	return slices.Compare(
		[]int64{int64(a.Key), int64(a.Chain), int64(a.Kind), a.Level, a.Round, int64(a.bytes)},
		[]int64{int64(b.Key), int64(b.Chain), int64(b.Kind), b.Level, b.Round, int64(b.bytes)})
}
