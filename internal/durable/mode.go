package durable

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Permissions that a file may have to withhold from all but its owner.
const (
	Others      fs.FileMode = 0o077 // any access
	OthersRead  fs.FileMode = 0o044
	OthersWrite fs.FileMode = 0o022
)

const (
	root      = 0
	groupRead = fs.FileMode(0o040)
)

// credentialsEnv names the folder in which systemd puts what LoadCredential= and its like give to
// a service (systemd.exec(5), "Credentials").
const credentialsEnv = "CREDENTIALS_DIRECTORY"

// OpenError says that a file or folder is in the hands of others: its mode gives them what they
// must not have, or one of them owns it.
type OpenError struct {
	Path    string
	Mode    fs.FileMode // permission bits
	Owner   int         // user id
	Foreign bool        // the owner is the trouble, and not the mode
	Remedy  string      // the command that mends it, e.g. chmod 600 /etc/pawl/client-key.pem
}

// Error is e.g. "mode 0644 is too open: chmod 600 /etc/pawl/client-key.pem".
func (e *OpenError) Error() string {
	if e.Foreign {
		return fmt.Sprintf("belongs to user %d, who is neither root nor the one who runs pawl: %s", e.Owner, e.Remedy)
	}
	return fmt.Sprintf("mode %04o is too open: %s", e.Mode, e.Remedy)
}

// User is the user id of whoever runs pawl. Root may do anything to a file anyway; the rules are
// about everybody else.
type User int

// Self is the user of this process.
func Self() User { return User(os.Geteuid()) }

// OwnerOf returns the owner of the file at path, or Self if it cannot be looked at.
func OwnerOf(path string) User {
	info, err := os.Stat(path)
	if err != nil {
		return Self()
	}
	return ownerOf(info)
}

func ownerOf(info fs.FileInfo) User {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return User(stat.Uid)
	}
	return Self()
}

// CheckSecret returns an *OpenError if others have any access to the file at path, which info
// describes. The group may read a file that root lends to u: one of root's own, if u is not root,
// or one in systemd's folder of credentials. There an access list for u shows as the group's bits
// (acl(5), "Correspondence between ACL entries and file permission bits"), and u can change
// nothing about it.
func (u User) CheckSecret(path string, info fs.FileInfo) error {
	forbidden := Others
	if ownerOf(info) == root && u != root || isCredential(path) {
		forbidden &^= groupRead
	}
	return CheckInfo(path, info, forbidden)
}

// isCredential reports whether path is in the folder of credentials of this service.
func isCredential(path string) bool {
	dir := os.Getenv(credentialsEnv)
	path, err := filepath.Abs(path)
	return err == nil && filepath.IsAbs(dir) && strings.HasPrefix(path, filepath.Clean(dir)+"/")
}

// CheckOwned returns an *OpenError if the file or folder at path, which info describes, belongs to
// somebody other than u and root, or if others may write to it (as sshd_config(5) has it,
// "StrictModes").
func (u User) CheckOwned(path string, info fs.FileInfo) error {
	if owner := ownerOf(info); owner != root && owner != u {
		remedy := fmt.Sprintf("chown %d %s", u, path)
		return &OpenError{Path: path, Mode: info.Mode().Perm(), Owner: int(owner), Foreign: true, Remedy: remedy}
	}
	return CheckInfo(path, info, OthersWrite)
}

// Folders returns the folders whose owners and writers decide which file is found at path. Those
// that hold it are that of the name and, if the name is a symbolic link, that of the file. Those
// above lead there from the root; with links in the path, on both ways.
func Folders(path string) (holding, above []string) {
	holding = []string{filepath.Dir(path)}
	if target, err := filepath.EvalSymlinks(path); err == nil && filepath.Dir(target) != holding[0] {
		holding = append(holding, filepath.Dir(target))
	}
	for _, folder := range holding {
		folder, err := filepath.Abs(folder)
		if err != nil {
			continue
		}
		for folder != filepath.Dir(folder) {
			folder = filepath.Dir(folder)
			above = append(above, folder)
		}
	}
	return holding, above
}

// CheckInfo returns an *OpenError if the mode of the file or folder at path, which info describes,
// has one of the forbidden bits. A folder in which only the owner of a name may remove it (the
// sticky bit, mode 1777) passes.
func CheckInfo(path string, info fs.FileInfo, forbidden fs.FileMode) error {
	if info.Mode().Perm()&forbidden == 0 || info.IsDir() && info.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	return &OpenError{
		Path: path, Mode: info.Mode().Perm(), Owner: int(ownerOf(info)),
		Remedy: "chmod " + closed(info, forbidden) + " " + path,
	}
}

// closed is the argument of chmod that takes the forbidden bits away.
func closed(info fs.FileInfo, forbidden fs.FileMode) string {
	switch {
	case forbidden&^OthersWrite == 0:
		return "go-w"
	case info.IsDir():
		return "700"
	case forbidden&groupRead == 0:
		return "640"
	}
	return "600"
}
