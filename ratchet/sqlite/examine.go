package sqlite

// What a file tells without being opened: for pawl check.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"pawl/ratchet"

	"golang.org/x/sys/unix"
)

// Examination is what can be told of a ratchet file without opening it for signing.
type Examination struct {
	// FileSystem is where the file lies: a name such as ext4, or a number in hex.
	FileSystem string
	// Volatile is set if the content of that file system is lost when the host is switched off or
	// the container is removed.
	Volatile bool
	// Clean is set if the file was closed by Close. If its process was killed instead, the next
	// opening takes the rest from the -wal, and the fields below are zero.
	Clean bool
	// Finding is what a start would find without the witness, which only Open asks: InPlace, RolledBack or
	// Moved.
	Finding       Finding
	Marks         int
	Registrations []ratchet.Registration
}

// Examine reports whether Open would take the file, as far as can be told without writing to it or
// holding a lock for longer than it takes to try it. Its errors are those of Open. With
// [ratchet.ErrLocked], because a daemon uses the file, the file system is returned all the same.
func Examine(ctx context.Context, path string) (Examination, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Examination{}, err
	}
	var e Examination
	if e.FileSystem, e.Volatile, err = filesystemOf(filepath.Dir(path)); err != nil {
		return e, err
	}
	if err := checkFilesystem(filepath.Dir(path)); err != nil {
		return e, err
	}
	database, err := lookupDatabase(path)
	if err != nil {
		return e, err
	}
	found := e
	err = whileUnused(ctx, path, database, func() error {
		found = e
		return found.read(ctx, path, database)
	})
	if errors.Is(err, ratchet.ErrLocked) {
		return e, err
	}
	return found, err
}

// unused returns ratchet.ErrLocked if a process has the ratchet open.
func unused(path string, database file) error {
	if pid := holder("POSIX", database); pid != 0 { // SQLite's lock: a database shell has no flock
		return newLockedError(path, pid)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %v", path, err)
	}
	err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid := holder("FLOCK", database)
		if pid != 0 && pid != os.Getpid() { // else the descriptor stays, as in lockFile
			_ = unix.Close(fd)
		}
		return newLockedError(path, pid)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("locking %s: %v", path, err)
	}
	return nil
}

// read examines the file as open does.
func (e *Examination) read(ctx context.Context, path string, database file) error {
	clean, found, err := examineLeft(ctx, path, database)
	e.Clean, e.Finding = clean, found
	if err != nil || !clean && found.Verdict == InPlace {
		return err
	}
	all, err := readCopy(ctx, path, database)
	e.Marks, e.Registrations, e.Finding = len(all.Marks), all.Registrations, e.Finding.and(all.Finding)
	return err
}

// examineLeft reports whether the file was closed by Close, and refuses a file that Open would refuse,
// as far as can be told without opening it.
func examineLeft(ctx context.Context, path string, database file) (clean bool, found Finding, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, found, fmt.Errorf("opening %s: %v", path, err)
	}
	if err = checkMount(fd, path, database); err == nil {
		err = checkHeader(ctx, fd, path)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return false, found, err
	}
	left, wal, err := readLeft(ctx, path)
	if err != nil {
		return false, found, err
	}
	kept, err := exists(path + keptSuffix) // an opening was killed
	if err != nil {
		return false, found, err
	}
	found, err = left.check(path, database, wal, func() error { return checkWhole(ctx, path, database) })
	return left.clean && !kept, found, err
}

// Settings returns the settings of SQLite that each opening makes and reads back, as name and value of
// each PRAGMA: journal_mode=wal.
func Settings() []string {
	list := make([]string, len(settings))
	for i, s := range settings {
		list[i] = s.pragma + "=" + s.want
	}
	return list
}

// localFilesystems are names for [Examination] (numbers from linux/magic.h, those of ZFS and bcachefs
// from their own headers). Others are allowed too, and shown as a number.
var localFilesystems = map[uint32]string{
	unix.EXT4_SUPER_MAGIC:      "ext4", // and ext2, ext3
	unix.XFS_SUPER_MAGIC:       "XFS",
	unix.BTRFS_SUPER_MAGIC:     "Btrfs",
	unix.F2FS_SUPER_MAGIC:      "F2FS",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.RAMFS_MAGIC:           "ramfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	0x2fc12fc1:                 "ZFS",
	0xca451a4e:                 "bcachefs",
}

// filesystemOf returns the name of the file system of a folder, and whether its content may be lost.
func filesystemOf(folder string) (name string, volatile bool, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return "", false, fmt.Errorf("examining the folder %s: %v", folder, err)
	}
	magic := uint32(st.Type) //nolint:gosec // f_type is a 32-bit magic number, signed on some machines
	switch magic {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
		volatile = true
	}
	for _, names := range []map[uint32]string{localFilesystems, networkFilesystems} {
		if name, known := names[magic]; known {
			return name, volatile, nil
		}
	}
	return fmt.Sprintf("0x%x", magic), volatile, nil
}
