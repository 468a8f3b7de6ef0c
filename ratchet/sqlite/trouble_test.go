package sqlite_test

import (
	"errors"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// full is a COMMIT that finds no room.
func full(_, rollback func() error) error {
	return errors.Join(rollback(), sqlite3.Error{Code: sqlite3.ErrFull})
}

// inTrouble returns a registered ratchet with a commit behind it that found no room.
func inTrouble(t *testing.T) *DB {
	t.Helper()
	db := openRegistered(t, options{})
	db.SetCommit(full)
	d := bytesNumber(0)
	if _, err := db.Place(block(1, 0), d, signatureOf(t, d, 0)); !errors.Is(err, ratchet.ErrCommit) {
		t.Fatalf("a commit without room: %v, want %v", err, ratchet.ErrCommit)
	}
	if err := db.Trouble(); !errors.Is(err, ratchet.ErrCommit) {
		t.Fatalf("trouble %v, want %v", err, ratchet.ErrCommit)
	}
	return db
}

// TestTroubleEndsByItself: the store finds out that there is room again, though nobody asks for a
// signature, and writes no mark for it.
func TestTroubleEndsByItself(t *testing.T) {
	t.Parallel()
	db := inTrouble(t)
	db.SetCommit(nil)
	for begun := time.Now(); db.Trouble() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("trouble when there is room again: %v, want none within a second or two", db.Trouble())
		}
	}
	if marks, err := db.TableMarks(t.Context()); err != nil || len(marks) != 0 {
		t.Errorf("marks %+v, %v, want none", marks, err)
	}
}

// TestSplitBatchIsNoProof: a batch that was rolled back to be committed singly has stored nothing,
// and does not end the trouble.
func TestSplitBatchIsNoProof(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	const broken = "CREATE TRIGGER broken BEFORE INSERT ON marks WHEN NEW.level = 13 BEGIN SELECT RAISE(ABORT, 'broken'); END"
	if err := db.Exec(broken); err != nil {
		t.Fatal(err)
	}
	db.SetCommit(full)
	d := bytesNumber(0)
	_, _ = db.Place(block(1, 0), d, signatureOf(t, d, 0))
	var between error
	db.SetCommit(func(commit, rollback func() error) error {
		between = db.Trouble() // of the first single commit
		return full(commit, rollback)
	})
	bad := block(13, 0)
	bad.Kind = tezos.Attestation
	db.PlaceTogether(db.Proposal(block(1, 0), d, signatureOf(t, d, 0)), db.Proposal(bad, d, signatureOf(t, d, 0)))
	if !errors.Is(between, ratchet.ErrCommit) {
		t.Errorf("trouble after the batch was split: %v, want %v", between, ratchet.ErrCommit)
	}
	db.SetCommit(nil)
}

// TestProbeTellsOfItselfAlone: the success of a probe must not hide what the next transaction does.
func TestProbeTellsOfItselfAlone(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	d := bytesNumber(0)
	for level := range int32(500) {
		probing, failing := make(chan struct{}), make(chan struct{})
		first := true
		db.SetCommit(func(commit, rollback func() error) error {
			if !first {
				return full(commit, rollback)
			}
			first = false
			close(probing)
			<-failing
			return commit()
		})
		probed := make(chan struct{})
		go func() { defer close(probed); db.Probe() }()
		<-probing
		answer := ask(t.Context(), db, block(level, 0), d, new(card).Sign(d))
		close(failing)
		<-probed
		if got := <-answer; !errors.Is(got.Err, ratchet.ErrCommit) || db.Trouble() == nil {
			t.Fatalf("after a probe a commit ends with %v, and trouble with %v", got.Err, db.Trouble())
		}
		db.SetCommit(nil)
	}
}

// TestNoProbeAfterTheEnd: Close leaves nobody behind who writes, and neither does a failure, after
// which the connection stays open.
func TestNoProbeAfterTheEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *DB){
		"closed": func(t *testing.T, db *DB) { t.Helper(); closeDB(t, db) },
		"failed": func(_ *testing.T, db *DB) { db.Fail(errors.New("a commit was lost")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := inTrouble(t)
			var commits atomic.Int64
			db.SetCommit(func(commit, _ func() error) error { commits.Add(1); return commit() })
			end(t, db)
			failed := db.Err()
			before, folder := commits.Load(), folderOf(t, db.Path())
			time.Sleep(sqlite.ProbeInterval + 500*time.Millisecond)
			if after := commits.Load(); after != before {
				t.Errorf("%d commits after the end, want none", after-before)
			}
			if !maps.Equal(folder, folderOf(t, db.Path())) {
				t.Error("files have changed after the end")
			}
			if !errors.Is(db.Err(), failed) {
				t.Errorf("failed with %v after the end", db.Err())
			}
		})
	}
}

// TestReadsDoNotPutTheProbeOff: who looks at the ratchet every now and then does not keep it in
// trouble.
func TestReadsDoNotPutTheProbeOff(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	var once atomic.Bool
	db.SetCommit(func(commit, rollback func() error) error {
		if once.CompareAndSwap(false, true) {
			_ = rollback()
			return sqlite3.Error{Code: sqlite3.ErrFull}
		}
		return commit()
	})
	d := bytesNumber(1)
	if _, err := db.Place(block(1, 0), d, signatureOf(t, d, 0)); !errors.Is(err, ratchet.ErrCommit) {
		t.Fatalf("on a full disk: %v, want %v", err, ratchet.ErrCommit)
	}
	deadline := time.Now().Add(30 * time.Second)
	for ; db.Trouble() != nil; time.Sleep(100 * time.Millisecond) {
		if _, err := db.TableMarks(t.Context()); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the disk has room again, and the ratchet is read: still %v", db.Trouble())
		}
	}
}
