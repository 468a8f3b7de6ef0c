package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pawl/ratchet/sqlite"
)

// allocated is how many bytes of the disk a file has.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// canReserve skips a test where the file system of temporary files cannot allocate beyond the end of a file.
func canReserve(t *testing.T, folder string) {
	t.Helper()
	file, err := os.Create(filepath.Join(folder, "probe"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(file.Close(), os.Remove(file.Name())) }()
	if err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20); err != nil {
		t.Skipf("fallocate: %v", err)
	}
}

// TestRoomForTheWAL: the -wal has blocks from the opening on, and its size tells only what is in it. A rest gives
// back what was lost.
func TestRoomForTheWAL(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	canReserve(t, filepath.Dir(path))
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 0)
	wal := path + "-wal"
	if got := allocated(t, wal); got < 4<<20 || size(t, wal) > 1<<20 {
		t.Errorf("the -wal has %d bytes of the disk and a size of %d, want at least 4 MiB and a small one", got, size(t, wal))
	}
	if err := os.Truncate(wal, size(t, wal)); err != nil { // which frees the blocks beyond its end
		t.Fatal(err)
	}
	if got := allocated(t, wal); got > 1<<20 {
		t.Skipf("the blocks cannot be freed: %d bytes are left", got)
	}
	db.IdleCheckpoint()
	if got := allocated(t, wal); got < 4<<20 {
		t.Errorf("after a rest the -wal has %d bytes of the disk, want at least 4 MiB", got)
	}
	closeDB(t, db)
	if present(t, wal) {
		t.Error("Close left the -wal")
	}
}

// TestFullDiskWithRoomForTheWAL: somebody else fills the disk. What signed before goes on, also when the -wal was
// copied and begins anew, and nothing is lost.
func TestFullDiskWithRoomForTheWAL(t *testing.T) {
	t.Parallel()
	path := tmpfsRatchet(t, "size=24m")
	canReserve(t, filepath.Dir(path))
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 0)
	placeLevels(t, db, 1, 1)
	fill(t, path+".filler")
	placeLevels(t, db, 2, 1500) // SQLite checkpoints by itself meanwhile
	db.IdleCheckpoint()
	placeLevels(t, db, 1502, 100)
	if err := errors.Join(db.Trouble(), db.Err()); err != nil {
		t.Errorf("trouble on a disk that others have filled: %v", err)
	}
	abandon(t, db)
	if err := os.Remove(path + ".filler"); err != nil {
		t.Fatal(err)
	}
	if again := mustSign(t, open(t, path, options{}), block(1601, 0), bytesNumber(1601)); !again.Stored {
		t.Error("the last mark is lost")
	}
}

// TestRoomIsNotTakenFromOthers: on a small disk the -wal takes no more than a quarter of what is free.
func TestRoomIsNotTakenFromOthers(t *testing.T) {
	t.Parallel()
	path := tmpfsRatchet(t, "size=2m")
	open(t, path, options{})
	if got := allocated(t, path+"-wal"); got > 1<<19 {
		t.Errorf("the -wal has %d bytes of a disk of 2 MiB, want 512 KiB at most", got)
	}
}

// tmpfsRatchet makes a ratchet on a file system of its own.
func tmpfsRatchet(t *testing.T, how string) string {
	t.Helper()
	path := onTmpfs(t, how)
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// onTmpfs is the path of a ratchet that is not there, on a file system of its own.
func onTmpfs(t *testing.T, how string) string {
	t.Helper()
	folder := t.TempDir()
	if err := unix.Mount("pawl-test", folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, how); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(folder, "ratchet.db")
}
