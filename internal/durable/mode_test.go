package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"pawl/internal/durable"
)

func TestCheckMode(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "folder")
	path := filepath.Join(dir, "file")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, path, "", 0o600)
	for _, test := range []struct {
		path            string
		mode, forbidden fs.FileMode
		remedy          string // none: it passes
	}{
		{path, 0o600, durable.Others, ""},
		{path, 0o700, durable.Others, ""},
		{path, 0o640, durable.Others, "chmod 600 " + path},
		{path, 0o601, durable.Others, "chmod 600 " + path},
		{path, 0o644, durable.OthersRead, "chmod 600 " + path},
		{path, 0o620, durable.OthersRead, ""},
		{path, 0o644, durable.OthersWrite, ""},
		{path, 0o664, durable.OthersWrite, "chmod go-w " + path},
		{path, 0o664 | fs.ModeSticky, durable.OthersWrite, "chmod go-w " + path},
		{dir, 0o755, durable.OthersWrite, ""},
		{dir, 0o775, durable.OthersWrite, "chmod go-w " + dir},
		{dir, 0o755, durable.Others, "chmod 700 " + dir},
		{dir, 0o777 | fs.ModeSticky, durable.OthersWrite, ""},
	} {
		if err := os.Chmod(test.path, test.mode); err != nil {
			t.Fatal(err)
		}
		err := durable.CheckMode(test.path, test.forbidden)
		if test.remedy == "" {
			if err != nil {
				t.Errorf("%v, forbidden %v: %v", test.mode, test.forbidden, err)
			}
			continue
		}
		want := durable.OpenError{Path: test.path, Mode: test.mode.Perm(), Owner: os.Geteuid(), Remedy: test.remedy}
		if open, ok := errors.AsType[*durable.OpenError](err); !ok || *open != want {
			t.Errorf("%v, forbidden %v: %v, want %+v", test.mode, test.forbidden, err, want)
		}
	}
	if err := durable.CheckMode(path+".none", durable.Others); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
}

func TestOpenErrorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	err := &durable.OpenError{Path: "a/key", Mode: 0o644, Owner: 7, Remedy: "chmod 600 a/key"}
	if got, want := err.Error(), "mode 0644 is too open: chmod 600 a/key"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
