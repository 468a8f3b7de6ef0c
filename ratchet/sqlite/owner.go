package sqlite

// Whose the files beside the database are.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// beside gives a file beside the database to the owner of the database, and refuses one that this process
// cannot write or that is on another disk. A command that root runs before the service starts must not leave
// files to which the service has no access.
func beside(path, suffix string, database file) error {
	f, err := lookup(path + suffix)
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 && (f.owner != database.owner || f.group != database.group) {
		// Root in a container may not be allowed to. Then the file is no worse than it was.
		_ = unix.Fchownat(unix.AT_FDCWD, path+suffix, int(database.owner), int(database.group), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err := checkDevice(path+suffix, f, database); err != nil {
		return err
	}
	return foreignOwner(path, suffix, unix.Access(path+suffix, unix.W_OK))
}

// foreignOwner is the error for a file beside the database that cannot be opened for writing: it says what to
// do if the file belongs to another user.
func foreignOwner(path, suffix string, err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok { // the path is named below
		err = pathError.Err
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s cannot be written: %v: chown --reference=%s %[1]s", path+suffix, err, path)
	}
	return fmt.Errorf("opening %s: %v", path+suffix, err)
}
