package sqlite

// Group commit: jobs that arrive together share a transaction.

import (
	"context"
	"database/sql"
	"sync"

	"pawl/ratchet"
)

// maxBatch bounds one transaction, and so the time that its first job waits for its last: 256 upserts
// take a few milliseconds.
const maxBatch = 256

// job is statements to run in some transaction, and their answer, which is sent after COMMIT and
// never before.
type job struct {
	run     func(ctx context.Context, tx *sql.Conn) error // inside a transaction; may be run twice
	stored  *ratchet.Mark                                 // set by run; nil when none was
	change  change                                        // of the totals; run adds to it
	changed *ratchet.Changes                              // set by run; nil for none
	probe   bool                                          // run always writes, though no mark
	lead    chan struct{}                                 // closed when the job's owner must lead the next batch
	done    chan error                                    // has room for the answer
}

func newJob() *job { return &job{lead: make(chan struct{}), done: make(chan error, 1)} }

// writer implements group commit: the leader runs all waiting jobs in one transaction. A job that finds
// no leader leads itself, so a single request stays on its goroutine.
type writer struct {
	mu      sync.Mutex
	closed  bool
	busy    bool   // there is a leader
	waiting []*job // the first leads next
	idle    sync.WaitGroup
}

// do runs statements in a transaction, which may be shared with others, and returns nil when they
// are durable. run may be called twice: it must set its results anew. Once begun the outcome does
// not depend on ctx.
func (db *Store) do(ctx context.Context, run func(ctx context.Context, tx *sql.Conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := newJob()
	j.run = run
	return db.commitFresh(j)
}

// commitFresh commits a job, alone or with others, on this goroutine or on that of the leader.
func (db *Store) commitFresh(j *job) error {
	lead, err := db.writer.enter(j)
	if err != nil {
		return err
	}
	if !lead {
		select {
		case err := <-j.done:
			return err
		case <-j.lead:
		}
	}
	db.commitBatch(db.writer.batch())
	db.writer.leave()
	return <-j.done
}

// enter puts a job in the queue, and reports whether its owner must lead.
func (w *writer) enter(j *job) (lead bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false, ratchet.ErrStopped
	}
	w.waiting = append(w.waiting, j)
	return w.leadLocked(), nil
}

// leadLocked takes the lead if nobody has it.
func (w *writer) leadLocked() bool {
	if w.busy {
		return false
	}
	w.busy = true
	w.idle.Add(1)
	return true
}

// enterIdle takes the lead without a job, if nobody has it.
func (w *writer) enterIdle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.closed && w.leadLocked()
}

// batch takes the waiting jobs, the leader's first.
func (w *writer) batch() []*job {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.waiting), maxBatch)
	batch := w.waiting[:n:n]
	w.waiting = w.waiting[n:]
	return batch
}

// leave makes the owner of the job that waited longest the next leader.
func (w *writer) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) > 0 {
		close(w.waiting[0].lead)
		return
	}
	w.busy, w.waiting = false, nil
	w.idle.Done()
}

// close refuses further jobs and waits until all others are answered.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.idle.Wait()
}
