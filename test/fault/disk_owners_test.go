package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
)

// owners has somebody else use the ratchet: other programs by their locks, daemons on the
// same file, on a copy of it, or with the same keys, and a file system that has none.
func (s *diskStand) owners(t *testing.T) {
	d := s.serve(t)
	step := s.signs(t, d)
	d.end(t, s.random.IntN(2) == 0)
	s.heldByAnother(t)

	d = s.serve(t)
	s.answersFor(t, d, step)
	held := fmt.Sprintf("is open in process %d", d.cmd.Process.Pid)
	s.refuses(t, s.config(), held)
	s.counts("a second daemon on the same ratchet", "refused to start, naming the first")
	s.wantLocked(t)
	s.refuses(t, s.elsewhere(t, s.copied(t)), "another daemon on this host serves the key")
	s.counts("a second daemon on a copy of the ratchet", "refused to start")
	s.refuses(t, s.elsewhere(t, s.made(t)), "another daemon on this host serves the key")
	s.counts("a second daemon with the same keys on a ratchet of its own", "refused to start")
	s.signs(t, d)
	s.answersFor(t, d, s.signs(t, d))
	d.end(t, true)
	t.Run("FUSE", s.onFUSE)
}

// sharedFirst and sharedSize are where SQLite locks a file that it reads
// (src/os.h, SHARED_FIRST and SHARED_SIZE).
const (
	sharedFirst = 0x40000002
	sharedSize  = 510
)

// heldByAnother has this process hold the locks of another program.
func (s *diskStand) heldByAnother(t *testing.T) {
	t.Helper()
	for _, holder := range []struct {
		name string
		lock func(fd int) error
	}{
		{"database read by another program", posixLock(unix.F_RDLCK)},
		{"database written by another program", posixLock(unix.F_WRLCK)},
		{"database locked by flock", func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) }},
	} {
		file, err := os.OpenFile(s.ratchet(), os.O_RDWR, 0)
		must(t, err)
		must(t, holder.lock(int(file.Fd())))
		s.refuses(t, s.config(), fmt.Sprintf("is open in process %d", os.Getpid()))
		must(t, file.Close()) // with the locks
		s.counts(holder.name, "refused to start, naming the process")
	}
}

func posixLock(kind int16) func(fd int) error {
	return func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: sharedFirst, Len: sharedSize})
	}
}

// wantLocked checks that no other program gets a lock while a daemon runs.
func (s *diskStand) wantLocked(t *testing.T) {
	t.Helper()
	file, err := os.OpenFile(s.ratchet(), os.O_RDWR, 0)
	must(t, err)
	defer func() { _ = file.Close() }()
	if err := posixLock(unix.F_RDLCK)(int(file.Fd())); !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
		t.Errorf("another program's lock to read: %v, want none while a daemon runs", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("another program's flock: %v, want none while a daemon runs", err)
	}
}

// elsewhere is a keys.json with the same keys and another ratchet.
func (s *diskStand) elsewhere(t *testing.T, db string) (config string) {
	t.Helper()
	var content map[string]any
	must(t, json.Unmarshal(read(t, s.config()), &content))
	content = maps.Clone(content)
	content["db"] = db
	text, err := json.Marshal(content)
	must(t, err)
	config = filepath.Join(s.dir, "elsewhere.json")
	must(t, os.WriteFile(config, text, 0o600))
	return config
}

// copied is a copy of the ratchet and its -wal in another folder.
func (s *diskStand) copied(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ratchet.db")
	for _, suffix := range []string{"", "-wal"} {
		must(t, os.WriteFile(path+suffix, read(t, s.ratchet()+suffix), 0o600))
	}
	return path
}

// made is a new ratchet with the same keys.
func (s *diskStand) made(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ratchet.db")
	must(t, sqlite.Create(t.Context(), path))
	db, err := ratchettest.OpenDB(t.Context(), path, ratchettest.Options{})
	must(t, err)
	for _, key := range s.keys {
		must(t, db.RegisterNew(t.Context(), key.Hash()))
	}
	must(t, db.Close())
	return path
}

// onFUSE puts the ratchet on a file system of a refused type. Nobody serves it: the
// kernel itself says what type it has, to all but the user who mounted it.
func (s *diskStand) onFUSE(t *testing.T) {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	dir := filepath.Join(t.TempDir(), "fuse")
	must(t, os.Mkdir(dir, 0o700))
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=65534,group_id=65534", device.Fd())
	if err := unix.Mount("pawl-test", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Skipf("mounting a FUSE: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	s.refuses(t, s.elsewhere(t, filepath.Join(dir, "ratchet.db")), "is on FUSE, where locks and fsync cannot be trusted")
	s.counts("a ratchet on FUSE", "refused to start")
}
