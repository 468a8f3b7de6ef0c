package durable_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"

	"pawl/internal/durable"
)

func TestReadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "keys.json")
	write(t, path, "12345", 0o640)
	data, info, err := durable.ReadFile(path, 5)
	if err != nil || string(data) != "12345" || info.Mode() != 0o640 || info.Size() != 5 {
		t.Errorf("%q, %v, %v", data, info, err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		path string
		want error
		text string
	}{
		"too large": {path, durable.ErrTooLarge, path + ": larger than 4 bytes"},
		"a pipe":    {pipe, durable.ErrNotRegular, pipe + ": not a regular file"},
		"a folder":  {dir, durable.ErrNotRegular, dir + ": not a regular file"},
		"absent":    {path + "x", fs.ErrNotExist, "open " + path + "x: no such file or directory"},
	} {
		data, info, err := durable.ReadFile(test.path, 4)
		if !errors.Is(err, test.want) || data != nil || info != nil {
			t.Errorf("%s: %q, %v, %v", name, data, info, err)
		} else if err.Error() != test.text {
			t.Errorf("%s: %q, want %q", name, err, test.text)
		}
	}
}

func TestReadPrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	write(t, path, "12345", 0o400)
	if data, err := durable.ReadPrivate(path, 5); err != nil || string(data) != "12345" {
		t.Errorf("%q, %v", data, err)
	}
	if data, err := durable.ReadPrivate(path, 4); !errors.Is(err, durable.ErrTooLarge) || data != nil ||
		err.Error() != path+": larger than 4 bytes" {
		t.Errorf("too large: %q, %v", data, err)
	}
	if _, err := durable.ReadPrivate(path+"x", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	for bit := range 6 {
		if err := os.Chmod(path, 0o600|1<<bit); err != nil {
			t.Fatal(err)
		}
		data, err := durable.ReadPrivate(path, 5)
		open, ok := errors.AsType[*durable.OpenError](err)
		if !ok || data != nil || open.Path != path || open.Mode != 0o600|1<<bit {
			t.Errorf("bit %d: %q, %v", bit, data, err)
		}
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, odd := range []string{pipe, "/dev/zero", "/dev/tty", dir} { // none is waited for, none read without end
		if data, err := durable.ReadPrivate(odd, 5); err == nil || data != nil {
			t.Errorf("%s: %q, %v", odd, data, err)
		}
		if err := durable.CheckRegular(odd); err == nil {
			t.Errorf("%s passes for a regular file", odd)
		}
	}
	if _, err := durable.ReadPrivate(pipe, 5); !errors.Is(err, durable.ErrNotRegular) {
		t.Errorf("a pipe: %v", err)
	}
	if data, err := durable.ReadSecret(path, 5); err != nil || string(data) != "12345" { // of mode 0620 by now
		t.Errorf("without a look at the rights: %q, %v", data, err)
	}
	if err := durable.CheckRegular(path); err != nil {
		t.Error(err)
	}
}

// watched is a reader that keeps the buffers it was given.
type watched struct {
	io.Reader
	buffers [][]byte
}

func (w *watched) Read(p []byte) (int, error) {
	w.buffers = append(w.buffers, p)
	return w.Reader.Read(p)
}

func TestReadAllKeepsNoOtherCopy(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 99, 100} {
		w := &watched{Reader: iotest.OneByteReader(strings.NewReader(strings.Repeat("s", size)))}
		data, err := durable.ReadAll(w, 100)
		if err != nil || string(data) != strings.Repeat("s", size) {
			t.Errorf("%d bytes: %q, %v", size, data, err)
		}
		for _, buffer := range w.buffers {
			if end := &buffer[:cap(buffer)][cap(buffer)-1]; end != &data[:cap(data)][cap(data)-1] {
				t.Errorf("%d bytes: read into another buffer", size)
				break
			}
		}
	}
}

func TestReadAllKeepsNothingOnAnError(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		r    io.Reader
		want error
	}{
		"too large": {strings.NewReader(strings.Repeat("s", 101)), durable.ErrTooLarge},
		"broken":    {io.MultiReader(strings.NewReader("sss"), iotest.ErrReader(errSync)), errSync},
	} {
		w := &watched{Reader: test.r}
		data, err := durable.ReadAll(w, 100)
		if !errors.Is(err, test.want) || data != nil {
			t.Errorf("%s: %q, %v", name, data, err)
		}
		for _, buffer := range w.buffers {
			if strings.Trim(string(buffer), "\x00") != "" {
				t.Errorf("%s: the buffer still holds %q", name, buffer)
			}
		}
	}
}
