package model

import (
	"fmt"
	"slices"
)

// maxWaiting is how many other payloads may wait for one slot.
const maxWaiting = 8

// flight is a payload on its way, for all who asked for it.
type flight struct {
	payload
	id      int   // of the request that began it
	callers []int // who did not leave
	stays   bool  // the first caller flies it, and cannot leave
}

// lines are the flights of each slot. The HSM is asked for the first of each.
type lines map[Slot][]*flight

// desk is the ratchet with all who stand before it.
type desk struct {
	ratchet
	lines   lines
	closing bool
}

// ask says what must happen when a payload is asked for, and in a word what did.
func (d *desk) ask(id int, p payload) (said []string, outcome string) {
	asked := fmt.Sprintf("asked %d", id)
	line := d.lines[p.Slot]
	if d.closing {
		return []string{asked, fmt.Sprintf("answer %d stopped", id)}, "stopped"
	}
	for _, f := range line {
		if f.payload == p {
			f.callers = append(f.callers, id)
			return []string{asked}, "joined"
		}
	}
	if len(line) > maxWaiting {
		return []string{asked, fmt.Sprintf("answer %d full", id)}, "queue full"
	}
	f := &flight{payload: p, id: id, callers: []int{id}, stays: len(line) == 0}
	d.lines[p.Slot] = append(line, f)
	if len(line) > 0 {
		return []string{asked}, "queued"
	}
	verdict := d.judge(p)
	return append(d.depart(p.Slot), asked), outcomeOf(verdict)
}

// depart has the first of a line that may be signed asked of the HSM, and those before
// it answered.
func (d *desk) depart(slot Slot) (said []string) {
	for len(d.lines[slot]) > 0 {
		f := d.lines[slot][0]
		verdict := d.judge(f.payload)
		if verdict == may {
			return append(said, fmt.Sprintf("called %d", f.id))
		}
		said = append(said, f.answers(verdict)...)
		d.lines[slot] = d.lines[slot][1:]
	}
	delete(d.lines, slot)
	if d.closing && len(d.lines) == 0 {
		said = append(said, "closed")
	}
	return said
}

func (f *flight) answers(what string) (said []string) {
	for _, caller := range f.callers {
		said = append(said, fmt.Sprintf("answer %d %s", caller, what))
	}
	return said
}

// land is what must happen when the HSM has signed for the first of a line.
func (d *desk) land(f *flight, signature int) (said []string, verdict string) {
	verdict = d.place(f.payload, signature)
	return append(f.answers(verdict), d.leaveLine(f)...), verdict
}

// crash is what must happen when the HSM has failed for the first of a line.
func (d *desk) crash(f *flight, how string) (said []string) {
	return append(f.answers(how), d.leaveLine(f)...)
}

func (d *desk) leaveLine(f *flight) []string {
	d.lines[f.Slot] = d.lines[f.Slot][1:]
	return d.depart(f.Slot)
}

// close is what must happen when no request is let in any more.
func (d *desk) close() []string {
	d.closing = true
	if len(d.lines) == 0 {
		return []string{"closing", "closed"}
	}
	return []string{"closing"}
}

// leave has a caller go. Who flies the payload stays.
func (d *desk) leave(f *flight, caller int) (said []string, outcome string) {
	if f.stays && caller == f.id {
		return nil, "stays"
	}
	f.callers = slices.DeleteFunc(f.callers, func(c int) bool { return c == caller })
	return []string{fmt.Sprintf("answer %d gone", caller)}, "gone"
}

// asked are the flights that the HSM is asked for, in a fixed order.
func (d *desk) asked() (flights []*flight) {
	for _, line := range d.lines {
		flights = append(flights, line[0])
	}
	slices.SortFunc(flights, func(a, b *flight) int { return a.id - b.id })
	return flights
}
