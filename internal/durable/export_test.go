package durable

import (
	"os"
	"testing"
)

// OnSync has f called instead of fsync(2) until the test ends.
func OnSync(t *testing.T, f func(*os.File) error) {
	t.Helper()
	was := fsync
	t.Cleanup(func() { fsync = was })
	fsync = f
}
