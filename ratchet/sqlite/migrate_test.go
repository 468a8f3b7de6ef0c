package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pawl/ratchet/sqlite"
)

// TestMigrationsAreInOrder: they lead from the first schema to that of this pawl, one version a step.
func TestMigrationsAreInOrder(t *testing.T) {
	t.Parallel()
	version := 1
	for _, to := range sqlite.Migrations() {
		if to != version+1 {
			t.Errorf("a migration leads from version %d to %d", version, to)
		}
		version = to
	}
	if version != sqlite.SchemaVersion {
		t.Errorf("the migrations lead to version %d, this pawl writes %d", version, sqlite.SchemaVersion)
	}
}

// TestUpgradeOnAFullDisk: an upgrade that finds no room fails, and the next one, when there is room, has every row.
func TestUpgradeOnAFullDisk(t *testing.T) {
	t.Parallel()
	refused, done := 0, false
	for pages := 0; !done && pages < 100; pages++ {
		path := onTmpfs(t, "size=1M")
		if err := sqlite.Create(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		db := open(t, path, options{})
		register(t, db, baker, mainnet, 1)
		mustSign(t, db, block(10, 1), bytesNumber(0))
		marks, registrations := contents(t, db)
		closeDB(t, db)
		unseal(t, path)
		filler := fillAllBut(t, filepath.Dir(path), pages)
		db, err := openDB(t.Context(), path, options{})
		if done = err == nil; !done {
			refused++
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			if db, err = openDB(t.Context(), path, options{}); err != nil {
				t.Fatalf("%d pages free, and then all: %v", pages, err)
			}
		}
		gotMarks, gotRegistrations := contents(t, db)
		if diff := cmp.Diff(timeless(marks), gotMarks, sameSignature) + cmp.Diff(registrations, withoutFences(gotRegistrations)); diff != "" {
			t.Errorf("%d pages free (-before +after):\n%s", pages, diff)
		}
		closeDB(t, db)
	}
	if refused < 3 || !done {
		t.Errorf("refused %d times, then done: %t; want more, and it done", refused, done)
	}
}

// fillAllBut leaves so many pages free on a file system, and returns the file that takes all others.
func fillAllBut(t *testing.T, folder string, pages int) string {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "filler")
	write(t, path, make([]byte, (int64(st.Bfree)-int64(pages))*st.Bsize))
	return path
}
