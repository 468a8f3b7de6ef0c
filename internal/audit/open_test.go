package audit_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pawl/internal/audit"
)

// TestIncompleteEnd: what a kill or a power cut left of the last lines is cut off, and a line tells. Before
// that Verify notes it, and finds no damage.
func TestIncompleteEnd(t *testing.T) {
	t.Parallel()
	made := newRatchet(t)
	session(t, made, audit.Options{}, 3)
	whole := read(t, audit.Path(made))
	last := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	const many = 3 << 20
	for what, rest := range map[string][]byte{
		"a byte":           whole[last : last+1],
		"half a line":      whole[last : last+100],
		"no newline":       whole[last : len(whole)-1],
		"zeros":            make([]byte, 12),
		"many zeros":       make([]byte, many),
		"half a long text": bytes.Repeat([]byte("a"), many),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := copied(t, made)
			write(t, audit.Path(path), append(bytes.Clone(whole[:last]), rest...))
			if notes := fits(t, path, 4).Notes; len(notes) != 2 || notes[0].Line != 5 {
				t.Errorf("notes %+v, want the end and that it is not closed", notes)
			}
			session(t, path, audit.Options{}, 1)
			all := events(t, audit.Path(path))[4:]
			if got := names(all); got != " cut(incomplete) start(not closed) signed stop" || all[0].Count != uint64(len(rest)) {
				t.Errorf("the trail goes on with%s, %d bytes cut, want %d", got, all[0].Count, len(rest))
			}
			fits(t, path, 8)
		})
	}
}

// TestNothingButAnIncompleteLine: the first line was cut off.
func TestNothingButAnIncompleteLine(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	write(t, audit.Path(path), []byte(`{"seq":1,"pre`))
	session(t, path, audit.Options{}, 0)
	if got := names(events(t, audit.Path(path))); got != " cut(incomplete) start(not closed) stop" {
		t.Errorf("the trail has%s", got)
	}
	fits(t, path, 3)
}

// TestDamagedEnd: a file that does not end with a line of a trail is kept under another name, and the trail
// begins anew.
func TestDamagedEnd(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]string{
		"not JSON":     "never\n",
		"another JSON": "{\"a\":1}\n",
		"no prev":      "{\"seq\":1,\"event\":\"stop\"}\n",
		"too long":     strings.Repeat("a", audit.MaxLine) + "\n",
		"no end":       strings.Repeat("a", 5<<20),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := newRatchet(t)
			session(t, path, audit.Options{}, 2)
			for _, moved := range []string{".damaged-1", ".damaged-2"} {
				damaged := string(read(t, audit.Path(path))) + end
				write(t, audit.Path(path), []byte(damaged))
				session(t, path, audit.Options{}, 1)
				if got := string(read(t, audit.Path(path)+moved)); got != damaged {
					t.Errorf("%s is not what the file was", moved)
				}
				all := events(t, audit.Path(path))
				if got := names(all); got != " cut(damaged) start(not closed) signed stop" ||
					!strings.Contains(all[0].Detail, "ratchet.db-audit"+moved) {
					t.Errorf("the trail has%s, %q", got, all[0].Detail)
				}
				if notes := fits(t, path, 4).Notes; len(notes) != 3 {
					t.Errorf("notes %+v, want the new beginning, the start and the files aside", notes)
				}
			}
		})
	}
}

// TestDamagedEndAfterOlderFiles: that the trail begins anew is no note then.
func TestDamagedEndAfterOlderFiles(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	session(t, path, audit.Options{MaxSize: 1000}, 5)
	write(t, audit.Path(path), append(read(t, audit.Path(path)), "never\n"...))
	session(t, path, audit.Options{}, 1)
	result, err := audit.Verify(path, "")
	if err != nil || result.Damage == nil || result.Damage.Fault != audit.Removed || result.Damage.File != audit.Path(path) ||
		result.Damage.Line != 1 || !strings.Contains(result.Damage.Text, "begins anew") {
		t.Errorf("%+v, %v, want that it begins anew", result.Damage, err)
	}
	if result, err := audit.Verify(path, audit.Path(path)); err != nil || result.Damage != nil || result.Lines != 4 {
		t.Errorf("from the new beginning: %+v, %v, want it to fit", result, err)
	}
}

// TestDamagedOlderFile: the newest file is gone, and the one before does not end as it should.
func TestDamagedOlderFile(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]string{"not JSON": "never\n", "empty": ""} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := newRatchet(t)
			write(t, audit.Path(path)+".1", []byte(end))
			session(t, path, audit.Options{}, 1)
			if got := names(events(t, audit.Path(path))); got != " cut(damaged) start(not closed) signed stop" {
				t.Errorf("the trail has%s", got)
			}
			if !present(audit.Path(path)+".damaged-1") || present(audit.Path(path)+".1") {
				t.Error("the damaged file is where it was")
			}
		})
	}
}

// TestTailOnly: the beginning of the file is not looked at.
func TestTailOnly(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	session(t, path, audit.Options{}, 0)
	lines := read(t, audit.Path(path))
	f, err := os.OpenFile(audit.Path(path), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	const far = 1 << 40
	_, err = f.WriteAt(append([]byte("\n"), lines...), far) // after a hole
	if err := errors.Join(err, f.Close()); err != nil {
		t.Skip(err) // no file system for it
	}
	session(t, path, audit.Options{MaxSize: 2 * far}, 0)
	if seq := lastSeq(t, path, far); seq != 4 {
		t.Errorf("the last line is %d, want 4", seq)
	}
}

// lastSeq is the number of the last line from an offset on.
func lastSeq(t *testing.T, path string, offset int64) uint64 {
	t.Helper()
	f, err := os.Open(audit.Path(path))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.NewSectionReader(f, offset+1, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	end := filepath.Join(t.TempDir(), "end")
	write(t, end, text)
	all := events(t, end)
	return all[len(all)-1].Seq
}

// TestFilesThatAreRefused: each error names the file and what to do.
func TestFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(path string) error{
		" is a symbolic link: rm ":                func(path string) error { return os.Symlink("elsewhere", path) },
		": not a regular file: move it away":      func(path string) error { return os.Mkdir(path, 0o700) },
		": not a regular file: move it away/fifo": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"mode 0622 is too open: chmod go-w ": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o622))
		},
		" belongs to user 12345: chown --reference=": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 12345, 12345))
		},
	} {
		want, _, _ = strings.Cut(want, "/")
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			path := newRatchet(t)
			if err := spoil(audit.Path(path)); errors.Is(err, syscall.EPERM) {
				t.Skip("not root")
			} else if err != nil {
				t.Fatal(err)
			}
			l, err := audit.Open(path, audit.Options{})
			if err == nil {
				closeLog(t, l)
			}
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), audit.Path(path)) {
				t.Errorf("Open: %v, want %q and the name", err, want)
			}
		})
	}
}

// TestFileOfTheRatchetsOwner: what root writes is not lost to the service, at a rotation neither.
func TestFileOfTheRatchetsOwner(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	if err := os.Chown(path, 12345, 12346); err != nil {
		t.Skip("not root")
	}
	write(t, audit.Path(path), nil) // root's
	session(t, path, audit.Options{MaxSize: 600}, 5)
	files, err := filepath.Glob(audit.Path(path) + "*")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v, want several files", files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != 12345 || s.Gid != 12346 || info.Mode() != 0o600 {
			t.Errorf("%s belongs to %d and %d, mode %v, want the owner of the ratchet", file, s.Uid, s.Gid, info.Mode())
		}
	}
}
