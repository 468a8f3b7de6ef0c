package sqlite

// What an opening found out about the file, as a kind and in words.

import (
	"fmt"

	"pawl/ratchet"
)

// Verdict is what opening a ratchet found out about its file.
type Verdict uint8

// The verdicts, the worse the later. All but the first and the last fence the keys: see [ratchet.Fence].
const (
	InPlace     Verdict = iota // the file that was left, with all marks that the witness knows
	Unwitnessed                // the file that was left; nothing since the start of the host says which marks were the last
	RolledBack                 // the file that was left, with older content: marks are missing that are known elsewhere
	Moved                      // another file, file system or host than the one that was left
	Lost                       // content is missing or damaged: the file is refused
)

// Cause is the verdict as what fences keys.
func (v Verdict) Cause() ratchet.Cause {
	switch v {
	case Unwitnessed:
		return ratchet.Unwitnessed
	case RolledBack:
		return ratchet.RolledBack
	case Moved:
		return ratchet.Moved
	case InPlace, Lost:
	}
	return ratchet.NoCause
}

// Finding is a verdict and, in words, what it is drawn from.
type Finding struct {
	Verdict Verdict
	Text    string // one line with the file's name; "" when InPlace
}

// and returns the worse of two findings, the first of two equal ones.
func (f Finding) and(other Finding) Finding {
	if other.Verdict > f.Verdict {
		return other
	}
	return f
}

// String returns the verdict in snake case, for logs.
func (v Verdict) String() string {
	switch v {
	case InPlace:
		return "in_place"
	case Unwitnessed:
		return "unwitnessed"
	case Moved:
		return "moved"
	case RolledBack:
		return "rolled_back"
	case Lost:
		return "lost"
	}
	return "unknown"
}

// VerdictError refuses a file that may have lost marks. It Is [ratchet.ErrSuspect].
type VerdictError struct {
	Verdict Verdict // Lost; Moved for what lies beside the file and is not pawl's
	Text    string  // what was found, with the file's name
	Remedy  string  // what to do
}

// wayOut is the remedy for a file that may have lost marks.
const wayOut = "marks may be lost: move the file and its suffixes away, pawl ratchet init, and register each key " +
	"from a level above the chain head"

func (e *VerdictError) Error() string {
	return fmt.Sprintf("%v: %s: %s", ratchet.ErrSuspect, e.Text, e.Remedy)
}

// Is makes each of them a [ratchet.ErrSuspect].
func (e *VerdictError) Is(target error) bool { return target == ratchet.ErrSuspect }

// verdict returns a VerdictError for a file that may have lost marks.
func verdict(v Verdict, text string) error { return &VerdictError{v, text, wayOut} }

// severalNames refuses a file with hard links. By its other name another process could have used it, but
// mostly a backup tool has made the link, and no mark is lost.
func severalNames(path string, names uint32) error {
	return &VerdictError{
		Moved, fmt.Sprintf("%s has %d names (hard links)", path, names),
		fmt.Sprintf("remove the others and no more: find / -xdev -samefile %s", path),
	}
}
