package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pawl/internal/audit"
	"pawl/tezos"
)

// patience is how long a slow machine may take for anything.
const patience = 20 * time.Second

// newRatchet is the path of something that has an owner, as a ratchet has.
func newRatchet(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ratchet.db")
	write(t, path, nil)
	return path
}

func open(t *testing.T, path string, options audit.Options) *audit.Log {
	t.Helper()
	l, err := audit.Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLog(t *testing.T, l *audit.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// session opens a trail, adds so many events and closes it.
func session(t *testing.T, path string, options audit.Options, events int) {
	t.Helper()
	l := open(t, path, options)
	for i := range events {
		l.Add(signed(i))
	}
	closeLog(t, l)
}

// signed is an event of a level.
func signed(level int) audit.Event {
	return audit.Event{
		Name: audit.Signed, Key: tezos.PublicKeyHash{2, 1}, ChainID: tezos.ChainID{1, 2, 3, 4},
		Kind: tezos.Attestation, Level: int32(level), Digest: tezos.DigestOf(fmt.Append(nil, level)),
	}
}

// await waits until cond holds.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("not %s", what)
		}
	}
}

// fits wants a whole trail of so many lines.
func fits(t *testing.T, path string, lines int) audit.Result {
	t.Helper()
	result, err := audit.Verify(path, "")
	if err != nil || result.Damage != nil || result.Lines != uint64(lines) {
		t.Fatalf("Verify: %+v (%v), %v, want %d lines that fit", result, result.Damage, err, lines)
	}
	return result
}

// said is a line of a trail.
type said struct {
	Seq            uint64
	Event          string
	Level          int
	Count          uint64
	Reason, Detail string
}

// events are the lines of a file.
func events(t *testing.T, path string) (all []said) {
	t.Helper()
	for line := range bytes.Lines(read(t, path)) {
		var s said
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, s)
	}
	return all
}

// names are the events of lines, in order, with their reasons.
func names(all []said) (text string) {
	for _, s := range all {
		text += " " + s.Event
		if s.Reason != "" {
			text += "(" + s.Reason + ")"
		}
	}
	return text
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func present(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// copied copies the folder of a ratchet, and returns the path of the copy.
func copied(t *testing.T, path string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(folder, os.DirFS(filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, filepath.Base(path))
}
