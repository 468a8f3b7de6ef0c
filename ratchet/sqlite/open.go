package sqlite

// Opening: a straight line from a path to a store that may sign.

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"pawl/ratchet"
)

// Options configure [Open]. The zero value holds the defaults.
type Options struct {
	// OnCommit is called after each COMMIT that returned nil and stored at least one mark, with the
	// time of the transaction and the number of marks in it. It runs where the transaction did,
	// often on the goroutine of a request, and the next transaction waits for it. It may be nil.
	OnCommit func(elapsed time.Duration, marks int)
}

// Store is an open ratchet file. It is safe for use by many goroutines.
type Store struct {
	path     string
	opts     Options
	lock     int // descriptor of the flock
	last     last
	database file // as it was when it was opened
	wal      file
	verdict  Verdict
	pool     *sql.DB
	conn     *sql.Conn                   // the only connection
	commit   func(context.Context) error // execCommit; tests make it fail

	beginStmt, commitStmt *sql.Stmt // on conn

	writer  writer
	idle    idle
	memory  memory
	trouble trouble

	failed   chan struct{}
	failOnce sync.Once
	failure  error       // set before failed is closed
	ended    atomic.Bool // by Close
}

var _ ratchet.Store = (*Store)(nil)

// Open opens a ratchet file that [Create] made, for this process alone, and adds one to its generation.
// It refuses, without writing to it, an absent file ([ratchet.ErrMissing]), one in use
// ([ratchet.ErrLocked]), one that may have lost marks (a [*VerdictError]), a foreign or newer one, a
// link, and a file on a network file system. Once ctx has ended, the error is that of ctx and says
// nothing about the file. While the store is open no other process can read the file.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	db := newStore(path, opts)
	if err := db.open(ctx); err != nil {
		_ = db.closeSQLite()
		_ = db.unlock()
		return nil, orEnded(ctx, path, err)
	}
	db.watchTrouble()
	return db, nil
}

// Verdict returns what Open found out about the file: InPlace or Unwitnessed.
func (db *Store) Verdict() Verdict { return db.verdict }

// orEnded returns the error of ctx if it has ended, else err: a file that was not read to its end is not
// damaged, or foreign, because of that.
func orEnded(ctx context.Context, path string, err error) error {
	if ended := ctx.Err(); err != nil && ended != nil {
		return fmt.Errorf("%s was not read to its end: %w", path, ended)
	}
	return err
}

func newStore(path string, opts Options) *Store {
	db := &Store{path: path, opts: opts, lock: -1, last: last{fd: -1}, failed: make(chan struct{})}
	db.commit = db.execCommit
	return db
}

// open writes nothing before the file is known to be ours and as it was left, and reads no mark before a
// write has succeeded.
func (db *Store) open(ctx context.Context) error {
	if err := checkFilesystem(filepath.Dir(db.path)); err != nil {
		return err
	}
	if err := db.lockDatabase(); err != nil {
		return err
	}
	if err := checkMount(db.lock, db.path, db.database); err != nil {
		return err
	}
	if err := checkHeader(ctx, db.lock, db.path); err != nil {
		return err
	}
	if err := freeWAL(db.path); err != nil { // of an opening that was killed
		return err
	}
	wal, err := checkLeft(ctx, db.path, db.database)
	if err != nil {
		return err
	}
	if db.wal, err = prepareWAL(db.path, db.database, wal); err != nil {
		return err
	}
	if err := db.connect(ctx); err != nil {
		return err
	}
	if err := db.takeOver(ctx); err != nil {
		return err
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
	return db.load(ctx, said)
}

// load reads all rows, checks them against their totals and the note of the last mark, and writes the
// note anew.
func (db *Store) load(ctx context.Context, said *note) error {
	all, found, err := readAll(ctx, db.conn, db.path)
	if err != nil {
		return err
	}
	if db.verdict, err = checkLast(db.path, said, all); err != nil {
		return err
	}
	db.memory.load(all)
	db.last.note = note{totals: found, boot: bootID()}
	if said != nil {
		db.last.note.mark = said.mark
	}
	return db.writeLast()
}

func (db *Store) lockDatabase() (err error) {
	if db.database, err = lookupDatabase(db.path); err != nil {
		return err
	}
	db.lock, err = lockFile(db.path, db.database)
	return err
}

// takeOver prepares a file that is as it was left. It is checked and checkpointed, marked as open,
// migrated to the present schema, and written to once.
func (db *Store) takeOver(ctx context.Context) error {
	if err := quickCheck(ctx, db.conn, db.path); err != nil {
		return err
	}
	if err := db.checkpoint(ctx, "TRUNCATE"); err != nil {
		return err
	}
	if err := checkSchema(ctx, db.conn, db.path); err != nil {
		return err
	}
	if err := db.record(ctx, false); err != nil {
		return err
	}
	if err := migrate(ctx, db.conn); err != nil {
		return fmt.Errorf("upgrading %s: %w", db.path, err)
	}
	if err := db.write(ctx, touch); err != nil {
		return err
	}
	db.database.size, db.wal.size = 0, 0 // from now on they only grow
	reserveWAL(db.path)
	return nil
}

// checkLeft compares the file, its -wal and the row that says how they were left, and returns the
// -wal, nil if there is none.
func checkLeft(ctx context.Context, path string, database file) (wal *file, err error) {
	left, wal, err := readLeft(ctx, path)
	if err != nil {
		return nil, err
	}
	return wal, left.check(path, database, wal, func() error { return checkWhole(ctx, path, database) })
}

// readLeft returns how the file was left, and its -wal, nil if there is none.
func readLeft(ctx context.Context, path string) (left provenance, wal *file, err error) {
	if there, err := exists(path + journalSuffix); err != nil {
		return left, nil, err
	} else if there { // no ratchet writes one
		return left, nil, verdict(Moved, fmt.Sprintf("%s: unexpected -journal file", path))
	}
	if wal, err = lookupWAL(path); err != nil {
		return left, nil, err
	}
	left, err = readProvenance(ctx, path)
	return left, wal, err
}

func quickCheck(ctx context.Context, conn *sql.Conn, path string) error {
	var result string
	if err := conn.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return fmt.Errorf("checking %s: %v", path, err)
	}
	if result != "ok" {
		return verdict(Lost, fmt.Sprintf("%s is damaged (%s)", path, result))
	}
	return nil
}

// checkSchema refuses a newer file that says so in its -wal and not in its header yet.
func checkSchema(ctx context.Context, conn *sql.Conn, path string) error {
	var version uint32
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("reading %s: %v", path, err)
	}
	return newerFile(path, version)
}

// checkpoint runs checkpoint on the store's connection. Its error names the file.
func (db *Store) checkpoint(ctx context.Context, mode string) error {
	if err := checkpoint(ctx, db.conn, mode); err != nil {
		return fmt.Errorf("%s: %w", db.path, err)
	}
	return nil
}

// checkpoint copies the -wal into the database file and syncs both, so that SQLite starts the -wal again.
// TRUNCATE makes the -wal empty, PASSIVE leaves its length.
func checkpoint(ctx context.Context, conn *sql.Conn, mode string) error {
	var busy, frames, copied int
	row := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")")
	if err := row.Scan(&busy, &frames, &copied); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if busy != 0 {
		return errors.New("checkpoint: another connection is busy")
	}
	return nil
}

// record writes the provenance row and checkpoints it: the next opening must find in the database file
// alone which -wal belongs to it.
func (db *Store) record(ctx context.Context, clean bool) error {
	const update = "UPDATE provenance SET clean = ?, database = ?, wal = ?"
	err := db.write(ctx, func(ctx context.Context, tx *sql.Conn) error {
		_, err := tx.ExecContext(ctx, update, clean, db.database.String(), db.wal.String())
		if err == nil && clean { // before, the file may be of an older schema
			err = touch(ctx, tx)
		}
		return err
	})
	if err != nil {
		return err
	}
	return db.checkpoint(ctx, "TRUNCATE")
}

// write runs statements in one transaction while nobody else uses the connection. Its error names the file.
func (db *Store) write(ctx context.Context, run func(ctx context.Context, tx *sql.Conn) error) error {
	err := db.exec(ctx, "BEGIN IMMEDIATE")
	if err == nil {
		err = run(ctx, db.conn)
	}
	if err == nil {
		err = db.exec(ctx, "COMMIT")
	}
	if err != nil {
		db.rollback(ctx)
		return fmt.Errorf("writing to %s: %v", db.path, err)
	}
	return nil
}
