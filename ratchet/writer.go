package ratchet

import (
	"context"
	"database/sql"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// maxBatch bounds one transaction, and with it the time that its first member
// waits for its last: 256 upserts take a few milliseconds.
const maxBatch = 256

// job is work on the database: its statements, run in some transaction, and its
// answer, which is sent after COMMIT and never before.
type job struct {
	run    func(ctx context.Context, tx *sql.Conn) error // inside a transaction; may be run twice
	stores bool                                          // a mark; set by run
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
// returns nil when they are durable. run must set its results anew in each call; they
// are good only without an error. A caller that leaves changes nothing.
func (db *DB) do(ctx context.Context, run func(ctx context.Context, tx *sql.Conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := newJob()
	j.run = run
	answer := make(chan error, 1)
	go func() { answer <- db.submit(j) }()
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

// settle answers each job of a batch once. When a statement failed the batch is
// rolled back and its members are committed singly.
func (db *DB) settle(batch []*job) {
	single, err := db.transact(batch)
	if single {
		for _, j := range batch {
			db.settle([]*job{j})
		}
		return
	}
	for _, j := range batch {
		j.done <- err
	}
}

// transact runs a batch in one transaction. It returns nil only after COMMIT has
// returned nil and both files were found in their place. The transaction has a
// context of its own: the driver would interrupt it when a caller leaves.
func (db *DB) transact(batch []*job) (single bool, err error) {
	if db.Err() != nil {
		return false, db.stopped()
	}
	defer db.recovered(&err)
	db.trouble.begin()
	defer func() { db.trouble.end(err, marksIn(batch) > 0) }()
	ctx := context.Background()
	start := time.Now()
	if err := db.begin(ctx); err != nil {
		return false, db.verdict(err)
	}
	for _, j := range batch {
		if err := j.run(ctx, db.conn); err != nil {
			db.rollback(ctx)
			if len(batch) > 1 {
				return true, nil
			}
			return false, db.verdict(err)
		}
	}
	if err := db.commit(ctx); err != nil {
		return false, db.verdict(err)
	}
	if err := db.inPlace(); err != nil {
		return false, db.fail(err)
	}
	db.report(time.Since(start), marksIn(batch))
	db.tire(marksIn(batch))
	return false, nil
}

// begin, execCommit and rollback are a transaction. database/sql's own would start a
// goroutine for each.
func (db *DB) begin(ctx context.Context) error {
	_, err := db.beginStmt.ExecContext(ctx)
	return err
}

func (db *DB) execCommit(ctx context.Context) error {
	_, err := db.commitStmt.ExecContext(ctx)
	if err != nil {
		db.rollback(ctx)
	}
	return err
}

// rollback ends a transaction that may be open still. Whether it did, verdict finds
// out.
func (db *DB) rollback(ctx context.Context) { _ = db.exec(ctx, "ROLLBACK") }

func (db *DB) exec(ctx context.Context, statement string) error {
	_, err := db.conn.ExecContext(ctx, statement)
	return err
}

func (db *DB) report(elapsed time.Duration, marks int) {
	if marks > 0 && db.opts.OnCommit != nil {
		db.opts.OnCommit(elapsed, marks)
	}
}

// marksIn counts the jobs of a batch that stored a mark.
func marksIn(batch []*job) (marks int) {
	for _, j := range batch {
		if j.stores {
			marks++
		}
	}
	return marks
}

// recovered makes a panic an unknown outcome. Those who sign may be handlers of a
// server that would catch it and go on.
func (db *DB) recovered(err *error) {
	if value := recover(); value != nil {
		*err = db.fail(fmt.Errorf("panic: %v\n%s", value, debug.Stack()))
	}
}

// verdict tells the two bad outcomes of a transaction apart: a definite no, after
// which pawl goes on, and any other, after which nothing is released any more:
// after an I/O error this process may read back the old mark and the next
// process the new one.
func (db *DB) verdict(err error) error {
	if definite(err) && db.rolledBack() {
		return fmt.Errorf("%w, nothing was stored: %v", ErrCommit, err)
	}
	return db.fail(err)
}

// fail ends all releases, for every key. The first cause counts.
func (db *DB) fail(cause error) error {
	db.failOnce.Do(func() {
		db.failure = cause
		close(db.failed)
	})
	return db.stopped()
}

func (db *DB) stopped() error { return fmt.Errorf("%w: %v", ErrStopped, db.failure) }

// Failed is closed when nothing more may be released: the process must exit.
func (db *DB) Failed() <-chan struct{} { return db.failed }

// Err says why [DB.Failed] was closed, and nil before that.
func (db *DB) Err() error {
	select {
	case <-db.failed:
		return db.failure
	default:
		return nil
	}
}
