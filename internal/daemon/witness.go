package daemon

// What starts find out about the ratchets, and the witness that lets them.

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pawl/internal/node"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// storeOptions are those of each ratchet.
func (d *Daemon) storeOptions() sqlite.Options {
	folder, err := sqlite.WitnessFolder(d.cfg.Witness)
	if err != nil && !d.witnessTold {
		d.witnessTold = true
		d.log.Warn("no witness: a start cannot tell that the ratchet was set back, and fences the keys: name a folder with "+
			"witness in keys.json", "error", err.Error())
	}
	if err != nil {
		folder = ""
	}
	return sqlite.Options{OnCommit: d.opts.OnCommit, Witness: folder, OnWitnessLost: func(cause error) {
		d.log.Error("the witness was lost: the next start fences the keys", "error", cause.Error())
	}}
}

// tellFinding tells why keys are fenced.
func (d *Daemon) tellFinding(found sqlite.Finding) {
	switch found.Verdict {
	case sqlite.Unwitnessed:
		d.log.Warn("marks may be missing: of each key a first level far above its marks is not signed, and the next ones are",
			"verdict", found.Verdict.String(), "finding", found.Text)
	case sqlite.RolledBack:
		d.log.Error("marks are missing: each key waits for two levels above the first that is asked, and signs then",
			"verdict", found.Verdict.String(), "finding", found.Text)
	case sqlite.Moved:
		d.log.Error("the ratchet was moved or copied: no key signs before pawl ratchet unfence",
			"verdict", found.Verdict.String(), "finding", found.Text)
	case sqlite.InPlace, sqlite.Lost:
	}
}

// maxHeadAge is how far the head of a node may be off the clock of this host to set fences by. Blocks come
// every six seconds: the chain is at most one level further then, which the fence has room for.
const maxHeadAge = 10 * time.Second

// askNode sets the fences that wait for a first request by the head of the chain, if keys.json names a node.
// Without an answer they wait for the request.
func (d *Daemon) askNode(ctx context.Context) error {
	if d.cfg.NodeURL == "" || !slices.ContainsFunc(d.ratchets, func(r *ratchet.Ratchet) bool { return waits(ctx, r) }) {
		return nil
	}
	client, err := node.New(d.cfg.NodeURL)
	if err != nil {
		return err
	}
	head, err := client.Head(ctx)
	if age := time.Since(head.Time).Abs(); err == nil && age > maxHeadAge {
		err = fmt.Errorf("its head is %v off the clock of this host", age.Round(time.Second))
	}
	if err != nil {
		d.log.Warn("the node does not tell the head of the chain: the fences wait for the first requests", "error", err.Error())
		return nil
	}
	for _, r := range d.ratchets {
		_, err := r.Change(ctx, func(held ratchet.Snapshot) (ratchet.Changes, error) {
			return held.Heads(head.ChainID, head.Level), nil
		})
		if err != nil {
			return err
		}
	}
	d.log.Info("the fences are set by the head that the node tells", "chain_id", head.ChainID.String(), "level", head.Level)
	return nil
}

// waits reports whether a key of a ratchet is fenced until a first request.
func waits(ctx context.Context, r *ratchet.Ratchet) bool {
	all, err := r.List(ctx)
	return err == nil && slices.ContainsFunc(all.HeldBack(), func(row ratchet.Registration) bool {
		return row.Fence.Pending() && row.Fence.Cause != ratchet.Moved
	})
}
