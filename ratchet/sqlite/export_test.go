package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"pawl/ratchet"
	"pawl/tezos"

	"golang.org/x/sys/unix"
)

// What the tests reach of the package.
var (
	DataSource          = dataSource
	CheckVersion        = checkVersion
	CheckFilesystemType = checkFilesystemType
)

// SetCommit replaces COMMIT by a function that may call commit or rollback; nil undoes that. It waits until
// no transaction and no idle checkpoint is running.
func (db *Store) SetCommit(replacement func(commit, rollback func() error) error) {
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

// SealOf returns the seal of a mark's row.
func SealOf(m ratchet.StoredMark) []byte { return sealOfMark(m) }

// Exec runs statements in one transaction, through the writer.
func (db *Store) Exec(query string, args ...any) error {
	return db.do(context.Background(), func(ctx context.Context, tx *sql.Conn) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

// Retotal makes the totals those of the rows, after Exec has changed some.
func (db *Store) Retotal() error {
	j := newJob()
	j.run = func(ctx context.Context, tx *sql.Conn) error {
		all, err := readSnapshot(ctx, tx)
		if err != nil {
			return err
		}
		before, err := readTotals(ctx, tx)
		j.change = change(totalsOf(all).with(change{-before.rows, before.high, before.low}))
		return err
	}
	return db.commitFresh(j)
}

// CheckTotals compares the totals with the rows.
func (db *Store) CheckTotals() error {
	return db.do(context.Background(), func(ctx context.Context, tx *sql.Conn) error {
		_, mixed, err := readAll(ctx, tx, db.path)
		if err == nil && mixed.Verdict != InPlace {
			err = errors.New(mixed.Text)
		}
		if err != nil {
			return err
		}
		stored, err := readTotals(ctx, tx)
		if err == nil && stored != db.last.note.totals {
			return fmt.Errorf("the note has %+v, the file %+v", db.last.note.totals, stored)
		}
		return err
	})
}

// SameTotals reports whether two sets of rows have the same totals.
func SameTotals(a, b ratchet.Snapshot) bool { return totalsOf(a) == totalsOf(b) }

// QueryString reads one value.
func (db *Store) QueryString(query string, args ...any) (value string, err error) {
	err = db.do(context.Background(), func(ctx context.Context, tx *sql.Conn) error {
		return tx.QueryRowContext(ctx, query, args...).Scan(&value)
	})
	return value, err
}

// Tables reads the tables, where List tells from memory.
func (db *Store) Tables(ctx context.Context) (all ratchet.Snapshot, err error) {
	err = db.do(ctx, func(ctx context.Context, tx *sql.Conn) (err error) {
		all, err = readSnapshot(ctx, tx)
		return err
	})
	return all, err
}

// TableMarks reads the table of marks.
func (db *Store) TableMarks(ctx context.Context) ([]ratchet.StoredMark, error) {
	all, err := db.Tables(ctx)
	return all.Marks, err
}

// PlaceTogether commits proposals as one batch, on the goroutine of the test. The writer must be idle.
func (db *Store) PlaceTogether(members ...ratchet.Proposal) ([]ratchet.Release, []error) {
	jobs := make([]*job, len(members))
	placing := make([]*placement, len(members))
	for i, m := range members {
		placing[i] = db.newPlacement(m)
		jobs[i] = placing[i].job
	}
	db.commitBatch(jobs)
	releases, errs := make([]ratchet.Release, len(members)), make([]error, len(members))
	for i, j := range jobs {
		select {
		case errs[i] = <-j.done:
		case <-time.After(20 * time.Second):
			errs[i] = errors.New("a proposal is not answered")
		}
		if errs[i] == nil {
			releases[i], errs[i] = placing[i].release, placing[i].refused
		}
	}
	return releases, errs
}

// Abandon ends a store as a kill would: the row is not marked clean and the -wal stays. It may be called
// after a failure.
func (db *Store) Abandon() error {
	db.ended.Store(true)
	db.trouble.close()
	db.writer.close()
	return errors.Join(db.closeSQLite(), db.unlock())
}

// IdleCheckpoint empties the -wal now.
func (db *Store) IdleCheckpoint() { db.idleCheckpoint() }

// IdleMarks is how many marks must come before an idle checkpoint.
const IdleMarks = idleMarks

// Path returns the absolute path of the file.
func (db *Store) Path() string { return db.path }

// SQLiteSettings returns the names of the settings that Open reads back.
func SQLiteSettings() []string {
	var pragmas []string
	for _, s := range settings {
		pragmas = append(pragmas, s.pragma)
	}
	return pragmas
}

// CheckSettings reads them back.
func (db *Store) CheckSettings(ctx context.Context) error { return db.checkSettings(ctx) }

// ExecOutside runs a statement outside any transaction. The writer must be idle.
func (db *Store) ExecOutside(ctx context.Context, query string) error {
	_, err := db.conn.ExecContext(ctx, query)
	return err
}

// OpenAndFail opens a file completely, and then fails as if the last step had.
func OpenAndFail(ctx context.Context, path string) error {
	db := newStore(path, Options{})
	if err := db.open(ctx); err != nil {
		return err
	}
	return errors.Join(errors.New("failing as asked"), db.closeSQLite(), db.unlock())
}

// LockDescriptor returns the descriptor of the flock.
func (db *Store) LockDescriptor() int { return db.lock }

// SpoilLast makes the next note of the last mark fail.
func (db *Store) SpoilLast() {
	_ = unix.Close(db.last.fd)
	db.last.fd = -1
}

// SetBoot writes another start of the host into the note of the last mark.
func SetBoot(path, boot string) error {
	database, err := lookup(path)
	if err != nil {
		return err
	}
	said, err := readLast(path, database.identity)
	if err != nil || said == nil {
		return errors.Join(err, errors.New("no note"))
	}
	said.boot = boot
	return os.WriteFile(path+lastSuffix, said.text(database.identity), 0o600)
}

// Fail makes the store fail.
func (db *Store) Fail(cause error) { _ = db.fail(cause) }

// SchemaVersion is the version of the files that this pawl makes.
const SchemaVersion = schemaVersion

// Migrations returns the versions to which the migrations lead, in order.
func Migrations() []int {
	versions := make([]int, len(migrations))
	for i, m := range migrations {
		versions[i] = m.to
	}
	return versions
}

// ProbeInterval is the time between the probes of a store in trouble.
const ProbeInterval = probeInterval

// Probe commits a write that changes no mark, as a store in trouble does by itself.
func (db *Store) Probe() { db.probe() }

// WhileUnused calls read as a reader of the file does.
func WhileUnused(ctx context.Context, path string, read func() error) error {
	database, err := lookupDatabase(path)
	if err != nil {
		return err
	}
	return whileUnused(ctx, path, database, read)
}

// Noted returns the mark that the note beside the file has.
func (db *Store) Noted() (ratchet.Mark, error) {
	said, err := lastIn(db.last.fd, db.path, db.database.identity)
	if err != nil || said == nil {
		return ratchet.Mark{}, err
	}
	return said.mark, nil
}

// Remember tells memory of a mark, as a commit that has returned does.
func (db *Store) Remember(m ratchet.StoredMark) { db.memory.putMark(m) }

// Opened tells memory of a chain that a request has opened.
func (db *Store) Opened(key tezos.PublicKeyHash, chain tezos.ChainID) { db.memory.opened(key, chain) }

// NoteOf returns the note of a mark as a pawl that knew no totals wrote it.
func (db *Store) NoteOf(m ratchet.Mark) []byte { return note{mark: m}.text(db.database.identity) }

// NoteInto has the note written to another file.
func (db *Store) NoteInto(fd int) {
	_ = unix.Close(db.last.fd)
	db.last.fd = fd
}

// LockTime is how long an opening waits for the lock.
const LockTime = lockTime

// Failure is why the store has failed, or nil.
func (db *Store) Failure() error { return db.err() }

// SpoilWitness has the writes of the witness fail, and returns its path.
func (db *Store) SpoilWitness() string {
	db.witness.close()
	db.witness.file, _ = os.Open(db.witness.path)
	return db.witness.path
}
