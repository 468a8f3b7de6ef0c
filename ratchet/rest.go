package ratchet

import (
	"context"
	"database/sql"
	"time"
)

// When nothing was committed for restAfter, and restMarks or more marks since the last
// rest, the -wal is copied into the database and begun anew. A level of six seconds
// leaves such a rest; SQLite does the same in the middle of a commit for those who
// fill walPages pages without one.
const (
	restAfter = 500 * time.Millisecond
	restMarks = 16
)

// tiredness is when to rest. Only who leads touches it.
type tiredness struct {
	marks int         // since the last rest
	timer *time.Timer // nil until there were enough
}

// tire notes a commit and the marks in it, and has the ratchet rest when no more come.
// A timer that fires after Close finds the writer closed.
func (db *DB) tire(marks int) {
	t := &db.tired
	t.marks += marks
	switch {
	case t.marks < restMarks:
	case t.timer == nil:
		t.timer = time.AfterFunc(restAfter, db.rest)
	default:
		t.timer.Reset(restAfter)
	}
}

// rest empties the -wal, unless somebody writes. It does not shorten the file: to write
// over blocks that are there costs a disk less than to add some.
func (db *DB) rest() {
	if !db.writer.enterIdle() {
		return
	}
	defer db.writer.leave()
	if db.Err() != nil {
		return
	}
	db.tired.marks = 0
	db.trouble.begin()
	err := db.checkpoint(context.Background(), "PASSIVE")
	if err != nil {
		err = db.verdict(err)
	}
	db.trouble.end(err, true)
	if err == nil {
		_, _ = db.transact([]*job{{run: touch}}) // an error is Trouble's, or the failure
	}
}

// touch writes what changes no mark. The first write into an empty -wal syncs twice,
// for its head and for itself (sqlite3WalFrames): it shall not be a mark.
func touch(ctx context.Context, tx *sql.Conn) error {
	_, err := tx.ExecContext(ctx, "UPDATE provenance SET generation = generation + 1")
	return err
}
