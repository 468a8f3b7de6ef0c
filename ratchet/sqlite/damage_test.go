package sqlite_test

import (
	"errors"
	"os"
	"testing"

	"pawl/ratchet"
)

// TestDamageThatNoReadMeetsIsRefused: damage that only a check of the whole file finds, here a wrong count
// of free pages, refuses the file too.
func TestDamageThatNoReadMeetsIsRefused(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	closeDB(t, open(t, path, options{}))
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	const freePagesAt = 36 // https://www.sqlite.org/fileformat.html, "The Database Header"
	_, err = file.WriteAt([]byte{0, 0, 0, 1}, freePagesAt)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := openDB(t.Context(), path, options{}); !errors.Is(err, ratchet.ErrSuspect) {
		t.Errorf("got %v, want %v", err, ratchet.ErrSuspect)
	}
}
