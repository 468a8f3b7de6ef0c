package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tempPattern names a file that is being written. What a power cut leaves of it may be
// removed.
const tempPattern = ".pawl-*"

// fsync is fsync(2); tests watch it and have it fail.
var fsync = (*os.File).Sync

// ExistsError says that WriteNew found the name taken. It is fs.ErrExist.
type ExistsError struct{ Path string }

// Error names the file.
func (e *ExistsError) Error() string { return e.Path + " already exists" }

// Is reports whether target is fs.ErrExist.
func (e *ExistsError) Is(target error) bool { return target == fs.ErrExist }

// WriteNew makes a file of that mode, whatever the umask. It never writes over an existing
// one, nor over a symbolic link: the error is then an *ExistsError. When it returns nil,
// content and name are on disk; on any other error there is no file of that name.
func WriteNew(path string, data []byte, mode fs.FileMode) error {
	temp, err := writeTemp(filepath.Dir(path), data, func(f *os.File) error { return f.Chmod(mode) })
	if err != nil {
		return err
	}
	err = os.Link(temp, path) // unlike rename(2), link(2) never replaces
	removed := os.Remove(temp)
	if errors.Is(err, fs.ErrExist) {
		return &ExistsError{path}
	}
	if err != nil {
		return err
	}
	if err := errors.Join(removed, Sync(filepath.Dir(path))); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Replace gives the file at path new content; where path is a symbolic link, the file that
// it leads to. The file must exist. A reader finds the old content or the new, never a
// part. Owner, group and mode stay; if they cannot be kept, the file stays as it was. When
// Replace returns nil, the new content is on disk.
func Replace(path string, data []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	var old unix.Stat_t
	if err := unix.Stat(path, &old); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	temp, err := writeTemp(filepath.Dir(path), data, func(f *os.File) error {
		return errors.Join(f.Chown(int(old.Uid), int(old.Gid)), f.Chmod(fs.FileMode(old.Mode).Perm()))
	})
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return Sync(filepath.Dir(path))
}

// writeTemp writes a synced file of another name in dir. On an error nothing stays.
func writeTemp(dir string, data []byte, finish func(*os.File) error) (name string, err error) {
	temp, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return "", err
	}
	_, err = temp.Write(data) // before the mode opens it to anybody
	if err = errors.Join(err, finish(temp), fsync(temp), temp.Close()); err != nil {
		return "", errors.Join(err, os.Remove(temp.Name()))
	}
	return temp.Name(), nil
}

// Sync puts on disk the content of a file, or the names in a folder.
func Sync(path string) error {
	f, err := os.Open(path) //nolint:gosec // the caller's own file or folder
	if err != nil {
		return err
	}
	return errors.Join(fsync(f), f.Close())
}
