package sqlite_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is the user of a daemon in these tests.
const nobody = 65534

// asRoot skips a test that changes owners.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
}

// owner returns the user and the group of a file.
func owner(t *testing.T, path string) [2]uint32 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return [2]uint32{st.Uid, st.Gid}
}

// TestFilesHaveTheOwnerOfTheDatabase: root registers a key in the ratchet of another user, and is killed or not.
// All files are that user's, those too that a former pawl left to root.
func TestFilesHaveTheOwnerOfTheDatabase(t *testing.T) {
	t.Parallel()
	asRoot(t)
	path := newFile(t)
	write(t, path+"-last", nil)
	if err := os.Chown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	db := open(t, path, options{})
	for _, suffix := range []string{"", "-wal", "-last"} {
		if got := owner(t, path+suffix); got != [2]uint32{nobody, nobody} {
			t.Errorf("ratchet.db%s belongs to %v, want the owner of the database", suffix, got)
		}
	}
	closeDB(t, db)
	spoilt := bytes.Replace(read(t, path), []byte("CREATE TABLE marks"), []byte("CREATE TABLE \x01arks"), 1)
	write(t, path, spoilt)
	if _, err := openDB(t.Context(), path, options{}); err == nil { // which leaves its note
		t.Fatal("the opening did not fail")
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 4 || !present(t, path+"-opening") {
		t.Fatalf("files %v, %v, want the database, its -wal and two notes", files, err)
	}
	for _, file := range files {
		if got := owner(t, file); got != [2]uint32{nobody, nobody} {
			t.Errorf("%s belongs to %v, want the owner of the database", file, got)
		}
	}
}

// TestFilesOfAnotherUser: a daemon that cannot write a file beside its database says whose it should be.
func TestFilesOfAnotherUser(t *testing.T) {
	t.Parallel()
	asRoot(t)
	for _, suffix := range []string{"", "-wal", "-last", "-opening"} {
		t.Run("ratchet.db"+suffix, func(t *testing.T) {
			t.Parallel()
			path := newFile(t)
			folder := filepath.Dir(path)
			program := filepath.Join(folder, "child")
			write(t, program, read(t, os.Args[0]))
			if suffix != "" {
				write(t, path+suffix, nil)
			}
			err := errors.Join(os.Chmod(program, 0o755), os.Chmod(filepath.Dir(folder), 0o755), os.Chown(folder, nobody, nobody))
			if suffix != "" {
				err = errors.Join(err, os.Chown(path, nobody, nobody))
			}
			if err != nil {
				t.Fatal(err)
			}
			cmd := childCommand(t.Context(), "sign", path)
			cmd.Path = program
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			out, _ := cmd.Output() // it ends with an error, which it prints
			want := path + suffix + " cannot be written: permission denied: chown --reference=" + path + " " + path + suffix
			if suffix == "" {
				want = "ratchet file " + path + " cannot be written: permission denied: it belongs to user 0: chown it"
			}
			if !strings.Contains(string(out), want) {
				t.Errorf("the child said %q, want %q", out, want)
			}
		})
	}
}
