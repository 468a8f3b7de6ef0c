package ratchet

import (
	"context"
	"time"

	"pawl/tezos"
)

// flightTime is how long a flight may ask the HSM: two tries of two seconds.
const flightTime = 5 * time.Second

// maxWaiting is how many other payloads may wait for one slot key. A baker asks
// for one or two at a time.
const maxWaiting = 8

// line is the flight of a slot key and the flights that wait behind it.
type line struct {
	flying  *flight
	waiting []*flight
}

// flight carries one payload to its signature, for all who asked for it.
type flight struct {
	mark   Mark
	digest tezos.Digest
	sign   SignFunc
	ctx    context.Context // the values of its first caller, not its end

	landed  chan struct{} // closed when release and err are set
	release Release
	err     error
}

// Sign releases the one signature of a slot: that of the row when the same bytes
// were signed before, else a fresh one, which sign makes and verifies and which
// is durable when Sign returns. Digest is that of the whole payload.
//
// Per key, chain and kind one payload flies at a time and at most eight others
// wait, then it is [ErrQueueFull]; callers with the same mark and digest share a
// flight. A caller that leaves changes nothing: who waits for a flight gets its
// context's error, who flies it stays until the outcome is known.
//
// A mark that may not be signed is a [*RefusedError] and, as far as is known
// before, costs no call of sign. An error of sign is returned as it is, and
// nothing is written. [ErrCommit] means that nothing was stored, [ErrStopped]
// that nothing is released any more.
func (db *DB) Sign(ctx context.Context, m Mark, d tezos.Digest, sign SignFunc) (Release, error) {
	if err := m.check(); err != nil {
		return Release{}, err
	}
	if err := ctx.Err(); err != nil {
		return Release{}, err
	}
	f, first, err := db.board(ctx, m, d, sign)
	if err != nil {
		return Release{}, err
	}
	if first {
		db.fly(f)
		return f.release, f.err
	}
	select {
	case <-f.landed:
		return f.release, f.err
	case <-ctx.Done():
		return Release{}, ctx.Err()
	}
}

// board finds the flight of the same bytes, or makes one: it waits behind another,
// or is the first, which the caller must fly.
func (db *DB) board(ctx context.Context, m Mark, d tezos.Digest, sign SignFunc) (f *flight, first bool, err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return nil, false, ErrStopped
	}
	l, busy := db.lines[m.slot()]
	if busy {
		if f := l.find(m, d); f != nil {
			return f, false, nil
		}
		if len(l.waiting) >= maxWaiting {
			return nil, false, ErrQueueFull
		}
	}
	f = &flight{mark: m, digest: d, sign: sign, ctx: context.WithoutCancel(ctx), landed: make(chan struct{})}
	if busy {
		l.waiting = append(l.waiting, f)
		return f, false, nil
	}
	db.lines[m.slot()] = &line{flying: f}
	db.flights.Add(1)
	return f, true, nil
}

func (l *line) find(m Mark, d tezos.Digest) *flight {
	for _, f := range append([]*flight{l.flying}, l.waiting...) {
		if f.mark == m && f.digest == d {
			return f
		}
	}
	return nil
}

// fly brings a flight to its end. It is out of the line before its callers know:
// whoever asks then meets the row, not the flight. The next one does not keep the
// caller of this one.
func (db *DB) fly(f *flight) {
	defer db.flights.Done()
	f.release, f.err = db.complete(f)
	if next := db.next(f.mark.slot()); next != nil {
		db.flights.Add(1)
		go db.fly(next)
	}
	close(f.landed)
}

// next frees the slot key, or gives it to the flight that waited longest.
func (db *DB) next(key slot) *flight {
	db.mu.Lock()
	defer db.mu.Unlock()
	l := db.lines[key]
	if len(l.waiting) == 0 {
		delete(db.lines, key)
		return nil
	}
	l.flying, l.waiting = l.waiting[0], l.waiting[1:]
	return l.flying
}

// complete looks, has the payload signed and commits. Whatever happened on the
// way, nothing leaves after a failure.
func (db *DB) complete(f *flight) (Release, error) {
	release, err := db.lookSignCommit(f)
	if db.Err() != nil {
		return Release{}, db.stopped()
	}
	return release, err
}

func (db *DB) lookSignCommit(f *flight) (_ Release, err error) {
	if db.Err() != nil {
		return Release{}, db.stopped()
	}
	defer db.recovered(&err)
	stored, err := db.memory.standing(f.mark).judge(f.mark, f.digest, db.opts.MaxLevelGap)
	if err != nil {
		return Release{}, err
	}
	if stored != nil {
		return Release{Signature: *stored, Stored: true}, nil
	}
	ctx, cancel := context.WithTimeout(f.ctx, flightTime)
	defer cancel()
	start := time.Now()
	fresh, err := f.sign(ctx)
	if err != nil {
		return Release{}, err
	}
	elapsed := time.Since(start)
	release, err := db.place(f.mark, f.digest, fresh)
	if err != nil || release.Stored {
		db.dropped.Add(1)
		return release, err
	}
	release.SignTime = elapsed
	return release, nil
}

// Dropped is how many signatures were made and verified and then lost, because
// the row had one of the same bytes, or the commit refused or failed.
func (db *DB) Dropped() uint64 { return db.dropped.Load() }
