package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// inTurns is how many requests of each kind follow each other when a cell is
// measured in turns with its ceilings.
const inTurns = 1

// wavePause lies between two waves, so that the second meets a signer at rest.
const wavePause = 30 * time.Millisecond

// measure adds what a cell does in time d to its tally.
func (b *bench) measure(ctx context.Context, c cell, s *stand, d time.Duration, t *tally) error {
	r := running{cell: c, stand: s, tally: t}
	if c.rested {
		time.Sleep(settle)
	}
	err := r.open(ctx, b)
	if err == nil {
		err = r.counted(ctx, func() error { return r.run(ctx, time.Now().Add(d)) })
	}
	if err = errors.Join(err, r.end()); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

// running is a cell with its connections open.
type running struct {
	cell     cell
	stand    *stand
	tally    *tally
	workers  []worker
	ceilings []openCeiling
}

type openCeiling struct {
	name    string
	workers []worker
}

func (r *running) open(ctx context.Context, b *bench) (err error) {
	if err := r.connect(); err != nil {
		return err
	}
	for _, name := range r.cell.ceilings {
		c := openCeiling{name: name}
		if c.workers, err = r.ceiling(ctx, b, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.ceilings = append(r.ceilings, c)
	}
	return nil
}

// connect makes the workers of the cell and has each ask once, so that its connection
// is there.
func (r *running) connect() error {
	shares, err := share(r.stand.lanesFor(r.cell), r.cell.workers)
	if err != nil {
		return err
	}
	for _, lanes := range shares {
		w, err := r.cell.load.worker(r.conn(r.stand.dialer), lanes)
		if err != nil {
			return err
		}
		r.workers = append(r.workers, w)
		if _, err := w.ask(); err != nil {
			return err
		}
	}
	return nil
}

// conn is a connection of the cell's kind.
func (r *running) conn(d dialer) *conn {
	if r.cell.resume {
		d = d.resuming()
	}
	return &conn{dialer: d, fresh: r.cell.fresh}
}

func (s *stand) lanesFor(c cell) []*lane {
	return slices.DeleteFunc(slices.Clone(s.lanes), func(l *lane) bool { return c.oneKind && l.public.Kind() != c.kind })
}

func (r *running) end() error {
	var errs []error
	for _, w := range r.workers {
		errs = append(errs, w.end())
	}
	for _, c := range r.ceilings {
		for _, w := range c.workers {
			errs = append(errs, w.end())
		}
	}
	return errors.Join(errs...)
}

// run measures until the end, a turn of the cell after one of each ceiling.
func (r *running) run(ctx context.Context, end time.Time) error {
	if r.stand.syncs != nil {
		r.stand.syncs.slow(r.cell.slowed)
		defer r.stand.syncs.slow(0)
	}
	for time.Now().Before(end) && ctx.Err() == nil {
		var sum time.Duration
		for _, c := range r.ceilings {
			took, err := r.turn(c.workers, end)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			r.tally.ceilings[c.name] = append(r.tally.ceilings[c.name], took...)
			if slices.Contains(ofSignature, c.name) {
				sum += took[0]
			}
		}
		if err := r.metered(end); err != nil {
			return err
		}
		if len(r.ceilings) == len(all) {
			r.tally.own = append(r.tally.own, r.tally.took[len(r.tally.took)-1]-sum)
		}
	}
	return ctx.Err()
}

// turn has workers ask: a few times each when others have turns, else until the end.
func (r *running) turn(workers []worker, end time.Time) (times, error) {
	few := len(r.ceilings) > 0
	switch {
	case r.cell.waves && few:
		return waves(workers, r.cell.spread, wavePause, atMost(1))
	case r.cell.waves:
		return waves(workers, r.cell.spread, wavePause, until(end))
	case few:
		return closedLoop(workers, atMost(inTurns*len(workers)))
	}
	return closedLoop(workers, until(end))
}

// counted adds the commits that pawl tells of. It is asked no more often: an answer of
// /metrics costs it as much as a signature.
func (r *running) counted(ctx context.Context, do func() error) error {
	before, err := r.stand.commits(ctx)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	after, err := r.stand.commits(ctx)
	r.tally.commits += after - before
	return err
}

// metered adds what a turn took and what the processes used meanwhile.
func (r *running) metered(end time.Time) error {
	before, err := r.stand.used()
	if err != nil {
		return err
	}
	start := time.Now()
	took, err := r.turn(r.workers, end)
	if err != nil {
		return err
	}
	r.tally.elapsed += time.Since(start)
	after, err := r.stand.used()
	r.tally.add(took, before, after)
	return err
}

func (t *tally) add(took times, before, after usage) {
	t.took = append(t.took, took...)
	t.pawl += after.pawl - before.pawl
	t.card += after.card - before.card
	t.load += after.load - before.load
	t.busy += after.busy - before.busy
	t.syncs += after.syncs - before.syncs
	t.resident = max(t.resident, after.resident)
}

// usage is what was used up to a moment.
type usage struct {
	pawl, card, load, busy time.Duration // of CPU
	syncs                  uint64
	resident               int64
}

// used is what the processes of a stand have used. Of a signer that is not ours it
// knows no more than its process id, if that.
func (s *stand) used() (u usage, err error) {
	var errs [5]error
	u.load, errs[0] = cpuTime(os.Getpid())
	u.busy, errs[1] = busyTime()
	if s.pid != 0 {
		u.pawl, errs[2] = cpuTime(s.pid)
		u.resident, errs[3] = resident(s.pid)
	}
	if s.card != nil {
		u.card, errs[4] = cpuTime(s.card.pid())
	}
	if s.syncs != nil {
		u.syncs = s.syncs.calls()
	}
	return u, errors.Join(errs[:]...)
}
