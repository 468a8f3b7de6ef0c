package sqlite

// Which file stands on a path: inode and birth time.

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"pawl/ratchet"

	"golang.org/x/sys/unix"
)

// identity tells a file from any other that may be on the same path. Inode numbers are reused, so the
// birth time belongs to it where the file system keeps one.
type identity struct {
	inode uint64
	birth int64 // nanoseconds since 1970; 0 where the file system keeps none
}

// String returns the form in the provenance row. It always has the same length, so that the row never
// moves within its page: a power cut while the page is written leaves the old row or the new one, and
// no torn one.
func (i identity) String() string { return fmt.Sprintf("%020d/%020d", i.inode, i.birth) }

func parseIdentity(s string) (identity, error) {
	var i identity
	if n, err := fmt.Sscanf(s, "%d/%d", &i.inode, &i.birth); n != 2 || err != nil || i.String() != s {
		return identity{}, fmt.Errorf("recorded file %q: want inode/birth", s)
	}
	return i, nil
}

func (i identity) is(other identity) bool {
	sameBirth := i.birth == other.birth || i.birth == 0 || other.birth == 0
	return i.inode == other.inode && sameBirth
}

// file is what [lookup] finds on a path.
type file struct {
	identity
	device uint64
	size   uint64
	links  uint32
	mode   uint16
	owner  uint32
	group  uint32
}

func (f file) regular() bool { return f.mode&unix.S_IFMT == unix.S_IFREG }

// lookup examines path without following a symbolic link and without opening the file: to close any
// descriptor of the database file would drop SQLite's locks on it (fcntl(2), "Record locking").
func lookup(path string) (file, error) { return statx(path, unix.AT_SYMLINK_NOFOLLOW) }

// lookupFolder examines the folder of path, also where a symbolic link leads to it.
func lookupFolder(path string) (file, error) { return statx(filepath.Dir(path), 0) }

func statx(path string, flags int) (file, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	if err != nil {
		return file{}, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	f := file{
		identity: identity{inode: st.Ino},
		device:   unix.Mkdev(st.Dev_major, st.Dev_minor),
		size:     st.Size,
		links:    st.Nlink,
		mode:     st.Mode,
		owner:    st.Uid,
		group:    st.Gid,
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		f.birth = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return f, nil
}

// inPlace returns nil if the database and its -wal are still the files that were opened, each with that
// one name and no shorter than it ever was. A commit into a file that was unlinked or replaced would be
// gone at the next start, and so would the marks of a -wal that was cut short.
func (db *Store) inPlace() error {
	if err := samePlace(db.path, &db.database); err != nil {
		return err
	}
	return samePlace(db.path+walSuffix, &db.wal)
}

// notCutShort is the look at the -wal before COMMIT: a commit at its end would make it as long again.
func (db *Store) notCutShort() error { return samePlace(db.path+walSuffix, &db.wal) }

// samePlace compares a file with how it was seen last, and keeps its size: while a store has them open
// neither file ever shrinks (SQLite overwrites a -wal that was copied, and nothing is vacuumed).
func samePlace(path string, seen *file) error {
	now, err := lookup(path)
	switch {
	case err != nil:
		return fmt.Errorf("%s was moved away while it was open: %v", path, err)
	case now.device != seen.device || !now.is(seen.identity):
		return fmt.Errorf("%s was replaced by another file while it was open%s", path, volumeHint(path))
	case now.links != 1:
		return fmt.Errorf("%s was given %d names while it was open: remove the others and start pawl again", path, now.links)
	case now.size < seen.size:
		return fmt.Errorf("%s was cut short while it was open, from %d to %d bytes", path, seen.size, now.size)
	}
	seen.size = now.size
	return nil
}

// lookupDatabase examines the database file, and refuses one that Open cannot take.
func lookupDatabase(path string) (file, error) {
	f, err := lookup(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return file{}, fmt.Errorf("%w: %s: pawl ratchet init makes a new one", ratchet.ErrMissing, path)
	case err != nil:
		return file{}, err
	case f.mode&unix.S_IFMT == unix.S_IFLNK:
		return file{}, fmt.Errorf("ratchet file %s is a symbolic link: name the file itself", path)
	case !f.regular():
		return file{}, fmt.Errorf("ratchet file %s is not a regular file", path)
	case f.links != 1:
		return file{}, severalNames(path, f.links)
	}
	// SQLite would open it read-only and then report "bad file descriptor".
	switch err := unix.Access(path, unix.W_OK); {
	case errors.Is(err, unix.EACCES):
		return file{}, fmt.Errorf("ratchet file %s cannot be written: %v: it belongs to user %d: chown it to the user who "+
			"runs pawl", path, err, f.owner)
	case err != nil:
		return file{}, fmt.Errorf("ratchet file %s cannot be written: %v", path, err)
	}
	return f, nil
}

// otherFile says that the file is not the one that its provenance names.
func otherFile(path string) string {
	return fmt.Sprintf("%s is another file than the one last used: a copy, a restored backup, or moved from another "+
		"file system or host%s", path, volumeHint(path))
}

// lookupOptional is lookup, and nil when nothing is there.
func lookupOptional(path string) (*file, error) {
	f, err := lookup(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &f, nil
}

// exists reports whether there is anything on path, a dangling link included.
func exists(path string) (bool, error) {
	f, err := lookupOptional(path)
	return f != nil, err
}
