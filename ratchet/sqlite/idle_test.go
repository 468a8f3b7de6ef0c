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

// content is the file as another process reads it: this one must not close any
// descriptor of it.
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

// TestRest: when many marks were committed and no more come, the -wal is copied into
// the database by itself, and written over from then on.
func TestRest(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	placeLevels(t, db, 1, sqlite.IdleMarks)
	awaitRest(t, db, sqlite.IdleMarks)
	before := size(t, db.Path()+"-wal")
	placeLevels(t, db, sqlite.IdleMarks+1, sqlite.IdleMarks/2)
	if after := size(t, db.Path()+"-wal"); after != before {
		t.Errorf("after a rest the -wal grew from %d to %d bytes, want it written over", before, after)
	}
	abandon(t, db)
	level := sqlite.IdleMarks + sqlite.IdleMarks/2
	if again := mustSign(t, open(t, db.Path(), options{}), block(int32(level), 0), bytesNumber(level)); !again.Stored {
		t.Errorf("level %d is lost", level)
	}
}

// awaitRest waits until the signature of a level stands in the database file.
func awaitRest(t *testing.T, db *DB, level int) {
	t.Helper()
	signature := []byte(signatureOf(t, bytesNumber(level), 0).String())
	for start := time.Now(); !bytes.Contains(content(t, db.Path()), signature); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("the ratchet does not rest")
		}
	}
}

// TestRestIsMadeUpFor: when it is time and somebody writes, be it no mark, the rest
// comes after that.
func TestRestIsMadeUpFor(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	placeLevels(t, db, 1, sqlite.IdleMarks)
	db.SetCommit(func(commit, _ func() error) error {
		time.Sleep(time.Second) // over the time of the rest
		return commit()
	})
	if err := db.Exec("UPDATE provenance SET generation = generation + 1"); err != nil {
		t.Fatal(err)
	}
	db.SetCommit(nil)
	awaitRest(t, db, sqlite.IdleMarks)
}

// TestNoRestAmidMarks: a few marks are not worth one.
func TestNoRestAmidMarks(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	placeLevels(t, db, 1, sqlite.IdleMarks-1)
	time.Sleep(time.Second)
	if last := []byte(signatureOf(t, bytesNumber(sqlite.IdleMarks-1), 0).String()); bytes.Contains(content(t, db.Path()), last) {
		t.Errorf("the ratchet rests after %d marks", sqlite.IdleMarks-1)
	}
}

// TestRestEndsWithAFailure: an I/O error of a rest is as unknown as one of a mark.
func TestRestEndsWithAFailure(t *testing.T) {
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

// TestRestOnAFullDisk is trouble, and signing goes on after it.
func TestRestOnAFullDisk(t *testing.T) {
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

// TestRestAfterClose touches nothing.
func TestRestAfterClose(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	closeDB(t, db)
	db.IdleCheckpoint()
	if present(t, db.Path()+"-wal") {
		t.Error("a rest after Close made a -wal")
	}
}
