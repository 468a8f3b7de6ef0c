package sqlite

// Emptying the -wal while nobody asks.

import (
	"context"
	"database/sql"
	"time"
)

// When nothing was committed for idleAfter, and at least idleMarks marks since the last idle
// checkpoint, the -wal is copied into the database and started again. A level of six seconds leaves
// such a pause. SQLite does the same in the middle of a commit once the -wal has walPages pages.
const (
	idleAfter = 500 * time.Millisecond
	idleMarks = 16
)

// idle decides when to checkpoint. Only the leader of the writer touches it.
type idle struct {
	marks int         // since the last idle checkpoint
	timer *time.Timer // nil until there were idleMarks
}

// count adds the marks of a commit, and has checkpoint called when no more come for idleAfter. A timer
// that fires after Close finds the writer closed.
func (i *idle) count(marks int, checkpoint func()) {
	i.marks += marks
	switch {
	case i.marks < idleMarks:
	case i.timer == nil:
		i.timer = time.AfterFunc(idleAfter, checkpoint)
	default:
		i.timer.Reset(idleAfter)
	}
}

// idleCheckpoint empties the -wal, unless a commit is running. It does not shorten the file: it costs a
// disk less to overwrite blocks than to add some.
func (db *Store) idleCheckpoint() {
	if !db.writer.enterIdle() {
		return
	}
	defer db.writer.leave()
	if db.err() != nil {
		return
	}
	db.idle.marks = 0
	db.trouble.begin()
	err := db.checkpoint(context.Background(), "PASSIVE")
	if err != nil {
		err = db.settle(err)
	}
	db.trouble.end(err, false) // a checkpoint with nothing to copy writes nothing
	if err == nil {
		reserveWAL(db.path)
		_, _ = db.transact([]*job{newProbe()}) // an error is Trouble's, or the failure
	}
}

// touch writes to the file without changing a mark. The first write into an empty -wal syncs twice, once
// for the header of the -wal (sqlite3WalFrames), so that write should not be a mark.
func touch(ctx context.Context, tx *sql.Conn) error {
	const (
		row    = "UPDATE provenance SET generation = generation + 1"
		totals = "UPDATE totals SET generation = generation + 1"
	)
	_, err := tx.ExecContext(ctx, row)
	if err == nil {
		_, err = tx.ExecContext(ctx, totals)
	}
	return err
}
