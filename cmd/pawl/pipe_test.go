package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Whatever file of a command is a pipe into which nobody writes: it waits, until it is
// interrupted.
func TestInterruptAtAPipe(t *testing.T) {
	t.Parallel()
	config := (&faultyCard{}).serve(t)
	encrypted := secretFile(t, "edesk1uiM6BaysskGto8pRtzKQqFqsy1sea1QRjTzaQYuBxYNhuN6eqEU78TGRXZocsVRJYcN7AaU9JDykwUd8KW")
	for name, args := range map[string][]string{
		"import":     {"import", "--config", config, "--dir", t.TempDir(), "--from"},
		"passphrase": {"import", "--config", config, "--dir", t.TempDir(), "--from", encrypted, "--passphrase-file"},
		"seed":       {"seed", "--config", config, "--out", filepath.Join(t.TempDir(), "seed"), "--from"},
		"derive":     {"derive", "tz1", "m/0h", "--config", config, "--dir", t.TempDir(), "--seed"},
		"inspect":    {"inspect"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipe := filepath.Join(t.TempDir(), "pipe")
			if err := unix.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			ended := make(chan error, 1)
			go func() {
				var out bytes.Buffer
				ended <- run(ctx, append(append([]string{"pawl", "keys"}, args...), pipe), &out, &out)
			}()
			writer := awaitReader(t, pipe)
			defer writer.Close() //nolint:errcheck // nothing was written
			interrupt()
			select {
			case err := <-ended:
				if err == nil || err.Error() != "interrupted" {
					t.Errorf("%v, want interrupted", err)
				}
			case <-time.After(patience):
				t.Error("it waits on")
			}
		})
	}
}

// awaitReader opens the pipe for writing once somebody is about to read it.
func awaitReader(t *testing.T, pipe string) *os.File {
	t.Helper()
	for start := time.Now(); time.Since(start) < patience; time.Sleep(time.Millisecond) {
		writer, err := os.OpenFile(pipe, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			return writer
		}
		if !errors.Is(err, unix.ENXIO) {
			t.Fatal(err)
		}
	}
	t.Fatal("nobody reads the pipe")
	return nil
}
