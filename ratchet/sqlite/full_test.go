package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
)

// TestFullDisk fills a small file system. Each commit that finds no room is a definite no, nothing is lost,
// and signing goes on when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	path := tmpfsRatchet(t, "size=256k")
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 0)
	fill(t, path+".filler")

	level, refusals := int32(1), 0
	for ; refusals < 20 && level < 1000; level++ {
		d := bytesNumber(int(level))
		release, err := db.Sign(t.Context(), block(level, 0), d, new(card).Sign(d))
		switch {
		case err == nil && refusals > 0:
			t.Fatalf("level %d was signed on a full disk", level)
		case err == nil:
		case errors.Is(err, ratchet.ErrCommit) && release == (ratchet.Release{}) && strings.Contains(err.Error(), "full"):
			refusals++
		default:
			t.Fatalf("level %d on a full disk: got %+v, %v, want %v", level, release, err, ratchet.ErrCommit)
		}
	}
	if refusals != 20 || db.Err() != nil {
		t.Fatalf("%d refusals, failure %v, want 20 and none", refusals, db.Err())
	}
	marks, err := db.TableMarks(t.Context())
	if err != nil || len(marks) > 0 && marks[0].Level != level-21 {
		t.Fatalf("marks on a full disk: %+v, %v, want level %d", marks, err, level-21)
	}
	time.Sleep(1500 * time.Millisecond) // the store has probed by then
	if err := db.Trouble(); !errors.Is(err, ratchet.ErrCommit) {
		t.Fatalf("trouble after a probe on a full disk: %v, want %v", err, ratchet.ErrCommit)
	}
	if _, err := db.TableMarks(t.Context()); err != nil || db.Trouble() == nil {
		t.Fatalf("after a read on a full disk: %v, trouble %v, want the trouble to stay", err, db.Trouble())
	}
	if err := os.Remove(path + ".filler"); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); db.Trouble() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("trouble when there is room again: %v, want none within a second or two", db.Trouble())
		}
	}
	mustSign(t, db, block(level, 0), bytesNumber(int(level)))
	abandon(t, db)
	db = open(t, path, options{})
	if again := mustSign(t, db, block(level, 0), bytesNumber(int(level))); !again.Stored {
		t.Error("after a restart the mark made when there was room again is lost")
	}
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFileSizeLimit makes writes to the -wal fail with EFBIG, which is an I/O error and not a definite no:
// the process stops, and what it had released is there afterwards.
func TestFileSizeLimit(t *testing.T) {
	t.Parallel()
	r, path := newReleased(t)
	out := runChild(t, "limited", path)
	acknowledged, last, ok := strings.Cut(out, "error: ")
	if !ok || !strings.HasPrefix(last, ratchet.ErrStopped.Error()) {
		t.Fatalf("the limited process ended with %q, want %v", last, ratchet.ErrStopped)
	}
	r.read(t, acknowledged)
	if r.highest == 0 {
		t.Fatal("the limited process signed nothing")
	}
	r.check(t, path)
}

// signLimited signs until its files may not grow further.
func signLimited(path string) error {
	signal.Ignore(unix.SIGXFSZ)
	const limit = 100 << 10
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		return err
	}
	db, err := openDB(context.Background(), path, options{})
	if err != nil {
		return err
	}
	for err == nil {
		err = signNext(db)
	}
	if failure := db.Err(); failure == nil {
		return fmt.Errorf("not failed after %w", err)
	}
	return err
}
