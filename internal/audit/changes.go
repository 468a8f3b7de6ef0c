package audit

import (
	"fmt"

	"pawl/ratchet"
)

// Of returns the events of what was changed in a store, one for each row.
func Of(name Name, done ratchet.Changes) (events []Event) {
	for _, c := range done.Registrations {
		events = append(events, Event{
			Name: name, Key: c.After.Key, ChainID: c.After.ChainID, Reason: c.After.Retired, Detail: detailOf(c.After),
		})
	}
	for _, c := range done.Marks {
		m := c.After
		events = append(events, Event{
			Name: name, Key: m.Key, ChainID: m.ChainID, Kind: m.Kind, Level: m.Level, Round: m.Round, Digest: m.Digest,
		})
	}
	return events
}

// detailOf says what a registration allows.
func detailOf(r ratchet.Registration) string {
	text := "from any level"
	switch {
	case r.AnyChain:
		text = "any chain"
	case !r.NoFloor:
		text = fmt.Sprintf("from level %d", r.FromLevel)
	}
	if r.Bounded {
		text += fmt.Sprintf(" to %d", r.NotAfter)
	}
	switch f := r.Fence; {
	case f.Pending():
		text += fmt.Sprintf(", fenced (%v)", f.Cause)
	case f.Cause != ratchet.NoCause:
		text += fmt.Sprintf(", fenced (%v) to level %d", f.Cause, f.Until)
	}
	return text
}
