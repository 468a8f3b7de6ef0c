package sqlite_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// shell reads the file with SQLite alone, which copies the -wal into it and removes it.
func shell(t *testing.T, path string) {
	t.Helper()
	if out := runChild(t, "shell", path); !strings.HasPrefix(out, "generation") || present(t, path+"-wal") {
		t.Fatalf("the shell said %q and left a -wal: %t", out, present(t, path+"-wal"))
	}
}

// emptyWAL leaves the very -wal, empty, as a shell's own checkpoint does.
func emptyWAL(t *testing.T, path string) {
	t.Helper()
	kept := path + "-name"
	if err := os.Link(path+"-wal", kept); err != nil {
		t.Fatal(err)
	}
	shell(t, path)
	if err := errors.Join(os.Rename(kept, path+"-wal"), os.Truncate(path+"-wal", 0)); err != nil {
		t.Fatal(err)
	}
}

// TestWholeWithoutItsWAL: a database shell has read the file of a process that was killed. All rows are in it,
// and the note of the last mark says so.
func TestWholeWithoutItsWAL(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*testing.T, string){
		"read by a shell":                      shell,
		"read twice":                           func(t *testing.T, path string) { t.Helper(); shell(t, path); shell(t, path) },
		"its -wal emptied by a shell":          emptyWAL,
		"another -wal, empty, left by a shell": func(t *testing.T, path string) { t.Helper(); shell(t, path); write(t, path+"-wal", nil) },
		"read by a shell, opened and killed":   func(t *testing.T, path string) { t.Helper(); shell(t, path); runChild(t, "killed", path) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := left(t, killed)
			change(t, path)
			_, examined := sqlite.Examine(t.Context(), path)
			held, err := sqlite.Read(t.Context(), path)
			if examined != nil || err != nil || len(held.Marks) != 1 || held.Marks[0].Level < 2 {
				t.Errorf("Examine: %v, Read: %+v, %v, want level 2 or higher", examined, held.Marks, err)
			}
			db := open(t, path, options{})
			level := held.Marks[0].Level
			if again := mustSign(t, db, block(level, 0), bytesNumber(int(level))); !again.Stored || db.Finding().Verdict != sqlite.InPlace {
				t.Errorf("verdict %v, %+v, want in place and the stored signature", db.Finding().Verdict, again)
			}
		})
	}
}

// TestNotWholeWithoutItsWAL: without proof the file is refused, again and again, and the words say what is
// missing.
func TestNotWholeWithoutItsWAL(t *testing.T) {
	t.Parallel()
	gone := func(t *testing.T, path string) {
		t.Helper()
		if err := os.Remove(path + "-wal"); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(*testing.T, string)
		want   string
	}{
		"the -wal removed": {gone, "rows are not the"},
		"the -wal emptied": {func(t *testing.T, path string) {
			t.Helper()
			if err := os.Truncate(path+"-wal", 0); err != nil {
				t.Fatal(err)
			}
		}, "rows are not the"},
		"read by a shell, no note": {func(t *testing.T, path string) {
			t.Helper()
			shell(t, path)
			if err := os.Remove(path + "-last"); err != nil {
				t.Fatal(err)
			}
		}, "-last does not tell"},
		"read by a shell, the note of another start of the host": {func(t *testing.T, path string) {
			t.Helper()
			shell(t, path)
			if err := sqlite.SetBoot(path, "11111111-2222-3333-4444-555555555555"); err != nil {
				t.Fatal(err)
			}
		}, "the host was started since"},
		"read by a shell, a row removed": {func(t *testing.T, path string) {
			t.Helper()
			alter(t, path, "DELETE FROM registrations")
		}, "of different times"},
		"a registration after the last mark": {func(t *testing.T, path string) {
			t.Helper()
			runChild(t, "registers", path)
			gone(t, path)
		}, "rows are not the"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := left(t, killed)
			c.change(t, path)
			_, examined := sqlite.Examine(t.Context(), path)
			_, read := sqlite.Read(t.Context(), path)
			_, opened := openDB(t.Context(), path, options{})
			_, again := openDB(t.Context(), path, options{})
			for _, err := range []error{examined, read, opened, again} {
				if !errors.Is(err, ratchet.ErrSuspect) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v, want %v and %q", err, ratchet.ErrSuspect, c.want)
				}
			}
		})
	}
}

// registerAndDie signs, rests, so that all is in the file, registers a chain, and kills its own process.
func registerAndDie(path string) error {
	db, err := openDB(context.Background(), path, options{})
	if err != nil {
		return err
	}
	if err := signNext(db); err != nil {
		return err
	}
	db.IdleCheckpoint()
	if err := db.Register(context.Background(), baker, ghostnet, 1000); err != nil {
		return err
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}
