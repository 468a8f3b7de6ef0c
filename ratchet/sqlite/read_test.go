package sqlite_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
)

// state returns all that a reader must not change: names, contents and times of the files beside path.
func state(t *testing.T, path string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		content := read(t, filepath.Join(filepath.Dir(path), entry.Name()))
		files[entry.Name()] = info.ModTime().String() + string(content)
	}
	return files
}

// TestReadChangesNothing is not parallel: the folder of temporary files is the process's.
func TestReadChangesNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for name, stop := range map[string]func(*testing.T, string){"closed": closed, "killed": killed} {
		path := left(t, stop)
		before := state(t, path)
		all, err := sqlite.Read(t.Context(), path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		level := map[string]int32{"closed": 1, "killed": 2}[name] // the last one is in the -wal alone
		if len(all.Marks) != 1 || all.Marks[0].Mark != block(level, 0) || all.Marks[0].Signature == nil {
			t.Errorf("%s: marks %+v, want one of level %d with its signature", name, all.Marks, level)
		}
		want := []ratchet.Registration{{Key: baker, ChainID: mainnet}}
		if !slices.Equal(all.Registrations, want) {
			t.Errorf("%s: registrations %+v, want %+v", name, all.Registrations, want)
		}
		for file, content := range state(t, path) {
			if before[file] != content {
				t.Errorf("%s: %s has changed", name, file)
			}
		}
		if rest, err := os.ReadDir(temp); err != nil || len(rest) != 0 {
			t.Errorf("%s: %v is left in the folder of temporary files, %v", name, rest, err)
		}
		db := open(t, path, options{}) // the same file is taken as if nobody had looked
		if got := mustSign(t, db, block(level, 0), bytesNumber(int(level))); !got.Stored {
			t.Errorf("%s: after a reader the stored signature is lost", name)
		}
		if _, err := sqlite.Read(t.Context(), path); !errors.Is(err, ratchet.ErrLocked) {
			t.Errorf("%s: beside an open store: %v, want %v", name, err, ratchet.ErrLocked)
		}
		closeDB(t, db)
	}
}

// TestReadRefuses: Read refuses what Open refuses.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	if _, err := sqlite.Read(t.Context(), filepath.Join(t.TempDir(), "none.db")); !errors.Is(err, ratchet.ErrMissing) {
		t.Errorf("no file: %v, want %v", err, ratchet.ErrMissing)
	}
	path := left(t, closed)
	content := read(t, path)
	write(t, path+"-copy", content)
	if held, err := sqlite.Read(t.Context(), path+"-copy"); err != nil || held.Finding.Verdict != sqlite.Moved {
		t.Errorf("a copy: %+v, %v, want it %v", held.Finding, err, sqlite.Moved)
	}
	alter(t, path, "UPDATE marks SET level = level - 1")
	if _, err := sqlite.Read(t.Context(), path); !errors.Is(err, ratchet.ErrSuspect) {
		t.Errorf("a changed row: %v, want %v", err, ratchet.ErrSuspect)
	}
	write(t, path, bytes.Repeat([]byte{7}, 8192))
	if _, err := sqlite.Read(t.Context(), path); err == nil {
		t.Error("no database: read")
	}
}

// TestReadWithoutATemporaryFolder: an empty container image has none. The copy is then made beside the
// file, and taken away again. Not parallel: the folder of temporary files is the process's.
func TestReadWithoutATemporaryFolder(t *testing.T) {
	paths := map[int32]string{1: left(t, closed), 2: left(t, killed)}
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	for level, path := range paths {
		before := state(t, path)
		all, err := sqlite.Read(t.Context(), path)
		if err != nil || len(all.Marks) != 1 || all.Marks[0].Level != level {
			t.Errorf("got %+v, %v, want a mark of level %d", all.Marks, err, level)
		}
		if !maps.Equal(before, state(t, path)) {
			t.Error("the folder of the file has changed")
		}
	}
}

// TestReadSeesAnOpening: what was read while another process had opened the file, signed and closed it
// again is read once more. One that does so every time is told.
func TestReadSeesAnOpening(t *testing.T) {
	t.Parallel()
	for openings, good := range map[int]bool{0: true, 1: true, 2: false} {
		path := left(t, closed)
		reads := 0
		err := sqlite.WhileUnused(t.Context(), path, func() error {
			if reads++; reads <= openings {
				runChild(t, "sign", path)
			}
			return nil
		})
		if (err == nil) != good || reads != min(openings+1, 2) {
			t.Errorf("%d openings: %v after %d reads", openings, err, reads)
		}
	}
}

// TestReadSeesAnOpenFile: what was read while the file was being opened is nothing.
func TestReadSeesAnOpenFile(t *testing.T) {
	t.Parallel()
	path := left(t, closed)
	var stop func()
	err := sqlite.WhileUnused(t.Context(), path, func() error { _, stop = startHolder(t, path); return nil })
	if !errors.Is(err, ratchet.ErrLocked) {
		t.Errorf("got %v, want %v", err, ratchet.ErrLocked)
	}
	stop()
}

// TestReadMissesTheLastMark: a reader tells that the last mark is missing, as Open does: the marks are what an
// operator goes by.
func TestReadMissesTheLastMark(t *testing.T) {
	t.Parallel()
	path := left(t, closed)
	backup := read(t, path)
	runChild(t, "sign", path)
	write(t, path, backup)
	held, errRead := sqlite.Read(t.Context(), path)
	examined, errExamine := sqlite.Examine(t.Context(), path)
	if err := errors.Join(errRead, errExamine); err != nil {
		t.Fatal(err)
	}
	for _, found := range []sqlite.Finding{held.Finding, examined.Finding} {
		if found.Verdict != sqlite.RolledBack {
			t.Errorf("got %+v, want %v", found, sqlite.RolledBack)
		}
	}
}

// TestReadOfTwoNames: an opening that was killed may leave the -wal with two names. Two files under
// them are refused, and so is a copy of the database beside them.
func TestReadOfTwoNames(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(t *testing.T, path string)
		good   bool
	}{
		"two names": {func(t *testing.T, path string) { t.Helper(); link(t, path+"-wal", path+"-kept") }, true},
		"the second name alone": {func(t *testing.T, path string) {
			t.Helper()
			if err := os.Rename(path+"-wal", path+"-kept"); err != nil {
				t.Fatal(err)
			}
		}, true},
		"two files": {func(t *testing.T, path string) { t.Helper(); write(t, path+"-kept", read(t, path+"-wal")) }, false},
		"a copy": {func(t *testing.T, path string) {
			t.Helper()
			link(t, path+"-wal", path+"-kept")
			if err := copyOver(path); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := left(t, killed)
			test.change(t, path)
			all, err := sqlite.Read(t.Context(), path)
			if (err == nil) != test.good || !test.good && !errors.Is(err, ratchet.ErrSuspect) {
				t.Errorf("Read: %v", err)
			}
			if test.good && (len(all.Marks) != 1 || all.Marks[0].Level != 2) {
				t.Errorf("marks %+v, want level 2", all.Marks)
			}
			db, err := openDB(t.Context(), path, options{})
			if (err == nil) != test.good {
				t.Fatalf("Open: %v", err)
			}
			if err == nil {
				closeDB(t, db)
			}
		})
	}
}

func link(t *testing.T, path, second string) {
	t.Helper()
	if err := os.Link(path, second); err != nil {
		t.Fatal(err)
	}
}

// TestVerdicts: what Open finds out about a file is a verdict, for programs, and a text, for people.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	remove := func(suffix string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.Remove(path + suffix); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		stop, change func(*testing.T, string)
		want         sqlite.Verdict
	}{
		"closed":               {closed, closed, sqlite.InPlace},
		"killed":               {killed, closed, sqlite.InPlace},
		"closed, without note": {closed, remove("-last"), sqlite.InPlace},
		"killed, without note": {killed, remove("-last"), sqlite.InPlace},
		"without witness": {killed, func(t *testing.T, path string) {
			t.Helper()
			if err := os.RemoveAll(ratchettest.WitnessOf(path)); err != nil {
				t.Fatal(err)
			}
		}, sqlite.Unwitnessed},
		"killed, -wal removed": {killed, remove("-wal"), sqlite.Lost},
		"a copy in its place": {closed, func(t *testing.T, path string) {
			t.Helper()
			write(t, path+"-new", read(t, path))
			if err := os.Rename(path+"-new", path); err != nil {
				t.Fatal(err)
			}
		}, sqlite.Moved},
		"a journal": {closed, func(t *testing.T, path string) { t.Helper(); write(t, path+"-journal", nil) }, sqlite.Moved},
		"older content": {func(t *testing.T, path string) {
			t.Helper()
			backup := read(t, path)
			runChild(t, "sign", path)
			write(t, path, backup)
		}, closed, sqlite.RolledBack},
		"a changed row": {closed, func(t *testing.T, path string) {
			t.Helper()
			alter(t, path, "UPDATE marks SET round = 7")
		}, sqlite.Lost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := left(t, c.stop)
			c.change(t, path)
			store, err := sqlite.Open(t.Context(), path, sqlite.Options{Witness: ratchettest.WitnessOf(path)})
			if err == nil {
				if got := store.Finding().Verdict; got != c.want {
					t.Errorf("opened with verdict %v, want %v", got, c.want)
				}
				if err := store.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			found, ok := errors.AsType[*sqlite.VerdictError](err)
			if !ok || found.Verdict != c.want || !errors.Is(err, ratchet.ErrSuspect) {
				t.Errorf("got %v, verdict %+v, want %v", err, found, c.want)
			}
		})
	}
}

// TestReadNeedsTheNote: what is in the place of the note of the last mark cannot be read, and so it cannot be
// told whether that mark is there.
func TestReadNeedsTheNote(t *testing.T) {
	t.Parallel()
	path := sealedFile(t)
	if err := os.Remove(path + "-last"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", path+"-last"); err != nil {
		t.Fatal(err)
	}
	if all, err := sqlite.Read(t.Context(), path); err == nil {
		t.Errorf("read %+v, want an error", all)
	}
}
