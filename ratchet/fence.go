package ratchet

// What holds a key back after a start at which marks may have been missing.

import "math"

// Cause is what a store found out when it was opened, and why keys are fenced.
type Cause uint8

// The causes, the worse the higher.
const (
	NoCause     Cause = iota
	Unwitnessed       // nothing witnesses that the marks are the last ones: the host was started since
	RolledBack        // a mark is missing that is known from elsewhere: older content was put back
	Moved             // another host, file system or file: the former one may be alive
)

// String returns the cause in snake case, for logs and metrics.
func (c Cause) String() string {
	switch c {
	case NoCause:
		return "none"
	case Unwitnessed:
		return "unwitnessed"
	case RolledBack:
		return "rolled_back"
	case Moved:
		return "moved"
	}
	return "unknown"
}

// A Fence keeps a key from signing on a chain what it may have signed there already, by marks that are
// missing. A baker asks for the present level and nothing below: the first request tells where the chain
// is, and sets the level up to which nothing is signed. After [Moved] an operator has to, because the
// former store may be signing still.
type Fence struct {
	Cause Cause // NoCause: there is no fence
	Known int32 // nothing up to this level is signed: after a set-back the highest that anything knew
	Set   bool
	Until int32 // once Set: the last level that is not signed
}

const (
	// nearLevels is how far above all that is known a request after a quick start may be: a minute of
	// 6-second blocks. Whoever can put back content of that age within a minute, and have the host
	// started too, is not held back.
	nearLevels = 10
	// aheadLevels is how far above the first level that is asked a fence after a set-back ends: blocks
	// and attestations are asked for one level apart, and a baker may lag by one.
	aheadLevels = 2
)

// Pending reports whether nothing is signed before the fence is set.
func (f Fence) Pending() bool { return f.Cause != NoCause && !f.Set }

// Blocks reports whether the fence forbids a level.
func (f Fence) Blocks(level int32) bool { return f.Pending() || f.Cause != NoCause && level <= f.Until }

// passed reports whether a fence has done its work: a level above it was signed.
func (f Fence) passed(highest int32) bool { return f.Cause == NoCause || f.Set && highest > f.Until }

// meet returns the fence as the first request sets it, base being the level of Standing.base.
func (f Fence) meet(level, base int32, known bool) Fence {
	until := int64(level) + aheadLevels
	if f.Cause == Unwitnessed {
		until = int64(level)
		if known && int64(level)-int64(base) <= nearLevels {
			until = 0
		}
	}
	f.Set, f.Until = true, int32(min(max(until, int64(f.Known)), math.MaxInt32))
	return f
}

// after returns the fence of a start with a cause, when f was there before and highest is the highest level
// that anything knows. Each kind has its own mark: what is known of one level does not forbid the others of it
// unless marks are missing.
func (f Fence) after(cause Cause, highest int32) Fence {
	if cause == NoCause {
		return f
	}
	next := Fence{Cause: max(f.Cause, cause), Known: f.Known}
	if f.Set {
		next = Fence{Cause: cause, Known: max(f.Known, f.Until)}
	}
	if next.Cause > Unwitnessed {
		next.Known = max(next.Known, highest)
	}
	return next
}
