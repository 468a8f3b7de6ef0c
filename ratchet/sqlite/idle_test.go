package sqlite_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"pawl/ratchet/sqlite"

	"github.com/mattn/go-sqlite3"
)

// content has another process read the file: to close any descriptor of it in this one would drop SQLite's
// locks.
func content(t *testing.T, path string) []byte {
	t.Helper()
	data, err := exec.Command("cat", path).Output()
	if err != nil {
		t.Fatalf("cat %s: %v", path, err)
	}
	return data
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func placeLevels(t *testing.T, db *DB, from, n int) {
	t.Helper()
	for level := from; level < from+n; level++ {
		d := bytesNumber(level)
		if _, err := db.Place(block(int32(level), 0), d, signatureOf(t, d, 0)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIdleCheckpoint: when many marks were committed and no more come, the store copies the -wal into the
// database, and overwrites it from then on.
func TestIdleCheckpoint(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	placeLevels(t, db, 1, sqlite.IdleMarks)
	awaitIdleCheckpoint(t, db, sqlite.IdleMarks)
	before := size(t, db.Path()+"-wal")
	placeLevels(t, db, sqlite.IdleMarks+1, sqlite.IdleMarks/2)
	if after := size(t, db.Path()+"-wal"); after != before {
		t.Errorf("after an idle checkpoint the -wal grew from %d to %d bytes, want it overwritten", before, after)
	}
	abandon(t, db)
	level := sqlite.IdleMarks + sqlite.IdleMarks/2
	if again := mustSign(t, open(t, db.Path(), options{}), block(int32(level), 0), bytesNumber(level)); !again.Stored {
		t.Errorf("level %d is lost", level)
	}
}

// awaitIdleCheckpoint waits until the signature of a level is in the database file.
func awaitIdleCheckpoint(t *testing.T, db *DB, level int) {
	t.Helper()
	signature := []byte(signatureOf(t, bytesNumber(level), 0).String())
	for start := time.Now(); !bytes.Contains(content(t, db.Path()), signature); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("the store makes no idle checkpoint")
		}
	}
}

// TestIdleCheckpointIsPostponed: if a transaction is running when it is due, it comes after that, even if
// the transaction stores no mark.
func TestIdleCheckpointIsPostponed(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	placeLevels(t, db, 1, sqlite.IdleMarks)
	db.SetCommit(func(commit, _ func() error) error {
		time.Sleep(time.Second) // longer than until the idle checkpoint is due
		return commit()
	})
	if err := db.Exec("UPDATE provenance SET generation = generation + 1"); err != nil {
		t.Fatal(err)
	}
	db.SetCommit(nil)
	awaitIdleCheckpoint(t, db, sqlite.IdleMarks)
}

// TestNoIdleCheckpointForFewMarks: it is not worth the cost.
func TestNoIdleCheckpointForFewMarks(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	placeLevels(t, db, 1, sqlite.IdleMarks-1)
	time.Sleep(time.Second)
	if last := []byte(signatureOf(t, bytesNumber(sqlite.IdleMarks-1), 0).String()); bytes.Contains(content(t, db.Path()), last) {
		t.Errorf("an idle checkpoint after %d marks", sqlite.IdleMarks-1)
	}
}

// TestIdleCheckpointThatFails: after an I/O error of an idle checkpoint the outcome is unknown too.
func TestIdleCheckpointThatFails(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*testing.T, *DB){
		"checkpoint": func(t *testing.T, db *DB) {
			t.Helper()
			if err := db.ExecOutside(t.Context(), "BEGIN IMMEDIATE"); err != nil { // there can be no checkpoint in it
				t.Fatal(err)
			}
		},
		"commit": func(_ *testing.T, db *DB) {
			db.SetCommit(func(_, rollback func() error) error {
				return errors.Join(rollback(), sqlite3.Error{Code: sqlite3.ErrIoErr})
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, newFile(t), options{})
			register(t, db, baker, mainnet, 0)
			register(t, db, keyNumber(2), mainnet, 0)
			mustSign(t, db, block(1, 0), bytesNumber(1))
			spoil(t, db)
			db.IdleCheckpoint()
			wantDead(t, db, db.Path())
		})
	}
}

// TestIdleCheckpointOnAFullDisk is trouble, and signing goes on when there is room again.
func TestIdleCheckpointOnAFullDisk(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	db.SetCommit(func(_, rollback func() error) error {
		return errors.Join(rollback(), sqlite3.Error{Code: sqlite3.ErrFull})
	})
	db.IdleCheckpoint()
	if db.Trouble() == nil || db.Err() != nil {
		t.Errorf("trouble %v and failure %v, want trouble and no failure", db.Trouble(), db.Err())
	}
	db.SetCommit(nil)
	mustSign(t, db, block(1, 0), bytesNumber(1))
	if db.Trouble() != nil {
		t.Errorf("trouble %v after a commit, want none", db.Trouble())
	}
}

// TestNoIdleCheckpointAfterClose: a late timer changes nothing.
func TestNoIdleCheckpointAfterClose(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	closeDB(t, db)
	db.IdleCheckpoint()
	if present(t, db.Path()+"-wal") {
		t.Error("an idle checkpoint after Close made a -wal")
	}
}
