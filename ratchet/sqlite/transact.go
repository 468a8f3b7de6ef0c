package sqlite

// The transaction that every commit goes through.

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"pawl/ratchet"
)

// commitBatch commits jobs in one transaction and answers each of them once. If a statement fails, the
// batch is rolled back and its jobs are committed one by one.
func (db *Store) commitBatch(batch []*job) {
	single, err := db.transact(batch)
	if single {
		for _, j := range batch {
			db.commitBatch([]*job{j})
		}
		return
	}
	for _, j := range batch {
		j.done <- err
	}
}

// transact runs a batch in one transaction. It returns nil only after COMMIT has returned nil, both files
// were found in place, no shorter than before, and the last mark was noted. With single the batch was
// rolled back because a statement failed. The transaction has its own context: with a caller's, the
// driver would interrupt it when the caller leaves.
func (db *Store) transact(batch []*job) (single bool, err error) {
	if db.err() != nil {
		return false, db.stopped()
	}
	db.trouble.begin()
	defer func() { db.trouble.end(err, !single && wroteIn(batch)) }()
	defer db.recovered(&err)
	ctx := context.Background()
	start := time.Now()
	if err := db.begin(ctx); err != nil {
		return false, db.settle(err)
	}
	if err := db.runAll(ctx, batch); err != nil {
		db.rollback(ctx)
		if len(batch) > 1 {
			return true, nil
		}
		return false, db.settle(err)
	}
	if err := db.notCutShort(); err != nil {
		db.rollback(ctx)
		return false, db.fail(err)
	}
	if err := db.commit(ctx); err != nil {
		return false, db.settle(err)
	}
	if err := db.inPlace(); err != nil {
		return false, db.fail(err)
	}
	if err := db.noteBatch(batch); err != nil {
		return false, db.fail(err)
	}
	db.witness.note(batch)
	db.report(time.Since(start), marksIn(batch))
	db.idle.count(marksIn(batch), db.idleCheckpoint)
	return false, nil
}

// runAll runs the statements of a batch, the totals of the rows at its end.
func (db *Store) runAll(ctx context.Context, batch []*job) error {
	for _, j := range batch {
		j.change = change{}
		if err := j.run(ctx, db.conn); err != nil {
			return err
		}
	}
	return changeOf(batch).write(ctx, db.conn)
}

// begin, execCommit and rollback are a transaction. database/sql would start a goroutine for each of its
// own.
func (db *Store) begin(ctx context.Context) error {
	_, err := db.beginStmt.ExecContext(ctx)
	return err
}

func (db *Store) execCommit(ctx context.Context) error {
	_, err := db.commitStmt.ExecContext(ctx)
	if err != nil {
		db.rollback(ctx)
	}
	return err
}

// rollback ends a transaction that may still be open. settle checks whether it did.
func (db *Store) rollback(ctx context.Context) { _ = db.exec(ctx, "ROLLBACK") }

func (db *Store) exec(ctx context.Context, statement string) error {
	_, err := db.conn.ExecContext(ctx, statement)
	return err
}

func (db *Store) report(elapsed time.Duration, marks int) {
	if marks > 0 && db.opts.OnCommit != nil {
		db.opts.OnCommit(elapsed, marks)
	}
}

// marksIn counts the jobs of a batch that stored a mark.
func marksIn(batch []*job) (marks int) {
	for _, j := range batch {
		if j.stored != nil {
			marks++
		}
	}
	return marks
}

// wroteIn reports whether a batch has written: its success shows that the disk takes writes.
func wroteIn(batch []*job) bool {
	return slices.ContainsFunc(batch, func(j *job) bool { return j.stored != nil || j.probe })
}

// recovered turns a panic into an unknown outcome. The caller may be the handler of a server, which would
// recover from the panic and go on.
func (db *Store) recovered(err *error) {
	if value := recover(); value != nil {
		*err = db.fail(fmt.Errorf("panic: %v\n%s", value, debug.Stack()))
	}
}

// settle tells the two bad outcomes of a transaction apart: a definite no, after which pawl goes on, and
// any other error, after which nothing is released any more. After an I/O error this process may read
// back the old mark, and the next process the new one.
func (db *Store) settle(err error) error {
	if definite(err) && db.rolledBack() {
		return fmt.Errorf("%w, nothing was stored: %v", ratchet.ErrCommit, err)
	}
	return db.fail(err)
}

// fail ends all releases, for every key. The first cause counts.
func (db *Store) fail(cause error) error {
	db.failOnce.Do(func() {
		db.failure = fmt.Errorf("%w: %w", ratchet.ErrUnknown, cause)
		close(db.failed)
	})
	return db.stopped()
}

func (db *Store) stopped() error { return fmt.Errorf("%w: %w", ratchet.ErrStopped, db.failure) }

// Failed is closed when nothing more may be released: the process must exit.
func (db *Store) Failed() <-chan struct{} { return db.failed }

// err returns the reason why [Store.Failed] was closed, or nil.
func (db *Store) err() error {
	select {
	case <-db.failed:
		return db.failure
	default:
		return nil
	}
}
