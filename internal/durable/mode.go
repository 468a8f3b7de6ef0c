package durable

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Permissions that a file may have to withhold from all but its owner.
const (
	Others      fs.FileMode = 0o077 // any access
	OthersRead  fs.FileMode = 0o044
	OthersWrite fs.FileMode = 0o022
)

// OpenError says that the mode of a file or folder gives others what they must not have.
type OpenError struct {
	Path   string
	Mode   fs.FileMode // permission bits
	Owner  int         // user id
	Remedy string      // the command that mends it, e.g. chmod 600 /etc/pawl/client-key.pem
}

// Error is e.g. "mode 0644 is too open: chmod 600 /etc/pawl/client-key.pem".
func (e *OpenError) Error() string {
	return fmt.Sprintf("mode %04o is too open: %s", e.Mode, e.Remedy)
}

// CheckMode returns an *OpenError if the mode of the file or folder at path has one of the
// forbidden bits, and the error of stat(2) if it cannot look.
func CheckMode(path string, forbidden fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return CheckInfo(path, info, forbidden)
}

// CheckInfo is CheckMode for a file that is described already. A folder in which only the
// owner of a name may remove it (the sticky bit, mode 1777) passes.
func CheckInfo(path string, info fs.FileInfo, forbidden fs.FileMode) error {
	if info.Mode().Perm()&forbidden == 0 || info.IsDir() && info.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	found := &OpenError{Path: path, Mode: info.Mode().Perm(), Remedy: "chmod " + closed(info, forbidden) + " " + path}
	if unix, ok := info.Sys().(*syscall.Stat_t); ok {
		found.Owner = int(unix.Uid)
	}
	return found
}

// closed is the argument of chmod that takes the forbidden bits away.
func closed(info fs.FileInfo, forbidden fs.FileMode) string {
	switch {
	case forbidden&^OthersWrite == 0:
		return "go-w"
	case info.IsDir():
		return "700"
	}
	return "600"
}
