package check

import (
	"context"
	"errors"
	"time"

	"pawl/internal/config"
	"pawl/internal/node"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// maxHeadAge is how old the head of a chain may be. A Tezos block comes every 6 seconds.
const maxHeadAge = 2 * time.Minute

// node asks the node of keys.json once, and compares the clock and the marks with its head. Nothing of it
// is an error: keys sign without a node.
func (r *Report) node(ctx context.Context, url string) {
	client, err := node.New(url)
	if err != nil {
		return // there is none, or Load has said so
	}
	subject := "node " + client.Name()
	marks := r.knownMarks(ctx) // before the head, which rises as they do
	head, err := client.Head(ctx)
	if failure, failed := errors.AsType[*node.Error](err); failed {
		if !r.ended(ctx, subject) {
			r.warn(subject, failure.Remedy+"; keys sign without it", "%s", failure.Reason)
		}
		return
	}
	r.head(subject, head, time.Now())
	r.aboveHead(subject, head, marks)
}

// knownMarks are those that a daemon told, and those of the ratchets that nobody has open.
func (r *Report) knownMarks(ctx context.Context) []ratchet.StoredMark {
	all := r.told
	for _, path := range r.readable {
		held, err := sqlite.Read(ctx, path)
		subject := "ratchet " + path
		if err != nil && !r.ended(ctx, "marks of "+subject) {
			r.warn(subject, "check again when it is mended, or closed", "its marks are not compared with the chain: %v", err)
		}
		all = append(all, held.Marks...)
	}
	return all
}

// head judges the time of a head by the clock of this host.
func (r *Report) head(subject string, head node.Head, now time.Time) {
	const remedy = "set the clock of this host by NTP, or see why the node is not in step with its chain"
	const text = "the head of %v is level %d, of %s"
	at := head.Time.Format(time.RFC3339)
	age := now.Sub(head.Time)
	off := age.Abs().Round(time.Second)
	switch {
	case age < -clockTolerance:
		r.warn(subject, remedy, text+": %v ahead of the clock of this host", head.ChainID, head.Level, at, off)
	case age > maxHeadAge:
		r.warn(subject, remedy, text+": %v ago by the clock of this host", head.ChainID, head.Level, at, off)
	default:
		r.ok(subject, text, head.ChainID, head.Level, at)
	}
}

// aboveHead finds the marks of the chain that are above its head. A block is signed one level above it.
func (r *Report) aboveHead(subject string, head node.Head, marks []ratchet.StoredMark) {
	const remedy = "unless the node is behind its chain: find out who asked for that level, and wait until the chain is " +
		"above it, or bake with another key; a new ratchet would let this one sign twice"
	known, above := 0, 0
	for _, m := range marks {
		if m.ChainID != head.ChainID {
			continue
		}
		known++
		rise := int64(m.Level) - int64(head.Level)
		if rise <= 1 {
			continue
		}
		if above++; above <= config.MaxShown {
			r.warn("keys."+m.Key.String(), remedy, "its %v mark is at level %d, %d above the head of %v, level %d",
				m.Kind, m.Level, rise, m.ChainID, head.Level)
		}
	}
	switch {
	case above > config.MaxShown:
		r.warn(subject, remedy, "its head is below %s more", counted(above-config.MaxShown, "mark"))
	case above == 0 && known > 0:
		r.ok(subject, "%s of its chain, none above the head", counted(known, "mark"))
	}
}
