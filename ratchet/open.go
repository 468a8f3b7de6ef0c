package ratchet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// DB is an open ratchet file. It is safe for use by many goroutines.
type DB struct {
	path     string
	opts     Options
	lock     int // descriptor of the flock
	last     last
	database file // as it was when it was opened
	wal      file
	pool     *sql.DB
	conn     *sql.Conn                   // the only connection
	commit   func(context.Context) error // execCommit; tests make it fail

	beginStmt, commitStmt *sql.Stmt // on conn

	writer  writer
	tired   tiredness
	memory  memory
	trouble trouble
	dropped atomic.Uint64

	failed   chan struct{}
	failOnce sync.Once
	failure  error // set before failed is closed

	mu      sync.Mutex
	closed  bool
	lines   map[slot]*line
	flights sync.WaitGroup
}

// Open opens a ratchet file that [Create] made, for this process alone, and
// counts one generation more. It refuses, without writing to it, an absent file
// ([ErrMissing]), one in use ([ErrLocked]), one that may have lost marks
// ([ErrSuspect]), a foreign or newer one, a link, a file on a network file
// system. Once ctx has ended its error is that of ctx and says nothing of the file.
// When it returns nil no other process can even read the file.
func Open(ctx context.Context, path string, opts Options) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if opts.MaxLevelGap == 0 {
		opts.MaxLevelGap = DefaultMaxLevelGap
	}
	if opts.MaxLevelGap < 0 {
		return nil, fmt.Errorf("max level gap %d: want a positive number of levels", opts.MaxLevelGap)
	}
	db := newDB(path, opts)
	if err := db.open(ctx); err != nil {
		_ = db.closeSQLite()
		_ = db.unlock()
		return nil, orEnded(ctx, path, err)
	}
	return db, nil
}

// orEnded is the error of a context that has ended instead of one that came of that: a
// file that was not read to its end is not thereby damaged, or another program's.
func orEnded(ctx context.Context, path string, err error) error {
	if ended := ctx.Err(); err != nil && ended != nil {
		return fmt.Errorf("%s was not read to its end: %w", path, ended)
	}
	return err
}

func newDB(path string, opts Options) *DB {
	db := &DB{
		path:   path,
		opts:   opts,
		lock:   -1,
		last:   last{fd: -1},
		failed: make(chan struct{}),
		lines:  make(map[slot]*line),
	}
	db.commit = db.execCommit
	return db
}

// open is a straight line: nothing is written before the file is known to be
// ours and as it was left, and no mark is read before a write has succeeded.
func (db *DB) open(ctx context.Context) error {
	if err := checkFilesystem(filepath.Dir(db.path)); err != nil {
		return err
	}
	var err error
	if db.database, err = lookupDatabase(db.path); err != nil {
		return err
	}
	if db.lock, err = lockFile(db.path, db.database); err != nil {
		return err
	}
	if err := checkHeader(ctx, db.lock, db.path); err != nil {
		return err
	}
	if err := freeWAL(db.path); err != nil { // of an opening that was killed
		return err
	}
	if err := db.checkLeft(ctx); err != nil {
		return err
	}
	if err := db.connect(ctx); err != nil {
		return err
	}
	if err := db.quickCheck(ctx); err != nil {
		return err
	}
	if err := db.checkpoint(ctx, "TRUNCATE"); err != nil {
		return err
	}
	if err := db.checkSchema(ctx); err != nil {
		return err
	}
	if err := db.record(ctx, false); err != nil {
		return err
	}
	if err := db.upgrade(ctx); err != nil {
		return err
	}
	if err := touch(ctx, db.conn); err != nil {
		return fmt.Errorf("writing to %s: %v", db.path, err)
	}
	said, err := db.openLast()
	if err != nil {
		return err
	}
	if err := db.inPlace(); err != nil {
		return err
	}
	if err := os.Remove(db.path + openingSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := db.load(ctx); err != nil {
		return err
	}
	return db.checkLast(said)
}

// checkLeft compares the file, its -wal and the row that says how they were left,
// and puts a -wal there when all is well.
func (db *DB) checkLeft(ctx context.Context) error {
	if there, err := exists(db.path + journalSuffix); err != nil {
		return err
	} else if there {
		return fmt.Errorf("%w: %s%s lies there, which no ratchet writes: %s", ErrSuspect, db.path, journalSuffix, wayOut)
	}
	wal, err := lookupWAL(db.path)
	if err != nil {
		return err
	}
	left, err := readProvenance(ctx, db.path)
	if err != nil {
		return err
	}
	if err := left.check(db.path, db.database, wal); err != nil {
		return err
	}
	db.wal, err = prepareWAL(db.path, wal)
	return err
}

func (db *DB) quickCheck(ctx context.Context) error {
	var result string
	if err := db.conn.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return fmt.Errorf("checking %s: %v", db.path, err)
	}
	if result != "ok" {
		return fmt.Errorf("%w: %s is damaged (%s): %s", ErrSuspect, db.path, result, wayOut)
	}
	return nil
}

// checkpoint copies the -wal into the database file, both synced, so that it is begun
// anew; TRUNCATE makes it empty, PASSIVE leaves its length.
func (db *DB) checkpoint(ctx context.Context, mode string) error {
	var busy, frames, copied int
	row := db.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")")
	if err := row.Scan(&busy, &frames, &copied); err != nil {
		return fmt.Errorf("checkpoint of %s: %w", db.path, err)
	}
	if busy != 0 {
		return fmt.Errorf("checkpoint of %s: another connection is busy", db.path)
	}
	return nil
}

// record writes the provenance row, commits and checkpoints it: the database file
// alone must tell the next opening which -wal belongs to it.
func (db *DB) record(ctx context.Context, clean bool) error {
	const update = "UPDATE provenance SET clean = ?, database = ?, wal = ?"
	tx, err := db.conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("writing to %s: %v", db.path, err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, update, clean, db.database.String(), db.wal.String()); err != nil {
		return fmt.Errorf("writing to %s: %v", db.path, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("writing to %s: %v", db.path, err)
	}
	return db.checkpoint(ctx, "TRUNCATE")
}

// inPlace says whether the names of the database and its -wal still mean the
// files that were opened, and nothing else does: a commit into a file that was
// unlinked or replaced would be gone at the next start.
func (db *DB) inPlace() error {
	if err := samePlace(db.path, db.database); err != nil {
		return err
	}
	return samePlace(db.path+walSuffix, db.wal)
}

func samePlace(path string, opened file) error {
	now, err := lookup(path)
	if err != nil {
		return fmt.Errorf("%s was moved away while it was open: %v", path, err)
	}
	if now.device != opened.device || !now.is(opened.identity) {
		return fmt.Errorf("%s was replaced by another file while it was open", path)
	}
	if now.links != 1 {
		return fmt.Errorf("%s was given %d names while it was open", path, now.links)
	}
	return nil
}
