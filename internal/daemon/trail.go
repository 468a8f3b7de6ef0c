package daemon

// The audit trails of the ratchets.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"pawl/internal/audit"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// refusalsPerSecond bounds the refusals that a trail gets in a second, some 300 bytes each: with all of a
// flood the trail would hold nothing else within minutes.
const refusalsPerSecond = 50

// trail is that of a ratchet.
type trail struct {
	log *audit.Log // nil if there can be none

	mu      sync.Mutex
	second  time.Time
	refused int    // in this second
	left    uint64 // refusals that were not added, and not told yet
}

// openTrail opens the trail of a ratchet. Without one signing goes on.
func (d *Daemon) openTrail(path string, found sqlite.Finding) *trail {
	log, err := audit.Open(path, audit.Options{})
	if err != nil {
		d.log.Warn("there is no audit trail", "error", err.Error())
		return &trail{}
	}
	t := &trail{log: log}
	if found.Verdict != sqlite.InPlace {
		t.add(audit.Event{Name: audit.Fence, Reason: found.Verdict.String(), Detail: found.Text})
	}
	return t
}

func (t *trail) add(e audit.Event) {
	if t.log != nil {
		t.log.Add(e)
	}
}

// decided is for ratchet.Options.OnDecision.
func (t *trail) decided(m ratchet.Mark, digest tezos.Digest, refused error) {
	e := audit.Event{Name: audit.Signed, Key: m.Key, ChainID: m.ChainID, Kind: m.Kind, Level: m.Level, Round: m.Round, Digest: digest}
	if why, ok := errors.AsType[*ratchet.RefusedError](refused); ok {
		left, fits := t.room(time.Now())
		if !fits {
			return
		}
		e.Name, e.Reason = audit.Refused, why.Reason.String()
		if left > 0 {
			e.Detail = fmt.Sprintf("%d refusals before it are left out", left)
		}
	}
	t.add(e)
}

// room reports whether there is room for a refusal, and how many were left out before it.
func (t *trail) room(now time.Time) (left uint64, fits bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.second) >= time.Second {
		t.second, t.refused = now, 0
	}
	if t.refused++; t.refused > refusalsPerSecond {
		t.left++
		return 0, false
	}
	left, t.left = t.left, 0
	return left, true
}

// changed is for ratchet.Options.OnChange: a daemon changes fences alone.
func (t *trail) changed(done ratchet.Changes) {
	for _, e := range audit.Of(audit.Fence, done) {
		t.add(e)
	}
}

// watchTrails tells when a trail cannot be written, and when it can again.
func (d *Daemon) watchTrails(ctx context.Context) {
	failing := make([]bool, len(d.trails))
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		for i, t := range d.trails {
			failing[i] = d.tellTrail(t, failing[i])
		}
	}
}

func (d *Daemon) tellTrail(t *trail, failed bool) (fails bool) {
	if t.log == nil {
		return false
	}
	err := t.log.Err()
	switch {
	case err != nil && !failed:
		d.log.Warn("the audit trail cannot be written: signing goes on", "error", err.Error())
	case err == nil && failed:
		d.log.Info("the audit trail is written again", "dropped", t.log.Dropped())
	}
	return err != nil
}

// AuditDropped is how many events of all trails were dropped.
func (d *Daemon) AuditDropped() (n uint64) {
	for _, t := range d.trails {
		if t.log != nil {
			n += t.log.Dropped()
		}
	}
	return n
}

// closeTrails ends the trails, after the last decision. What they could not write is told: it is no failure
// of the signer.
func (d *Daemon) closeTrails() {
	for _, t := range d.trails {
		if t.log == nil {
			continue
		}
		if err := t.log.Close(); err != nil {
			d.log.Warn("the audit trail was not closed", "error", err.Error())
		}
	}
}
