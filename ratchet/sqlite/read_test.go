package sqlite_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// state is all that a reader must not change: names, contents and times of the files beside path.
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

// Not parallel: the folder of temporary files is the process's.
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

// What Open refuses, Read refuses too, and damage is told.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	if _, err := sqlite.Read(t.Context(), filepath.Join(t.TempDir(), "none.db")); !errors.Is(err, ratchet.ErrMissing) {
		t.Errorf("no file: %v, want %v", err, ratchet.ErrMissing)
	}
	path := left(t, closed)
	content := read(t, path)
	write(t, path+"-copy", content)
	if _, err := sqlite.Read(t.Context(), path+"-copy"); !errors.Is(err, ratchet.ErrSuspect) {
		t.Errorf("a copy: %v, want %v", err, ratchet.ErrSuspect)
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

// TestVerdicts: what an opening finds out is a kind, for programs, and a text with the way out, for
// people.
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
		"closed, without note": {closed, remove("-last"), sqlite.Unwitnessed},
		"killed, without note": {killed, remove("-last"), sqlite.Unwitnessed},
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
			store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
			if err == nil {
				if got := store.Verdict(); got != c.want {
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
