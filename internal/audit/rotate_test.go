package audit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pawl/internal/audit"
)

// TestRotation: files have the size at most, so many are kept, and the chain goes on from one to the next.
func TestRotation(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	small := audit.Options{MaxSize: 1200, Keep: 3}
	session(t, path, small, 50)
	session(t, path, small, 2)
	files, err := filepath.Glob(audit.Path(path) + "*")
	if err != nil || len(files) != 4 {
		t.Fatalf("%v, %v, want 4 files", files, err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Size() > small.MaxSize || info.Size() < small.MaxSize/2 && file != files[0] {
			t.Errorf("%s has %d bytes, %v, want %d at most, and half of it", file, info.Size(), err, small.MaxSize)
		}
	}
	result, err := audit.VerifyKept(path, "", small.Keep)
	if err != nil || result.Damage != nil || result.Last != 56 || result.First < 10 || result.Lines != result.Last-result.First+1 {
		t.Errorf("%+v, %v, want all that is kept to fit", result, err)
	}
	if len(result.Notes) != 1 || !strings.Contains(result.Notes[0].Text, "what was before is not here") {
		t.Errorf("notes %+v, want that the beginning is not here", result.Notes)
	}
	if !strings.HasSuffix(strings.Join(result.Files, " "), ".3 "+files[0]+".2 "+files[0]+".1 "+files[0]) {
		t.Errorf("files %v, want the oldest first", result.Files)
	}
	if result, err := audit.Verify(path, files[2]); err != nil || result.Damage != nil || len(result.Files) != 3 {
		t.Errorf("from %s: %+v, %v, want three files that fit", files[2], result, err)
	}
	if _, err := audit.Verify(path, path); err == nil || !strings.Contains(err.Error(), "is no file of the trail") {
		t.Errorf("from a file of something else: %v", err)
	}
}

// TestLineLargerThanAFile: it has a file of its own.
func TestLineLargerThanAFile(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	session(t, path, audit.Options{MaxSize: 10}, 3)
	fits(t, path, 5)
	if !present(audit.Path(path)+".4") || present(audit.Path(path)+".5") {
		t.Error("not each line has its file")
	}
}

// TestKillInRotation copies the files before and after each step of each rotation, with the file that is made
// at the end and without: all of that is a trail that fits, and is gone on with.
func TestKillInRotation(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	small := audit.Options{MaxSize: 700, Keep: 3}
	var states []string
	l, err := audit.OpenRenaming(path, small, func(from, to string) error {
		states = append(states, copied(t, path))
		err := os.Rename(from, to)
		states = append(states, copied(t, path))
		if from == audit.Path(path) {
			begun := copied(t, path)
			write(t, audit.Path(begun), nil)
			states = append(states, begun)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		l.Add(signed(i))
	}
	closeLog(t, l)
	if len(states) < 30 {
		t.Fatalf("%d states, want those of many rotations", len(states))
	}
	for i, state := range states {
		before, err := audit.VerifyKept(state, "", small.Keep)
		if err != nil || before.Damage != nil || before.Lines == 0 {
			t.Errorf("state %d: %+v (%v), %v, want it to fit", i, before, before.Damage, err)
		}
		session(t, state, audit.Options{Keep: small.Keep}, 1)
		after, err := audit.VerifyKept(state, "", small.Keep)
		if err != nil || after.Damage != nil || after.Last != before.Last+3 || after.First != before.First {
			t.Errorf("state %d, gone on: %+v (%v), %v, want three lines after %d", i, after, after.Damage, err, before.Last)
		}
		session(t, state, small, 10) // and is rotated
		if after, err = audit.VerifyKept(state, "", small.Keep); err != nil || after.Damage != nil {
			t.Errorf("state %d, rotated: %+v, %v, want it to fit", i, after.Damage, err)
		}
	}
}

// TestRotationFails: events wait until it succeeds, and none is lost.
func TestRotationFails(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	failures := 2
	l, err := audit.OpenRenaming(path, audit.Options{MaxSize: 700}, func(from, to string) error {
		if failures > 0 {
			failures--
			return fmt.Errorf("rename %s: as asked", from)
		}
		return os.Rename(from, to)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		l.Add(signed(i))
	}
	await(t, "failed", func() bool { return l.Err() != nil })
	if err := l.Err(); !strings.Contains(err.Error(), "as asked") || !strings.Contains(err.Error(), audit.Path(path)) {
		t.Errorf("Err: %v", err)
	}
	await(t, "written", func() bool { return l.Err() == nil && l.Waiting() == 0 }) // by itself
	closeLog(t, l)
	fits(t, path, 7)
}

// TestFileTakenAway: another program moves or removes the file of a trail in use. The chain goes on in a new
// one, and a file that is not its own is left alone.
func TestFileTakenAway(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	l := open(t, path, audit.Options{})
	await(t, "written", func() bool { seq, _ := l.Head(); return seq == 1 })
	if err := os.Rename(audit.Path(path), audit.Path(path)+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, audit.Path(path), []byte("of somebody else\n"))
	l.Add(signed(1))
	await(t, "refused", func() bool { return l.Err() != nil })
	if got := string(read(t, audit.Path(path))); got != "of somebody else\n" || !strings.Contains(l.Err().Error(), "move it away") {
		t.Errorf("the file has %q, %v", got, l.Err())
	}
	if err := os.Remove(audit.Path(path)); err != nil {
		t.Fatal(err)
	}
	await(t, "written", func() bool { seq, _ := l.Head(); return seq == 2 })
	closeLog(t, l)
	fits(t, path, 3)
}

// TestNoTrail is an error that tells so.
func TestNoTrail(t *testing.T) {
	t.Parallel()
	for _, path := range []string{newRatchet(t), "/nowhere/ratchet.db"} {
		if result, err := audit.Verify(path, ""); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("Verify: %+v, %v, want that there is none", result, err)
		}
	}
}
