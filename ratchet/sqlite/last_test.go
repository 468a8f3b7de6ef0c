package sqlite_test

import (
	"errors"
	"os"
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
)

const frame = 24 + 4096 // of a -wal

// TestLastMarkIsMissed: a file that SQLite finds in order, or whose -wal looks torn by a power cut, lacks
// the last mark that was noted. Its keys are fenced, and stay so.
func TestLastMarkIsMissed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stop   func(*testing.T, string)
		change func(t *testing.T, path string)
	}{
		"killed, -wal cut short": {killed, func(t *testing.T, path string) {
			t.Helper()
			if err := os.Truncate(path+"-wal", size(t, path+"-wal")-frame); err != nil {
				t.Fatal(err)
			}
		}},
		"killed, a bit of the -wal flipped": {killed, func(t *testing.T, path string) {
			t.Helper()
			content := read(t, path+"-wal")
			content[len(content)-frame/2] ^= 1
			write(t, path+"-wal", content)
		}},
		"closed, older content copied into the file": {
			func(t *testing.T, path string) {
				t.Helper()
				backup := read(t, path)
				runChild(t, "sign", path)
				write(t, path, backup)
			},
			func(*testing.T, string) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := left(t, c.stop)
			c.change(t, path)
			db := open(t, path, options{Witness: ratchettest.NoWitness})
			if db.Finding().Verdict != sqlite.RolledBack {
				t.Errorf("found %+v, want it rolled back", db.Finding())
			}
			wantFenced(t, db, ratchet.RolledBack)
			closeDB(t, db)
			wantFenced(t, open(t, path, options{}), ratchet.RolledBack)
		})
	}
}

// TestLastMarkIsNoHindrance: a note that is missing, torn, older, or of another file refuses nothing.
func TestLastMarkIsNoHindrance(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, note string, content []byte){
		"gone":  func(t *testing.T, note string, _ []byte) { t.Helper(); _ = os.Remove(note) },
		"empty": func(t *testing.T, note string, _ []byte) { t.Helper(); write(t, note, nil) },
		"torn":  func(t *testing.T, note string, content []byte) { t.Helper(); write(t, note, content[:len(content)/2]) },
		"of a higher level, spoilt": func(t *testing.T, note string, content []byte) {
			t.Helper()
			content[len(content)/2] ^= 1
			write(t, note, content)
		},
		"of another database": func(t *testing.T, note string, _ []byte) {
			t.Helper()
			write(t, note, read(t, left(t, killed)+"-last"))
		},
		"older": func(t *testing.T, note string, content []byte) {
			t.Helper()
			runChild(t, "sign", note[:len(note)-len("-last")])
			write(t, note, content)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := left(t, killed)
			change(t, path+"-last", read(t, path+"-last"))
			db := open(t, path, options{})
			marks, err := db.TableMarks(t.Context())
			if err != nil || len(marks) != 1 || marks[0].Level < 2 {
				t.Errorf("marks %+v, %v, want level 2 or higher", marks, err)
			}
		})
	}
}

// TestCreateForgetsTheLastMark: a new file may get the inode of the former one.
func TestCreateForgetsTheLastMark(t *testing.T) {
	t.Parallel()
	path := left(t, closed)
	if err := errors.Join(os.Remove(path), sqlite.Create(t.Context(), path)); err != nil {
		t.Fatal(err)
	}
	if present(t, path+"-last") {
		t.Error("Create left the last mark of the former ratchet")
	}
}

// TestLastMarkThatCannotBeNoted: a file system that takes no more writes may have lost the commit too.
func TestLastMarkThatCannotBeNoted(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	register(t, db, baker, mainnet, 0)
	register(t, db, keyNumber(2), mainnet, 0)
	db.SpoilLast()
	d := bytesNumber(0)
	release, err := db.Place(block(1, 0), d, signatureOf(t, d, 0))
	if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
		t.Errorf("got %+v, %v, want %v", release, err, ratchet.ErrStopped)
	}
	wantDead(t, db, db.Path())
}
