package check

import (
	"time"

	"golang.org/x/sys/unix"
)

// From linux/timex.h: what adjtimex(2) returns, and a bit of its status.
const (
	timeError    = 5    // TIME_ERROR: the clock is not synchronised
	unsynced     = 0x40 // STA_UNSYNC
	maxClockRoom = time.Second
)

// clock reports whether the kernel holds the clock to be right. Rounds of Tezos are seconds.
func (r *Report) clock() {
	var state unix.Timex // Modes 0: it is only read
	result, err := unix.Adjtimex(&state)
	r.clockFinding(result, state, err)
}

func (r *Report) clockFinding(result int, state unix.Timex, err error) {
	const remedy = "run chrony, ntpd or systemd-timesyncd on the host"
	room := time.Duration(state.Maxerror) * time.Microsecond
	switch {
	case err != nil:
		r.warn("clock", "see on the host whether its clock is synchronised", "the kernel does not tell its state: %v", err)
	case result == timeError || state.Status&unsynced != 0:
		r.warn("clock", remedy, "is not synchronised")
	case room > maxClockRoom:
		r.warn("clock", remedy, "is synchronised, but may be off by %v", room.Round(time.Millisecond))
	default:
		r.ok("clock", "is synchronised, off by %v at most", room.Round(time.Millisecond))
	}
}
