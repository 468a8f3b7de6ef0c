package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// Each thread has given up what it could gain, those that the runtime made before main too.
func TestNoThreadGainsPrivileges(t *testing.T) {
	t.Parallel()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(tasks) < 2 {
		t.Fatal(tasks, err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(filepath.Clean(task))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) { // it has ended
			continue
		}
		for _, want := range []string{"\nNoNewPrivs:\t1\n", "\nUmask:\t0077\n"} {
			if err != nil || !strings.Contains(string(status), want) {
				t.Errorf("%s: %v, has not %q in\n%s", task, err, want, status)
			}
		}
	}
}

func TestVersionOf(t *testing.T) {
	t.Parallel()
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for _, test := range []struct{ stamp, known, archive, want string }{
		{"v1.2.3", "v1.2.4", commit + "\n", "v1.2.3"},
		{"", "v1.2.4", commit + "\n", "v1.2.4"},
		{"", "(devel)", commit + "\n", commit},
		{"", "", commit + "\n", commit},
		{"", "(devel)", "$" + "Format:%H$\n", "(devel)"},
		{"", "", "", "(devel)"},
	} {
		if got := versionOf(test.stamp, test.known, test.archive); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}
