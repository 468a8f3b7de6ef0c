package ratchet

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// maxBatch bounds one transaction, and with it the time that its first member
// waits for its last: 256 upserts take a few milliseconds.
const maxBatch = 256

// job is work on the database: its statements, run by the only writer, and its
// answer, which is sent after COMMIT and never before.
type job struct {
	run    func(ctx context.Context, tx *sql.Tx) error // may be run twice
	stores bool                                        // a mark; set by run
	done   chan error                                  // has room for the answer
}

// do has statements run and committed, alone or in the company of others, and
// returns nil when they are durable. run must set its results anew in each call.
// Once begun the outcome does not depend on ctx.
func (db *DB) do(ctx context.Context, run func(ctx context.Context, tx *sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.submit(ctx, &job{run: run, done: make(chan error, 1)})
}

func (db *DB) submit(ctx context.Context, j *job) error {
	select {
	case db.jobs <- j:
		return <-j.done
	case <-ctx.Done():
		return ctx.Err()
	case <-db.failed:
		return db.stopped()
	case <-db.quit:
		return ErrStopped
	}
}

// write is the only writer: it takes all jobs that wait into one transaction.
func (db *DB) write() {
	for {
		select {
		case j := <-db.jobs:
			db.settle(db.gather(j))
		case <-db.failed:
			return
		case <-db.quit:
			return
		}
	}
}

func (db *DB) gather(first *job) []*job {
	batch := []*job{first}
	for len(batch) < maxBatch {
		select {
		case j := <-db.jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
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
	db.trouble.begin()
	defer func() { db.trouble.end(err, marksIn(batch) > 0) }()
	ctx := context.Background()
	start := time.Now()
	tx, err := db.conn.BeginTx(ctx, nil)
	if err != nil {
		return false, db.verdict(err)
	}
	for _, j := range batch {
		if err := j.run(ctx, tx); err != nil {
			_ = tx.Rollback() // verdict, or the next BEGIN, finds out
			if len(batch) > 1 {
				return true, nil
			}
			return false, db.verdict(err)
		}
	}
	if err := db.commitTx(tx); err != nil {
		return false, db.verdict(err)
	}
	if err := db.inPlace(); err != nil {
		return false, db.fail(err)
	}
	db.report(time.Since(start), batch)
	return false, nil
}

func (db *DB) report(elapsed time.Duration, batch []*job) {
	if marks := marksIn(batch); marks > 0 && db.opts.OnCommit != nil {
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
