package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pawl/internal/durable"
)

const (
	suffix  = "-audit"
	damaged = ".damaged-" // and a number: a file that was moved aside
)

// Path names the newest file of the trail of the ratchet at path.
func Path(path string) string { return path + suffix }

// RatchetOf is the path of the ratchet whose trail has a file of that name.
func RatchetOf(file string) (path string, ok bool) {
	end := strings.LastIndex(file, suffix)
	if end < 0 {
		return "", false
	}
	number := file[end+len(suffix):]
	if _, older := olderNumber(number); number != "" && !older {
		return "", false
	}
	return file[:end], true
}

// older names the n-th of the older files, 1 being the newest of them.
func older(path string, n int) string { return path + "." + strconv.Itoa(n) }

// olderNumber parses what the name of an older file has behind that of the newest.
func olderNumber(text string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(text, ".")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 0 && strconv.Itoa(n) == digits
}

// numbers lists those of the older files that exist, the newest first: a kill during a rotation leaves a gap.
func numbers(path string) (found []int, err error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	for _, entry := range entries {
		if rest, ok := strings.CutPrefix(entry.Name(), filepath.Base(path)); ok {
			if n, ok := olderNumber(rest); ok {
				found = append(found, n)
			}
		}
	}
	slices.Sort(found)
	return found, err
}

// asides counts the files that were moved aside.
func asides(path string) (n int) {
	for ; exists(aside(path, n+1)); n++ {
	}
	return n
}

func aside(path string, n int) string { return path + damaged + strconv.Itoa(n) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// openFile opens a regular file that is no symbolic link. It does not wait for the writer of a pipe.
func openFile(path string, flags int) (file *os.File, err error) {
	flags |= unix.O_NOFOLLOW | unix.O_NONBLOCK
	file, err = os.OpenFile(path, flags, 0o600) //nolint:gosec // beside the ratchet, which the operator names
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("%s is a symbolic link: rm %[1]s", path)
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("%s: %w: move it away", path, durable.ErrNotRegular)
	case err != nil:
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w: move it away", path, durable.ErrNotRegular)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// openOwn opens the file of a trail to be written to, or makes it, and gives it to the owner of the ratchet: a
// command that root runs must not leave a file to which the service has no access.
func openOwn(path string, flags int) (*os.File, error) {
	ratchet := strings.TrimSuffix(path, suffix)
	file, err := openFile(path, unix.O_RDWR|unix.O_APPEND|flags)
	if errors.Is(err, fs.ErrPermission) && exists(path) {
		return nil, fmt.Errorf("%s cannot be written: permission denied: chown --reference=%s %[1]s", path, ratchet)
	}
	if err != nil {
		return nil, err
	}
	if err := own(file, ratchet); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// own wants the file to belong to the owner of the ratchet, or to this process, and nobody else to write to it.
func own(file *os.File, ratchet string) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	var is, want unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &is); err != nil {
		return &fs.PathError{Op: "stat", Path: file.Name(), Err: err}
	}
	self := uint32(os.Geteuid())                      //nolint:gosec // a user id
	if err := unix.Stat(ratchet, &want); err != nil { // there is none, which its own opening tells
		want.Uid, want.Gid = self, is.Gid
	}
	if is.Uid != want.Uid && is.Uid != self {
		return fmt.Errorf("%s belongs to user %d: chown --reference=%s %[1]s", file.Name(), is.Uid, ratchet)
	}
	if is.Uid != want.Uid || is.Gid != want.Gid {
		// Root in a container may not be allowed to, and others are not. Then the file is no worse than it was.
		_ = file.Chown(int(want.Uid), int(want.Gid))
	}
	return durable.CheckInfo(file.Name(), info, durable.OthersWrite)
}
