package ratchet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Examination is what a ratchet file tells without being opened for signing.
type Examination struct {
	// FileSystem is where the file lies: a name such as ext4, or a number in hex.
	FileSystem string
	// Volatile is whether that file system forgets: with the host that is switched off,
	// or with the container that is removed.
	Volatile bool
	// Clean is whether the file was closed, and not killed. Of one that was killed the
	// next opening reads the -wal; the fields below are then unknown, and zero.
	Clean         bool
	Marks         int
	Registrations []Registration
}

// Examine says whether Open would take the file, as far as that can be told while
// nothing is written, and no lock held for longer than it takes to try it. Its errors
// are those of Open. With ErrLocked, for a daemon uses the file, the file system is told
// all the same.
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
	if err := unused(path, database); err != nil {
		return e, err
	}
	for try := 1; ; try++ {
		found := e
		err := found.read(ctx, path, database)
		if locked := unused(path, database); locked != nil { // opened meanwhile: what was read is nothing
			return e, locked
		}
		if err == nil || try == 2 { // else it may have been opened and closed
			return found, orEnded(ctx, path, err)
		}
	}
}

// unused is ErrLocked when a process has the ratchet open.
func unused(path string, database file) error {
	if pid := holder("POSIX", database); pid != 0 { // SQLite's: a database shell has no flock
		return lockedError(path, pid)
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
		return lockedError(path, pid)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("locking %s: %v", path, err)
	}
	return nil
}

// read looks at the file as open does.
func (e *Examination) read(ctx context.Context, path string, database file) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %v", path, err)
	}
	err = checkHeader(ctx, fd, path)
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return err
	}
	if kept, err := exists(path + keptSuffix); kept || err != nil { // of an opening that was killed
		return err
	}
	if there, err := exists(path + journalSuffix); err != nil {
		return err
	} else if there {
		return fmt.Errorf("%w: %s%s lies there, which no ratchet writes: %s", ErrSuspect, path, journalSuffix, wayOut)
	}
	wal, err := lookupWAL(path)
	if err != nil {
		return err
	}
	left, err := readProvenance(ctx, path)
	if err != nil {
		return err
	}
	if err := left.check(path, database, wal); err != nil {
		return err
	}
	if e.Clean = left.clean; !e.Clean {
		return nil
	}
	return e.readTables(ctx, path)
}

// readTables reads a file that was closed: all is in it, and nothing in a -wal.
func (e *Examination) readTables(ctx context.Context, path string) error {
	pool, err := sql.Open("sqlite3", sourceOf(path, "mode=ro&immutable=1"))
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("opening %s: %v", path, err)
	}
	defer func() { _ = conn.Close() }()
	db := DB{path: path, conn: conn}
	if err := db.quickCheck(ctx); err != nil {
		return err
	}
	sealed, err := hasSeals(ctx, conn)
	if err != nil {
		return fmt.Errorf("reading %s: %v", path, err)
	}
	marks, err := readMarks(ctx, conn, sealed)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	e.Marks = len(marks)
	found, err := readRegistrations(ctx, conn, sealed)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	for _, r := range found {
		e.Registrations = append(e.Registrations, r.Registration)
	}
	return nil
}

// Settings are what each opening of a ratchet asks of SQLite, and refuses to work
// without: name and value of each PRAGMA, as in journal_mode=wal.
func Settings() []string {
	list := make([]string, len(settings))
	for i, s := range settings {
		list[i] = s.pragma + "=" + s.want
	}
	return list
}

// localFilesystems name those that a ratchet may be on (linux/magic.h; those of ZFS and
// bcachefs from their own headers). What others are called does not matter.
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

// filesystemOf names the file system of a folder, and says whether it forgets.
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
