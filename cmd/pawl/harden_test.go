package main

import (
	"context"
	"io"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Not parallel: what it looks at belongs to the whole process, so it runs
// before the tests that are.
func TestCommandsWithSecretsAreNotDumpable(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	nowhere := filepath.Join(t.TempDir(), "nowhere", "d")
	for _, args := range [][]string{
		{"pawl", "serve", "--config", nowhere},
		{"pawl", "demo", "--dir", nowhere, "--card", "127.0.0.1:0"},
		{"pawl", "keys", "import", "--config", nowhere},
		{"pawl", "keys", "seed", "--config", nowhere, "--out", nowhere},
	} {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		_ = run(ctx, args, io.Discard, io.Discard) // it has nothing to serve
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil || dumpable != 0 {
			t.Errorf("%v: PR_GET_DUMPABLE says %d, %v", args, dumpable, err)
		}
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 {
			t.Errorf("%v: RLIMIT_CORE is %d, %v", args, limit.Cur, err)
		}
	}
}
