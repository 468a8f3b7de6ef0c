package main

import (
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// oddCommand is `odd FILE NAME FLAGS…`: with a pipe to which nobody writes, a device without end or a
// folder in the place of FILE, serve and check of d/keys.json end at once, and their error names it.
func oddCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: odd FILE NAME FLAGS…")
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.Rename(path, path+".kept"))
	for _, place := range []func() error{
		func() error { return unix.Mkfifo(path, 0o600) },
		func() error { return os.Symlink("/dev/zero", path) },
		func() error { return os.Mkdir(path, 0o700) },
	} {
		ts.Check(place())
		serve := []string{"1", "pawl", "serve", "--config", "d/keys.json", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}
		exitsCommand(ts, false, append(serve, args[2:]...))
		if said := ts.ReadFile("stderr"); !strings.Contains(said, args[0]) || !strings.Contains(said, args[1]) ||
			!strings.Contains(said, "not a regular file") {
			ts.Fatalf("serve says of %s, which is odd: %s", args[0], said)
		}
		exitsCommand(ts, false, append([]string{"1", "pawl", "check", "--config", "d/keys.json"}, args[2:]...))
		if said := ts.ReadFile("stdout"); !strings.Contains(said, args[0]) || !strings.Contains(said, "not a regular file") {
			ts.Fatalf("check says of %s, which is odd: %s", args[0], said)
		}
		ts.Check(os.Remove(path))
	}
	ts.Check(os.Rename(path+".kept", path))
}
