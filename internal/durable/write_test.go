package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pawl/internal/durable"
)

// namesIn lists a folder.
func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// wantFile fails the test unless the file has this content and this mode.
func wantFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("%s: %q, %v, want %q", path, got, err, content)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != mode {
		t.Errorf("%s: %v, %v, want mode %v", path, info, err, mode)
	}
}

func write(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// Not parallel: the umask is the process's.
func TestWriteNewMakesTheFileOfThatMode(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	for _, mode := range []fs.FileMode{0o600, 0o644, 0o640} {
		dir := t.TempDir()
		path := filepath.Join(dir, "key")
		if err := durable.WriteNew(path, []byte("content"), mode); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, "content", mode)
		if names := namesIn(t, dir); !slices.Equal(names, []string{"key"}) {
			t.Errorf("the folder holds %q", names)
		}
	}
}

func TestWriteNewNeverWritesOver(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(path string) error{
		"a file":          func(path string) error { return os.WriteFile(path, []byte("old"), 0o600) },
		"a dangling link": func(path string) error { return os.Symlink("nowhere", path) },
		"a folder":        func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "key")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		err = durable.WriteNew(path, []byte("new"), 0o600)
		exists, ok := errors.AsType[*durable.ExistsError](err)
		if !ok || exists.Path != path || !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v, want an ExistsError", name, err)
		}
		if err == nil || err.Error() != path+" already exists" {
			t.Errorf("%s: %v", name, err)
		}
		after, err := os.Lstat(path)
		if err != nil || !os.SameFile(before, after) || before.Size() != after.Size() {
			t.Errorf("%s is another now: %v, %v", name, after, err)
		}
		if names := namesIn(t, dir); !slices.Equal(names, []string{"key"}) {
			t.Errorf("%s: the folder holds %q", name, names)
		}
	}
}

// syncs records what is on the disk at each fsync(2), and fails the one of number fail.
type syncs struct {
	path string
	fail int // from 1; 0 for none
	seen []string
}

var errSync = errors.New("no space left")

// sync notes what was synced, and the content that path has at that moment.
func (s *syncs) sync(f *os.File) error {
	what := "folder"
	if info, err := f.Stat(); err != nil {
		return err
	} else if info.Mode().IsRegular() {
		content, err := os.ReadFile(f.Name())
		if err != nil {
			return err
		}
		what = "file " + string(content)
	}
	content, err := os.ReadFile(s.path)
	if err != nil {
		content = []byte("absent")
	}
	s.seen = append(s.seen, what+", "+string(content))
	if len(s.seen) == s.fail {
		return errSync
	}
	return f.Sync()
}

// A power cut finds a synced content under the name, or the state before.
func TestContentIsSyncedBeforeTheNameAndTheFolderAfter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	seen := syncs{path: path}
	durable.OnSync(t, seen.sync)
	if err := durable.WriteNew(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Replace(path, []byte("two")); err != nil {
		t.Fatal(err)
	}
	want := []string{"file one, absent", "folder, one", "file two, one", "folder, two"}
	if !slices.Equal(seen.seen, want) {
		t.Errorf("got %q, want %q", seen.seen, want)
	}
}

func TestNothingStaysWhenWriteNewFails(t *testing.T) {
	for fail := range 2 {
		dir := t.TempDir()
		seen := syncs{path: filepath.Join(dir, "key"), fail: fail + 1}
		durable.OnSync(t, seen.sync)
		if err := durable.WriteNew(seen.path, []byte("one"), 0o600); !errors.Is(err, errSync) {
			t.Errorf("sync %d failed: %v", fail, err)
		}
		if names := namesIn(t, dir); len(names) > 0 {
			t.Errorf("sync %d failed: the folder holds %q", fail, names)
		}
	}
	if err := durable.WriteNew(filepath.Join(t.TempDir(), "none", "key"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

func TestReplaceKeepsModeAndOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "keys.json")
	write(t, path, "old", 0o640)
	const nobody = 65534
	uid := os.Geteuid()
	if uid == 0 {
		if uid = nobody; os.Chown(path, uid, nobody) != nil {
			t.Fatal("root may not chown")
		}
	}
	if err := durable.Replace(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "new", 0o640)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || int(st.Uid) != uid {
		t.Errorf("owner %d, %v, want %d", st.Uid, err, uid)
	}
	if names := namesIn(t, dir); !slices.Equal(names, []string{"keys.json"}) {
		t.Errorf("the folder holds %q", names)
	}
}

// Who reads while the file is replaced finds a whole one.
func TestReplaceIsAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	contents := []string{strings.Repeat("a", 1<<20), strings.Repeat("b", 1<<10)}
	write(t, path, contents[0], 0o600)
	done := make(chan error, 1)
	go func() {
		var err error
		for i := range 50 {
			err = errors.Join(err, durable.Replace(path, []byte(contents[(i+1)%2])))
		}
		done <- err
	}()
	for {
		got, err := os.ReadFile(path)
		if err != nil || !slices.Contains(contents, string(got)) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}

func TestReplaceFollowsALink(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	file, link := filepath.Join(elsewhere, "file"), filepath.Join(dir, "link")
	write(t, file, "old", 0o600)
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := durable.Replace(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, file, "new", 0o600)
	if to, err := os.Readlink(link); err != nil || to != file {
		t.Errorf("the link leads to %q, %v", to, err)
	}
}

func TestReplaceWantsAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := durable.Replace(filepath.Join(dir, "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if names := namesIn(t, dir); len(names) > 0 {
		t.Errorf("the folder holds %q", names)
	}
}

func TestTheFileStaysWhenReplaceFails(t *testing.T) {
	dir := t.TempDir()
	seen := syncs{path: filepath.Join(dir, "keys.json"), fail: 1}
	write(t, seen.path, "old", 0o640)
	durable.OnSync(t, seen.sync)
	if err := durable.Replace(seen.path, []byte("new")); !errors.Is(err, errSync) {
		t.Errorf("got %v", err)
	}
	wantFile(t, seen.path, "old", 0o640)
	if names := namesIn(t, dir); !slices.Equal(names, []string{"keys.json"}) {
		t.Errorf("the folder holds %q", names)
	}
}

func TestSync(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	write(t, path, "one", 0o600)
	seen := syncs{path: path}
	durable.OnSync(t, seen.sync)
	if err := errors.Join(durable.Sync(path), durable.Sync(dir)); err != nil {
		t.Fatal(err)
	}
	if want := []string{"file one, one", "folder, one"}; !slices.Equal(seen.seen, want) {
		t.Errorf("got %q, want %q", seen.seen, want)
	}
	if err := durable.Sync(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
	seen.fail = 3
	if err := durable.Sync(dir); !errors.Is(err, errSync) {
		t.Errorf("a sync that fails: %v", err)
	}
}
