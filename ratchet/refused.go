package ratchet

// The errors of the ratchet, and the words of a refusal.

import (
	"errors"
	"fmt"
)

// The errors of this package that a caller may test for.
var (
	// ErrRefused is what every [*RefusedError] Is.
	ErrRefused = errors.New("refused by the ratchet")

	// ErrQueueFull means that too many payloads wait, for the same slot key or, of operations, for the key.
	ErrQueueFull = errors.New("queue full: other payloads of this key, chain and kind are waiting")

	// ErrStopped means that nothing is released any more: the ratchet was closed,
	// or it failed and the process is about to exit.
	ErrStopped = errors.New("ratchet stopped")

	// ErrMissing means that there is no store to open. Opening never makes one.
	ErrMissing = errors.New("ratchet file missing")

	// ErrLocked means that another process uses the store.
	ErrLocked = errors.New("ratchet in use")

	// ErrSuspect means that the store is not as it was left, and may have lost marks.
	ErrSuspect = errors.New("ratchet file not as it was left")

	// ErrCommit is a definite no: nothing was stored, and the next one may succeed.
	ErrCommit = errors.New("ratchet commit failed")

	// ErrUnknown means that nobody knows whether a commit was stored.
	ErrUnknown = errors.New("outcome of a commit unknown")
)

// Reason tells why a mark was refused.
type Reason uint8

// The reasons of a refusal.
const (
	BelowWatermark Reason = iota + 1
	OtherBytes            // same slot, other bytes
	NoSignature           // same slot, mark without a stored signature (imported)
	NotRegistered
	LevelGap
	BelowFloor
	TooManyChains
	Retired
	HandedOver
	Fenced
)

// String returns the reason in snake case, for logs and metrics.
func (r Reason) String() string {
	switch r {
	case BelowWatermark:
		return "below_watermark"
	case OtherBytes:
		return "other_bytes"
	case NoSignature:
		return "no_signature"
	case NotRegistered:
		return "not_registered"
	case LevelGap:
		return "level_gap"
	case BelowFloor:
		return "below_floor"
	case TooManyChains:
		return "too_many_chains"
	case Retired:
		return "retired"
	case HandedOver:
		return "handed_over"
	case Fenced:
		return "fenced"
	}
	return "unknown"
}

// RefusedError says that a mark may not be signed. Its text uses Octez's words
// where Octez has any (octez-signer --check-high-watermark). Is(ErrRefused).
type RefusedError struct {
	Reason       Reason
	Mark         Mark   // what was asked
	Level, Round int32  // the stored mark, or in Level the floor, the last level, or that of the fence
	Text         string // why the key is retired
	Fence        Fence  // when Fenced
}

func (e *RefusedError) Error() string {
	m := e.Mark
	switch e.Reason {
	case BelowWatermark:
		if m.Level < e.Level {
			return fmt.Sprintf("%s level %d below high watermark %d", m.Kind, m.Level, e.Level)
		}
		return fmt.Sprintf("%s level %d and round %d not above high watermark (%d,%d)", m.Kind, m.Level, m.Round, e.Level,
			e.Round)
	case NoSignature: // Octez writes a blank here, and only here
		return fmt.Sprintf("%s level %d and round %d not above high watermark (%d, %d)", m.Kind, m.Level, m.Round, e.Level,
			e.Round)
	case OtherBytes:
		return fmt.Sprintf("%s level %d and round %d already signed with different data", m.Kind, m.Level, m.Round)
	case NotRegistered:
		return fmt.Sprintf("key %s is not registered for chain %s: stop pawl, run `pawl ratchet register %s --chain %s "+
			"--from-level N` with N above all that the key ever signed there, and start pawl",
			m.Key, m.ChainID, m.Key, m.ChainID)
	case LevelGap:
		return fmt.Sprintf("%s level %d too far above %d: if the chain is there, stop pawl, run `pawl ratchet register %s "+
			"--chain %s --from-level %d --far`, and start pawl", m.Kind, m.Level, e.Level, m.Key, m.ChainID, m.Level)
	case BelowFloor:
		return fmt.Sprintf("%s level %d below the level %d from which the key is registered", m.Kind, m.Level, e.Level)
	case TooManyChains:
		return fmt.Sprintf("key %s has %d chains already, chain %s is one too many: use another key for it", m.Key,
			MaxChains, m.ChainID)
	case Retired:
		return fmt.Sprintf("key %s is retired here: %s", m.Key, e.Text)
	case HandedOver:
		if m.Kind == 0 { // a command
			return fmt.Sprintf("key %s on chain %s was handed over from level %d on", m.Key, m.ChainID, int64(e.Level)+1)
		}
		return fmt.Sprintf("%s level %d above %d, the last level that key %s signs here: it was handed over", m.Kind, m.Level,
			e.Level, m.Key)
	case Fenced:
		return e.fenced()
	}
	return ErrRefused.Error()
}

// fenced says why the fence is there, and what passes it.
func (e *RefusedError) fenced() string {
	m := e.Mark
	switch {
	case e.Fence.Cause == Moved && !e.Fence.Set:
		return fmt.Sprintf("key %s is fenced on %s: its ratchet is not where it was last used, and signs nothing until you "+
			"say that the former one has stopped for good: stop pawl, run `pawl ratchet unfence %s --chain %s --level N` "+
			"with N above all that was ever signed, and start pawl", m.Key, m.ChainID, m.Key, m.ChainID)
	case !e.Fence.Set:
		return fmt.Sprintf("key %s is fenced on %s (%s): its next request sets the fence", m.Key, m.ChainID, e.Fence.Cause)
	}
	return fmt.Sprintf("%s level %d not above %d: fenced (%s): marks may be missing, and higher levels are signed", m.Kind,
		m.Level, e.Level, e.Fence.Cause)
}

// Is makes every refusal an [ErrRefused].
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// FloorError says that a registration was refused: its level is below the one that is registered, more
// than the level gap above all that is known of the key and chain, or above MaxFirstLevel with nothing known.
type FloorError struct {
	Registration
	Base  int32 // the registered level, or the highest of that and the marks
	First bool  // nothing is known of the key and chain; Base is 0
	Not   bool  // the level must be above the base, and is not
}

// Lower reports whether the level is below the registered one, or not above what is known.
func (e *FloorError) Lower() bool { return e.Not || e.FromLevel < e.Base }

func (e *FloorError) Error() string {
	switch {
	case e.Not:
		return fmt.Sprintf("level %d is not above %d, the highest that is known of key %s on chain %s", e.FromLevel, e.Base,
			e.Key, e.ChainID)
	case e.First:
		return fmt.Sprintf("level %d is above %d: is it a time, or has it a digit too many?", e.FromLevel, MaxFirstLevel)
	case e.Lower():
		return fmt.Sprintf("key %s is registered for chain %s from level %d, which only rises: %d is lower", e.Key, e.ChainID,
			e.Base, e.FromLevel)
	}
	return fmt.Sprintf("level %d is %d levels above %d, the highest that is known of key %s on chain %s", e.FromLevel,
		int64(e.FromLevel)-int64(e.Base), e.Base, e.Key, e.ChainID)
}
