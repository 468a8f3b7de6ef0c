package sqlite_test

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// left makes a ratchet with a mark, closes it, and calls stop.
func left(t *testing.T, stop func(*testing.T, string)) string {
	t.Helper()
	path := newFile(t)
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 0)
	mustSign(t, db, block(1, 0), bytesNumber(1))
	closeDB(t, db)
	stop(t, path)
	return path
}

// closed leaves the ratchet closed. killed opens it in a process that signs and is killed, so that a mark is
// in the -wal only.
func closed(*testing.T, string) {}

func killed(t *testing.T, path string) {
	t.Helper()
	if out := runChild(t, "killed", path); !strings.HasPrefix(out, "2 ") {
		t.Fatalf("the child to be killed said %q", out)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFileNotAsItWasLeft does to a stopped ratchet what operators and restores do. Open fences its keys; or it
// refuses it, writes nothing, and refuses it again.
func TestFileNotAsItWasLeft(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stop   func(*testing.T, string)
		change func(t *testing.T, path string)
		remedy string // if it is not a new ratchet; or the verdict with which it is opened
	}{
		"killed, -wal removed": {killed, func(t *testing.T, path string) {
			t.Helper()
			if err := os.Remove(path + "-wal"); err != nil {
				t.Fatal(err)
			}
		}, ""},
		"killed, -wal replaced by its copy": {killed, func(t *testing.T, path string) {
			t.Helper()
			content := read(t, path+"-wal")
			write(t, path+"-new", content)
			if err := os.Rename(path+"-new", path+"-wal"); err != nil {
				t.Fatal(err)
			}
		}, "rolled_back"},
		"killed, -wal replaced by an empty one": {killed, func(t *testing.T, path string) {
			t.Helper()
			write(t, path+"-new", nil)
			if err := os.Rename(path+"-new", path+"-wal"); err != nil {
				t.Fatal(err)
			}
		}, ""},
		"killed, -wal emptied": {killed, func(t *testing.T, path string) {
			t.Helper()
			if err := os.Truncate(path+"-wal", 0); err != nil {
				t.Fatal(err)
			}
		}, ""},
		"killed, -wal is a link": {killed, func(t *testing.T, path string) {
			t.Helper()
			if err := errors.Join(os.Rename(path+"-wal", path+"-real"), os.Symlink(path+"-real", path+"-wal")); err != nil {
				t.Fatal(err)
			}
		}, ""},
		"killed, -wal has two names": {killed, func(t *testing.T, path string) {
			t.Helper()
			if err := os.Link(path+"-wal", path+"-two"); err != nil {
				t.Fatal(err)
			}
		}, "remove the others"},
		"killed, older content copied into the file": {
			func(t *testing.T, path string) {
				t.Helper()
				backup := read(t, path)
				killed(t, path)
				write(t, path, backup)
			},
			func(*testing.T, string) {},
			"rolled_back",
		},
		"closed, a -wal with content": {
			func(t *testing.T, path string) {
				t.Helper()
				killed(t, path)
				write(t, path+"-old", read(t, path+"-wal"))
				runChild(t, "sign", path)
			},
			func(t *testing.T, path string) {
				t.Helper()
				if err := os.Rename(path+"-old", path+"-wal"); err != nil {
					t.Fatal(err)
				}
			},
			"rolled_back",
		},
		"closed, replaced by a copy": {closed, func(t *testing.T, path string) {
			t.Helper()
			write(t, path+"-new", read(t, path))
			if err := os.Rename(path+"-new", path); err != nil {
				t.Fatal(err)
			}
		}, "moved"},
		"killed, replaced by a copy": {killed, func(t *testing.T, path string) {
			t.Helper()
			write(t, path+"-new", read(t, path))
			if err := os.Rename(path+"-new", path); err != nil {
				t.Fatal(err)
			}
		}, "moved"},
		"closed, a rollback journal": {closed, func(t *testing.T, path string) {
			t.Helper()
			write(t, path+"-journal", []byte("journal"))
		}, ""},
		"closed, no provenance row": {closed, func(t *testing.T, path string) {
			t.Helper()
			pool := openPool(t, "file:"+path)
			if _, err := pool.ExecContext(t.Context(), "DELETE FROM provenance"); err != nil {
				t.Fatal(err)
			}
			_ = pool.Close()
		}, ""},
		"closed, a provenance row that says nothing": {closed, func(t *testing.T, path string) {
			t.Helper()
			pool := openPool(t, "file:"+path)
			if _, err := pool.ExecContext(t.Context(), "UPDATE provenance SET database = 'x'"); err != nil {
				t.Fatal(err)
			}
			_ = pool.Close()
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := left(t, c.stop)
			c.change(t, path)
			before := snapshot(t, filepath.Dir(path))
			for range 2 {
				db, err := openDB(t.Context(), path, options{})
				if err == nil && db.Finding().Verdict.String() == c.remedy {
					wantFenced(t, db, db.Finding().Verdict.Cause())
					closeDB(t, db)
					return
				}
				if err == nil {
					_ = db.Close()
					t.Fatal("it was opened")
				}
				if !errors.Is(err, ratchet.ErrSuspect) || !strings.Contains(err.Error(), cmp.Or(c.remedy, "pawl ratchet init")) {
					t.Fatalf("got %v, want %v and the way out", err, ratchet.ErrSuspect)
				}
			}
			wantUnchanged(t, filepath.Dir(path), before)
		})
	}
}

// TestHarmlessLeftovers: what a kill or a database shell leaves, without a loss of marks, is accepted.
func TestHarmlessLeftovers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stop   func(*testing.T, string)
		change func(t *testing.T, path string)
		level  int32
	}{
		"closed": {closed, func(*testing.T, string) {}, 1},
		"killed": {killed, func(*testing.T, string) {}, 2},
		"closed, an empty -wal, as a shell that was killed leaves it": {closed, func(t *testing.T, path string) {
			t.Helper()
			write(t, path+"-wal", nil)
		}, 1},
		"closed, a note cut short": {closed, func(t *testing.T, path string) {
			t.Helper()
			write(t, path+"-wal", nil)
			write(t, path+"-opening", []byte("12"))
		}, 1},
		"killed, an old note": {killed, func(t *testing.T, path string) {
			t.Helper()
			write(t, path+"-opening", []byte("12/34"))
		}, 2},
		"renamed": {closed, func(t *testing.T, path string) {
			t.Helper()
			if err := errors.Join(os.Rename(path, path+"2"), os.Rename(path+"2", path)); err != nil {
				t.Fatal(err)
			}
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := left(t, c.stop)
			c.change(t, path)
			db := open(t, path, options{})
			marks, err := db.TableMarks(t.Context())
			if err != nil || len(marks) != 1 || marks[0].Level != c.level {
				t.Fatalf("marks %+v, %v, want level %d", marks, err, c.level)
			}
			closeDB(t, db)
			if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 2 {
				t.Errorf("Close left %v, %v, want the file and its last mark", entries, err)
			}
		})
	}
}

// TestFailedOpenCanBeTriedAgain: an opening that fails after SQLite has connected must leave the -wal, or the
// next opening would miss it.
func TestFailedOpenCanBeTriedAgain(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*testing.T, string){"closed": closed, "killed": killed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := left(t, stop)
			for range 3 {
				if err := sqlite.OpenAndFail(t.Context(), path); err == nil {
					t.Fatal("the opening did not fail")
				}
			}
			db := open(t, path, options{})
			mustSign(t, db, block(3, 0), bytesNumber(3))
		})
	}
}

// TestFailedConnectionKeepsTheWAL: SQLite meets a schema that it cannot read while it connects, and would
// remove the -wal as it closes. When the file is repaired all marks are there.
func TestFailedConnectionKeepsTheWAL(t *testing.T) {
	t.Parallel()
	path := left(t, killed)
	whole := read(t, path)
	at := bytes.Index(whole, []byte("CREATE TABLE marks"))
	if at < 0 {
		t.Fatal("the schema of the marks is not in the file")
	}
	spoilt := bytes.Clone(whole)
	spoilt[at+len("CREATE TABLE marks")+1] = 1
	write(t, path, spoilt)
	if db, err := openDB(t.Context(), path, options{}); err == nil {
		closeDB(t, db)
		t.Fatal("a ratchet without a schema is open")
	}
	write(t, path, whole)
	marks, err := open(t, path, options{}).Marks(t.Context())
	if err != nil || len(marks) != 1 || marks[0].Level < 2 {
		t.Errorf("marks %+v, %v, want level 2 or higher", marks, err)
	}
}
