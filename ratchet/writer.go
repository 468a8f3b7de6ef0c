package ratchet

import (
	"context"
	"database/sql"
	"sync"
)

// maxBatch bounds one transaction, and with it the time that its first member
// waits for its last: 256 upserts take a few milliseconds.
const maxBatch = 256

// job is work on the database: its statements, run in some transaction, and its
// answer, which is sent after COMMIT and never before.
type job struct {
	run    func(ctx context.Context, tx *sql.Conn) error // inside a transaction; may be run twice
	stored *Mark                                         // set by run; nil when none was
	lead   chan struct{}                                 // closed when the job shall lead the next batch
	done   chan error                                    // has room for the answer
}

func newJob() *job { return &job{lead: make(chan struct{}), done: make(chan error, 1)} }

// writer is who may write: of those who have a job one leads, and takes all jobs that
// wait into its transaction. With one request in flight nothing changes goroutine.
type writer struct {
	mu      sync.Mutex
	closed  bool
	busy    bool   // somebody leads
	waiting []*job // the first leads next
	idle    sync.WaitGroup
}

// do has statements run and committed, alone or in the company of others, and
// returns nil when they are durable. run must set its results anew in each call.
// Once begun the outcome does not depend on ctx.
func (db *DB) do(ctx context.Context, run func(ctx context.Context, tx *sql.Conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := newJob()
	j.run = run
	return db.submit(j)
}

// ask is do for who wants no more than an answer, and may leave before it comes: what
// run has set is good only without an error.
func (db *DB) ask(ctx context.Context, run func(ctx context.Context, tx *sql.Conn) error) error {
	answer := make(chan error, 1)
	go func() { answer <- db.do(ctx, run) }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// submit waits for a job to be committed, and commits it when it is its turn.
func (db *DB) submit(j *job) error {
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
	db.settle(db.writer.batch())
	db.writer.leave()
	return <-j.done
}

// enter puts a job in the queue, and says whether it leads.
func (w *writer) enter(j *job) (lead bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false, ErrStopped
	}
	w.waiting = append(w.waiting, j)
	return w.leadLocked(), nil
}

// leadLocked gives the lead to who asks, if nobody has it.
func (w *writer) leadLocked() bool {
	if w.busy {
		return false
	}
	w.busy = true
	w.idle.Add(1)
	return true
}

// enterIdle takes the lead for somebody who has no job, if nobody has it.
func (w *writer) enterIdle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.closed && w.leadLocked()
}

// batch takes what waits, that of the leader first.
func (w *writer) batch() []*job {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.waiting), maxBatch)
	batch := w.waiting[:n:n]
	w.waiting = w.waiting[n:]
	return batch
}

// leave makes the one that waited longest the next leader.
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

// close lets no more in and waits until all who are in are answered.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.idle.Wait()
}
