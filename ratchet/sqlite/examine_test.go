package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// folderOf returns the content of every file in the folder of a ratchet.
func folderOf(t *testing.T, path string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(path), entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(content)
	}
	return files
}

// examined calls Examine, and checks that no file was changed, made or removed.
func examined(t *testing.T, path string) (sqlite.Examination, error) {
	t.Helper()
	before := folderOf(t, path)
	e, err := sqlite.Examine(t.Context(), path)
	after := folderOf(t, path)
	for name, content := range after {
		if before[name] != content {
			t.Errorf("%s was changed", name)
		}
	}
	if len(before) != len(after) {
		t.Errorf("there were %d files, now there are %d", len(before), len(after))
	}
	return e, err
}

func closedRatchet(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ratchet.db")
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	db, err := openDB(t.Context(), path, options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Register(t.Context(), baker, mainnet, 7), db.RegisterNew(t.Context(), keyNumber(2))); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Sign(t.Context(), block(8, 0), bytesNumber(1), (&card{}).Sign(bytesNumber(1))); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExamineTellsOfAClosedRatchet(t *testing.T) {
	t.Parallel()
	path := closedRatchet(t)
	for range 2 {
		e, err := examined(t, path)
		if err != nil {
			t.Fatal(err)
		}
		if !e.Clean || e.Marks != 1 || e.FileSystem == "" {
			t.Errorf("%+v", e)
		}
		want := []ratchet.Registration{
			{Key: baker, ChainID: mainnet, FromLevel: 7},
			{Key: keyNumber(2), AnyChain: true},
		}
		if !slices.Equal(e.Registrations, want) {
			t.Errorf("registrations %+v, want %+v", e.Registrations, want)
		}
	}
	db, err := openDB(t.Context(), path, options{})
	if err != nil {
		t.Fatalf("opening what was examined: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestExamineRefusesWhatOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(path string) error
		want   error // nil: any
		text   string
	}{
		"missing":   {os.Remove, ratchet.ErrMissing, "pawl ratchet init"},
		"a journal": {func(path string) error { return os.WriteFile(path+"-journal", nil, 0o600) }, ratchet.ErrSuspect, "unexpected -journal file"},
		"two names": {func(path string) error { return os.Link(path, path+".2") }, ratchet.ErrSuspect, "2 names"},
		"foreign":   {func(path string) error { return os.WriteFile(path, []byte("foreign"), 0o600) }, nil, "is not a ratchet file"},
		"a link": {
			func(path string) error {
				return errors.Join(os.Rename(path, path+".db"), os.Symlink(path+".db", path))
			}, nil, "symbolic link",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := closedRatchet(t)
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
			_, err := examined(t, path)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v, want %v: %s", err, test.want, test.text)
			}
			db, opened := openDB(t.Context(), path, options{})
			if opened == nil {
				t.Error("Open takes it")
				_ = db.Close()
			}
		})
	}
}

// TestExamineFindsWhatOpenFinds: what fences keys is told before a start.
func TestExamineFindsWhatOpenFinds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(path string) error
		want   sqlite.Verdict
		text   string
	}{
		"a copy": {copyOver, sqlite.Moved, "is another file than the one last used: a copy, a restored backup"},
		"a -wal": {
			func(path string) error { return os.WriteFile(path+"-wal", []byte("x"), 0o600) },
			sqlite.RolledBack, "has a -wal with content",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := closedRatchet(t)
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
			got, err := examined(t, path)
			db := open(t, path, options{})
			for _, found := range []sqlite.Finding{got.Finding, db.Finding()} {
				if err != nil || found.Verdict != test.want || !strings.Contains(found.Text, test.text) {
					t.Errorf("%+v, %v, want %v: %s", found, err, test.want, test.text)
				}
			}
			wantFenced(t, db, test.want.Cause())
		})
	}
}

// copyOver replaces the file by a copy of itself.
func copyOver(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path+".copy", content, 0o600), os.Rename(path+".copy", path))
}

// TestExamineTellsOfAKilledRatchet: Open would take the file of a process that was killed. Examine tells
// nothing of its content, because a part of it is in the -wal.
func TestExamineTellsOfAKilledRatchet(t *testing.T) {
	t.Parallel()
	path := left(t, killed)
	e, err := examined(t, path)
	if err != nil || e.Clean || e.Marks != 0 || e.Registrations != nil {
		t.Errorf("%+v, %v", e, err)
	}
	if err := os.Remove(path + "-wal"); err != nil {
		t.Fatal(err)
	}
	if _, err := examined(t, path); !errors.Is(err, ratchet.ErrSuspect) {
		t.Errorf("without its -wal: %v", err)
	}
}

// TestExamineLeavesADaemonAlone: of a file in use Examine tells only that, and does not disturb its user.
func TestExamineLeavesADaemonAlone(t *testing.T) {
	t.Parallel()
	path := closedRatchet(t)
	db, err := openDB(t.Context(), path, options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for n := range 20 {
		e, err := sqlite.Examine(t.Context(), path)
		if !errors.Is(err, ratchet.ErrLocked) || e.FileSystem == "" || e.Marks != 0 {
			t.Fatalf("%+v, %v", e, err)
		}
		level := int32(10 + n)
		if _, err := db.Sign(t.Context(), block(level, 0), bytesNumber(n), (&card{}).Sign(bytesNumber(n))); err != nil {
			t.Fatalf("after it was examined: %v", err)
		}
	}
}

func TestExamineSeesADatabaseShell(t *testing.T) {
	t.Parallel()
	path := closedRatchet(t)
	conn, err := openPool(t, "file:"+path+"?mode=rw").Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Examine(t.Context(), path); !errors.Is(err, ratchet.ErrLocked) {
		t.Errorf("%v, want %v", err, ratchet.ErrLocked)
	}
}

// TestExamineOfABusyRatchet: a ratchet that is opened and closed all the time is in use or fine, never damaged.
func TestExamineOfABusyRatchet(t *testing.T) {
	t.Parallel()
	path := closedRatchet(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 40 {
			db, err := openDB(context.Background(), path, options{})
			if errors.Is(err, ratchet.ErrLocked) { // by an examination, for a moment
				continue
			}
			if err != nil {
				t.Error(err)
				return
			}
			d := bytesNumber(n)
			if _, err := db.Sign(context.Background(), block(int32(100+n), 0), d, (&card{}).Sign(d)); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	locked := 0
	for {
		_, err := sqlite.Examine(t.Context(), path)
		switch {
		case errors.Is(err, ratchet.ErrLocked):
			locked++
		case err != nil:
			t.Fatal(err)
		}
		select {
		case <-done:
			t.Logf("found in use %d times", locked)
			return
		case <-time.After(100 * time.Microsecond):
		}
	}
}

// TestExamineForgetsWhatItSawInUse: what Examine saw while another process had the lock does not count,
// such as a -wal that would be suspect in a closed ratchet.
func TestExamineForgetsWhatItSawInUse(t *testing.T) {
	t.Parallel()
	path := closedRatchet(t)
	done := make(chan string, 1)
	go func() { done <- runChild(t, "flicker", path) }()
	for {
		if _, err := sqlite.Examine(t.Context(), path); err != nil && !errors.Is(err, ratchet.ErrLocked) {
			t.Error(err)
		}
		select {
		case out := <-done:
			if out != "" {
				t.Error(out)
			}
			return
		default:
		}
	}
}

// flicker takes the lock and makes a stray -wal, and undoes both, again and again.
func flicker(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	for range 200 {
		if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil { // else it is examined
			err = errors.Join(err, os.WriteFile(path+"-wal", []byte("x"), 0o600))
			time.Sleep(5 * time.Millisecond)
			err = errors.Join(err, os.Remove(path+"-wal"), unix.Flock(int(file.Fd()), unix.LOCK_UN))
		}
		time.Sleep(100 * time.Microsecond)
	}
	return err
}

// TestExamineKeepsNoLock: Examine holds no lock when it returns.
func TestExamineKeepsNoLock(t *testing.T) {
	t.Parallel()
	path := closedRatchet(t)
	if _, err := sqlite.Examine(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("the lock is held: %v", err)
	}
}

// TestAnEndedContextIsNoDefectOfTheFile: an operator must not throw the file away because ctx has ended.
func TestAnEndedContextIsNoDefectOfTheFile(t *testing.T) {
	t.Parallel()
	path, foreign := closedRatchet(t), filepath.Join(t.TempDir(), "other.db")
	if _, err := openPool(t, "file:"+foreign).ExecContext(t.Context(), "CREATE TABLE signature (a)"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, foreign} {
		_, examined := sqlite.Examine(canceled(t), path)
		_, opened := openDB(canceled(t), path, options{})
		for _, err := range []error{examined, opened} {
			if !errors.Is(err, context.Canceled) || errors.Is(err, ratchet.ErrSuspect) || strings.Contains(err.Error(), "init") {
				t.Errorf("%s: %v, want %v", path, err, context.Canceled)
			}
		}
	}
	if err := open(t, path, options{}).Close(); err != nil {
		t.Error(err)
	}
}

func TestSettingsAreThoseOfTheStore(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"journal_mode=wal", "synchronous=2", "locking_mode=exclusive"} {
		if !slices.Contains(sqlite.Settings(), want) {
			t.Errorf("%v lacks %s", sqlite.Settings(), want)
		}
	}
}
