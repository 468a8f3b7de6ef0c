package sqlite_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"pawl/ratchet"
)

// TestCutShortWhileOpen cuts a file short under a store that has it open. The next commit would make the -wal as
// long again, with a hole in it: nothing is released.
func TestCutShortWhileOpen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		suffix string
		rest   bool // the -wal is overwritten from its start then
		keep   func(size int64) int64
	}{
		"-wal, to nothing":              {"-wal", false, func(int64) int64 { return 0 }},
		"-wal, its last page":           {"-wal", false, func(size int64) int64 { return size - frame }},
		"-wal, a byte":                  {"-wal", false, func(size int64) int64 { return size - 1 }},
		"-wal after a rest, to nothing": {"-wal", true, func(int64) int64 { return 0 }},
		"-wal after a rest, a byte":     {"-wal", true, func(size int64) int64 { return size - 1 }},
		"database, a page":              {"", false, func(size int64) int64 { return size - pageSize }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, newFile(t), options{})
			register(t, db, baker, mainnet, 0)
			register(t, db, keyNumber(2), mainnet, 0)
			placeLevels(t, db, 1, 5)
			if c.rest {
				db.IdleCheckpoint()
			}
			path := db.Path() + c.suffix
			if err := os.Truncate(path, c.keep(size(t, path))); err != nil {
				t.Fatal(err)
			}
			d := bytesNumber(0)
			release, err := db.Sign(t.Context(), block(10, 0), d, new(card).Sign(d))
			if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
				t.Errorf("got %+v, %v, want %v", release, err, ratchet.ErrStopped)
			}
			if err := db.Err(); err == nil || !strings.Contains(err.Error(), path+" was cut short while it was open") {
				t.Errorf("failed with %v, want the file named", err)
			}
			wantDead(t, db, db.Path())
		})
	}
}

// TestCutShortWhileCommitting: the -wal is cut short after the look before COMMIT.
func TestCutShortWhileCommitting(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	register(t, db, baker, mainnet, 0)
	register(t, db, keyNumber(2), mainnet, 0)
	db.SetCommit(func(commit, _ func() error) error {
		return errors.Join(commit(), os.Truncate(db.Path()+"-wal", 0))
	})
	d := bytesNumber(0)
	if _, err := db.Place(block(10, 0), d, signatureOf(t, d, 0)); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("got %v, want %v", err, ratchet.ErrStopped)
	}
	wantDead(t, db, db.Path())
}

// TestLongRunNeverLooksCutShort: SQLite's own checkpoints in the middle of a commit, rests and growth.
func TestLongRunNeverLooksCutShort(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	level := 1
	for n := range 4 {
		placeLevels(t, db, level, 700)
		level += 700
		if n%2 == 0 {
			db.IdleCheckpoint()
		}
		for k := range 50 {
			register(t, db, keyNumber(100*n+k+10), mainnet, 0)
		}
	}
	if err := db.Err(); err != nil {
		t.Error(err)
	}
}
