package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pawl/internal/durable"
)

func lock(t *testing.T, dir string) (unlock func()) {
	t.Helper()
	unlock, err := durable.LockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	return unlock
}

func TestLockFolderWaitsForTheOther(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := lock(t, dir)
	var released atomic.Bool
	go func() {
		time.Sleep(100 * time.Millisecond)
		released.Store(true)
		first()
	}()
	second := lock(t, dir)
	defer second()
	if !released.Load() {
		t.Error("two have the lock at once")
	}
}

func TestLockFolderWaitsASecondAtMost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	defer lock(t, dir)()
	start := time.Now()
	unlock, err := durable.LockFolder(dir)
	if unlock != nil || !errors.Is(err, unix.EWOULDBLOCK) || !strings.Contains(err.Error(), "lock "+dir) {
		t.Fatalf("got %v", err)
	}
	if took := time.Since(start); took < time.Second || took > 10*time.Second {
		t.Errorf("gave up after %v", took)
	}
}

// The files in the folder may be replaced under the lock, and it needs no write permission.
func TestLockFolderWritesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock(t, dir)()
	if names := namesIn(t, dir); len(names) > 0 {
		t.Errorf("the folder holds %q", names)
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700) //nolint:errcheck // so that it can be removed
	lock(t, dir)()
	if _, err := durable.LockFolder(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such folder: %v", err)
	}
}
