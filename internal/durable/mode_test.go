package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"pawl/internal/durable"
)

func TestCheckInfo(t *testing.T) {
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
		err := durable.CheckInfo(test.path, describe(t, test.path), test.forbidden)
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
}

func describe(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// owned is a file of that owner and mode. Its stat is made up: only root may give files away.
type owned struct {
	fs.FileInfo
	mode  fs.FileMode
	owner uint32
}

func (o owned) Mode() fs.FileMode { return o.mode }
func (o owned) IsDir() bool       { return o.mode.IsDir() }
func (o owned) Sys() any          { return &syscall.Stat_t{Uid: o.owner} }

// What systemd's LoadCredential= gives to a DynamicUser=, and `chown root:pawl; chmod 640`, is a
// secret that root lends. Nobody else may lend one, and never to the world.
func TestSecretsThatRootLends(t *testing.T) {
	const us, other = 1000, 1001
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	lent := filepath.Join(credentials, "client-key.pem")
	for _, test := range []struct {
		path   string
		owner  uint32
		mode   fs.FileMode
		user   durable.User
		remedy string // none: it passes
	}{
		{"key", us, 0o600, us, ""},
		{"key", us, 0o640, us, "chmod 600 key"},
		{"key", 0, 0o440, us, ""},
		{"key", 0, 0o640, us, ""},
		{"key", 0, 0o660, us, "chmod 640 key"},
		{"key", 0, 0o444, us, "chmod 640 key"},
		{"key", 0, 0o441, us, "chmod 640 key"},
		{"key", 0, 0o440, 0, "chmod 600 key"},
		{"key", other, 0o440, us, "chmod 600 key"},
		{lent, us, 0o440, us, ""},
		{lent, 0, 0o440, 0, ""},
		{lent, us, 0o444, us, "chmod 640 " + lent},
		{credentials + "-key", us, 0o440, us, "chmod 600 " + credentials + "-key"},
		{lent + "/../../key", us, 0o440, us, "chmod 600 " + lent + "/../../key"},
	} {
		err := test.user.CheckSecret(test.path, owned{mode: test.mode, owner: test.owner})
		open, found := errors.AsType[*durable.OpenError](err)
		if found != (test.remedy != "") || found && (open.Remedy != test.remedy || open.Owner != int(test.owner) || open.Foreign) {
			t.Errorf("%s of %d, mode %v, for %d: %v, want %q", test.path, test.owner, test.mode, test.user, err, test.remedy)
		}
	}
}

func TestCheckOwned(t *testing.T) {
	t.Parallel()
	const us, other = 1000, 1001
	for _, test := range []struct {
		owner  uint32
		mode   fs.FileMode
		remedy string // none: it passes
	}{
		{us, 0o644, ""},
		{0, 0o644, ""},
		{0, fs.ModeDir | 0o755, ""},
		{0, fs.ModeDir | fs.ModeSticky | 0o777, ""},
		{us, 0o664, "chmod go-w x"},
		{us, 0o646, "chmod go-w x"},
		{0, fs.ModeDir | 0o775, "chmod go-w x"},
		{other, 0o600, "chown 1000 x"},
		{other, fs.ModeDir | fs.ModeSticky | 0o755, "chown 1000 x"},
	} {
		err := durable.User(us).CheckOwned("x", owned{mode: test.mode, owner: test.owner})
		open, found := errors.AsType[*durable.OpenError](err)
		if found != (test.remedy != "") || found && (open.Remedy != test.remedy || open.Foreign != (test.owner == other)) {
			t.Errorf("owner %d, mode %v: %v, want %q", test.owner, test.mode, err, test.remedy)
		}
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	named, real := filepath.Join(top, "etc", "pawl"), filepath.Join(top, "data", "v1")
	for _, dir := range []string{named, real} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(real, "keys.json"), "", 0o600)
	link := filepath.Join(named, "keys.json")
	if err := os.Symlink(filepath.Join(real, "keys.json"), link); err != nil {
		t.Fatal(err)
	}
	holding, above := durable.Folders(link)
	if !slices.Equal(holding, []string{named, real}) {
		t.Errorf("held by %v", holding)
	}
	for _, want := range []string{filepath.Join(top, "etc"), filepath.Join(top, "data"), top, "/"} {
		if !slices.Contains(above, want) {
			t.Errorf("above %v, want %s among them", above, want)
		}
	}
	if holding, _ := durable.Folders(filepath.Join(real, "keys.json")); !slices.Equal(holding, []string{real}) {
		t.Errorf("held by %v", holding)
	}
	if holding, _ := durable.Folders("none.json"); !slices.Equal(holding, []string{"."}) {
		t.Errorf("held by %v", holding)
	}
}

func TestOwnerOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := durable.OwnerOf(dir); got != durable.Self() || got != durable.User(os.Geteuid()) {
		t.Errorf("our own folder belongs to %d", got)
	}
	if got := durable.OwnerOf(filepath.Join(dir, "none")); got != durable.Self() {
		t.Errorf("no file belongs to %d", got)
	}
	if got := durable.OwnerOf("/"); got != 0 {
		t.Errorf("the root belongs to %d", got)
	}
}

func TestOpenErrorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	err := &durable.OpenError{Path: "a/key", Mode: 0o644, Owner: 7, Remedy: "chmod 600 a/key"}
	if got, want := err.Error(), "mode 0644 is too open: chmod 600 a/key"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	err = &durable.OpenError{Path: "key", Owner: 7, Foreign: true, Remedy: "chown 1000 key"}
	if got, want := err.Error(), "belongs to user 7, who is neither root nor the one who runs pawl: chown 1000 key"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
