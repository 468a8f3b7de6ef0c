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
	// Witness is the folder of the witness, see [WitnessFolder]; "" for none. A start without one fences
	// the keys as after a start of the host.
	Witness string
	// Command is set by who signs nothing. If nothing witnesses that the marks are the last ones, that is
	// then left to the next start to find out.
	Command bool
	// OnWitnessLost is called when the witness could not be written and was given up, where OnCommit is.
	// It may be nil.
	OnWitnessLost func(cause error)
}

// Store is an open ratchet file. It is safe for use by many goroutines.
type Store struct {
	path     string
	opts     Options
	lock     int // descriptor of the flock
	last     last
	witness  witness
	database file // as it was when it was opened
	wal      file
	found    Finding
	pool     *sql.DB
	conn     *sql.Conn                   // the only connection
	commit   func(context.Context) error // execCommit; tests make it fail

	beginStmt, commitStmt *sql.Stmt // on conn

	changing sync.Mutex // held by Change
	writer   writer
	idle     idle
	memory   memory
	trouble  trouble

	failed   chan struct{}
	failOnce sync.Once
	failure  error       // set before failed is closed
	ended    atomic.Bool // by Close
}

var _ ratchet.Store = (*Store)(nil)

// Open opens a ratchet file that [Create] made, for this process alone, and adds one to its generation.
// It refuses, without writing to it, an absent file ([ratchet.ErrMissing]), one in use
// ([ratchet.ErrLocked]), one that is damaged or incomplete (a [*VerdictError]), a foreign or newer one, a
// link, and a file on a network file system. If marks may be missing it fences the keys. Once ctx has ended, the error is that of ctx and says
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

// Finding returns what Open found out about the file, which is not Lost.
func (db *Store) Finding() Finding { return db.found }

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
	db.witness = witness{folder: opts.Witness, lost: opts.OnWitnessLost}
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
	left, wal, err := readLeft(ctx, db.path)
	if err != nil {
		return err
	}
	place, err := left.check(db.path, db.database, wal, func() error { return checkWhole(ctx, db.path, db.database) })
	if err != nil {
		return err
	}
	if db.wal, err = prepareWAL(db.path, db.database, wal); err != nil {
		return err
	}
	if err := db.connect(ctx); err != nil {
		return err
	}
	if err := db.takeOver(ctx, left, place); err != nil {
		return err
	}
	if err := db.openLast(); err != nil {
		return err
	}
	if err := db.inPlace(); err != nil {
		return err
	}
	if err := os.Remove(db.path + openingSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return db.load(ctx)
}

// load reads all rows, and writes the note of the last mark and the witness anew.
func (db *Store) load(ctx context.Context) error {
	all, mixed, err := readAll(ctx, db.conn, db.path)
	if err != nil {
		return err
	}
	if mixed.Verdict != InPlace {
		return verdict(Lost, mixed.Text)
	}
	db.memory.load(all)
	db.last.note.totals, db.last.note.boot = totalsOf(all), bootID()
	if err := db.writeLast(); err != nil {
		return err
	}
	if db.opts.Command && db.found.Verdict == Unwitnessed {
		return nil // what is written now would vouch for it
	}
	if err := db.witness.begin(db.database, all); err != nil {
		db.witness.lose(err)
	}
	return nil
}

func (db *Store) lockDatabase() (err error) {
	if db.database, err = lookupDatabase(db.path); err != nil {
		return err
	}
	db.lock, err = lockFile(db.path, db.database)
	return err
}

// takeOver prepares a file. It is checked and checkpointed, migrated to the present schema, judged, and
// marked as open, as the one that was last used, with all that follows from the verdict.
func (db *Store) takeOver(ctx context.Context, left provenance, place Finding) error {
	if err := quickCheck(ctx, db.conn, db.path); err != nil {
		return err
	}
	if err := db.checkpoint(ctx, "TRUNCATE"); err != nil {
		return err
	}
	if err := checkSchema(ctx, db.conn, db.path); err != nil {
		return err
	}
	if err := migrate(ctx, db.conn); err != nil {
		return fmt.Errorf("upgrading %s: %w", db.path, err)
	}
	f, err := db.judgeStart(ctx, left, place)
	if err != nil {
		return err
	}
	if err := db.record(ctx, false, f.write); err != nil {
		return err
	}
	if err := db.write(ctx, touch); err != nil { // the first write into an emptied -wal
		return err
	}
	db.found, db.last.note.mark = f.Finding, f.last
	db.database.size, db.wal.size = 0, 0 // from now on they only grow
	reserveWAL(db.path)
	return nil
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

// record writes the provenance row, with something else, and checkpoints both: the next opening must find
// in the database file alone which -wal belongs to it.
func (db *Store) record(ctx context.Context, clean bool, also func(ctx context.Context, tx *sql.Conn) error) error {
	const update = "UPDATE provenance SET clean = ?, database = ?, wal = ?"
	err := db.write(ctx, func(ctx context.Context, tx *sql.Conn) error {
		if _, err := tx.ExecContext(ctx, update, clean, db.database.String(), db.wal.String()); err != nil {
			return err
		}
		return also(ctx, tx)
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
