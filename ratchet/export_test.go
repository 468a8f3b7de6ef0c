package ratchet

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"pawl/tezos"
)

// What the tests of this package reach from outside.
var (
	DataSource          = dataSource
	CheckVersion        = checkVersion
	CheckFilesystemType = checkFilesystemType
)

const MaxWaiting = maxWaiting

// Place commits a signature without the look that comes before it in Sign: only
// the transaction decides.
func (db *DB) Place(m Mark, d tezos.Digest, fresh tezos.Signature) (Release, error) {
	return db.place(m, d, fresh)
}

// SetCommit replaces COMMIT; commit and rollback are what it may do. The nil function
// takes the replacement back. It waits until nobody writes, be it a rest.
func (db *DB) SetCommit(replacement func(commit, rollback func() error) error) {
	for !db.writer.enterIdle() {
		time.Sleep(time.Millisecond)
	}
	defer db.writer.leave()
	if replacement == nil {
		db.commit = db.execCommit
		return
	}
	db.commit = func(ctx context.Context) error {
		return replacement(func() error { return db.execCommit(ctx) }, func() error { return db.exec(ctx, "ROLLBACK") })
	}
}

// SealOf is the seal of a mark's row.
func SealOf(m Mark, d tezos.Digest, signature *tezos.Signature) []byte {
	return slotRow{m.slot(), row{m.Level, m.Round, d, signature}}.seal()
}

// Exec has the writer run statements in a transaction of their own.
func (db *DB) Exec(query string, args ...any) error {
	return db.do(context.Background(), func(ctx context.Context, tx *sql.Conn) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

// QueryString reads one value.
func (db *DB) QueryString(query string, args ...any) (value string, err error) {
	err = db.do(context.Background(), func(ctx context.Context, tx *sql.Conn) error {
		return tx.QueryRowContext(ctx, query, args...).Scan(&value)
	})
	return value, err
}

// Proposed is one member of a batch.
type Proposed struct {
	Mark      Mark
	Digest    tezos.Digest
	Signature tezos.Signature
}

// PlaceTogether commits marks as one batch, on the goroutine of the test; the
// writer must have nothing to do.
func (db *DB) PlaceTogether(members ...Proposed) ([]Release, []error) {
	jobs := make([]*job, len(members))
	got := make([]outcome, len(members))
	for i, m := range members {
		p := db.proposal(m.Mark, m.Digest, m.Signature)
		jobs[i] = p.job(&got[i])
	}
	db.settle(jobs)
	releases, errs := make([]Release, len(members)), make([]error, len(members))
	for i, j := range jobs {
		if errs[i] = <-j.done; errs[i] == nil {
			releases[i], errs[i] = got[i].release, got[i].refused
		}
	}
	return releases, errs
}

// Abandon ends a ratchet as a kill would: the row is not marked clean and the
// -wal stays. It may follow a failure.
func (db *DB) Abandon() error {
	db.mu.Lock()
	again := db.closed
	db.closed = true
	db.mu.Unlock()
	if !again {
		db.flights.Wait()
		db.writer.close()
	}
	return errors.Join(db.closeSQLite(), db.unlock())
}

// Rest empties the -wal now.
func (db *DB) Rest() { db.rest() }

// RestMarks is how many marks make a ratchet rest.
const RestMarks = restMarks

// Lines is how many slot keys have a flight.
func (db *DB) Lines() int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return len(db.lines)
}

// Board is the first half of Sign; wait is the second, for a caller who stays.
func (db *DB) Board(ctx context.Context, m Mark, d tezos.Digest, sign SignFunc) (wait func() (Release, error), err error) {
	f, first, err := db.board(ctx, m, d, sign)
	if err != nil {
		return nil, err
	}
	if first {
		go db.fly(f)
	}
	return func() (Release, error) {
		<-f.landed
		return f.release, f.err
	}, nil
}

// Path is the file's absolute path.
func (db *DB) Path() string { return db.path }

// SQLiteSettings names the settings that Open reads back.
func SQLiteSettings() []string {
	var pragmas []string
	for _, s := range settings {
		pragmas = append(pragmas, s.pragma)
	}
	return pragmas
}

// CheckSettings reads them back.
func (db *DB) CheckSettings(ctx context.Context) error { return db.checkSettings(ctx) }

// ExecOutside runs a statement outside any transaction; the writer must have
// nothing to do.
func (db *DB) ExecOutside(ctx context.Context, query string) error {
	_, err := db.conn.ExecContext(ctx, query)
	return err
}

// OpenAndFail opens a file up to the reading of its marks, and then fails.
func OpenAndFail(ctx context.Context, path string) error {
	db := newDB(path, Options{})
	if err := db.open(ctx); err != nil {
		return err
	}
	return errors.Join(errors.New("failing as asked"), db.closeSQLite(), db.unlock())
}

// LockDescriptor is that of the flock.
func (db *DB) LockDescriptor() int { return db.lock }

// SpoilLast has the next note of the last mark fail.
func (db *DB) SpoilLast() {
	_ = unix.Close(db.last.fd)
	db.last.fd = -1
}

// Fail ends all releases.
func (db *DB) Fail(cause error) { _ = db.fail(cause) }
