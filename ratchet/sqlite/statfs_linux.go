package sqlite

// File systems on which a ratchet may not lie.

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// networkFilesystems are the file systems on which locks, fsync or WAL do not
// mean what SQLite needs them to. Numbers from linux/magic.h and statfs(2), those
// of Ceph, Lustre, VirtualBox, GPFS and GFS2 from their own headers.
var networkFilesystems = map[uint32]string{
	unix.NFS_SUPER_MAGIC:   "NFS",
	unix.SMB_SUPER_MAGIC:   "SMB",
	unix.SMB2_SUPER_MAGIC:  "SMB",
	unix.CIFS_SUPER_MAGIC:  "CIFS",
	unix.FUSE_SUPER_MAGIC:  "FUSE",
	unix.V9FS_MAGIC:        "9p",
	unix.AFS_SUPER_MAGIC:   "AFS",
	unix.AFS_FS_MAGIC:      "AFS",
	unix.CODA_SUPER_MAGIC:  "Coda",
	unix.NCP_SUPER_MAGIC:   "NCP",
	unix.OCFS2_SUPER_MAGIC: "OCFS2",
	unix.CEPH_SUPER_MAGIC:  "Ceph",
	0x0bd00bd0:             "Lustre",
	0x786f4256:             "VirtualBox shared folder",
	0x47504653:             "GPFS",
	0x01161970:             "GFS2",
}

// checkFilesystem refuses a folder on a network file system.
func checkFilesystem(folder string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return fmt.Errorf("examining the folder %s: %v", folder, err)
	}
	return checkFilesystemType("folder "+folder, uint32(st.Type)) //nolint:gosec // a 32-bit magic number
}

// checkMount refuses a database file that was mounted into its folder by itself: from a network file system,
// or from another local one, so that the -wal would lie where the file does not. fd is a descriptor of it.
func checkMount(fd int, path string, database file) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return fmt.Errorf("examining the file system of %s: %v", path, err)
	}
	if err := checkFilesystemType(path, uint32(st.Type)); err != nil { //nolint:gosec // a 32-bit magic number
		return err
	}
	folder, err := lookupFolder(path)
	if err != nil {
		return err
	}
	return checkDevice(path, database, folder)
}

// checkDevice refuses a file that is on another device than what it lies beside or in. overlayfs shows the
// device of each layer, so that one folder has files of several.
func checkDevice(path string, f, beside file) error {
	if f.device == beside.device || onOverlay(path) {
		return nil
	}
	return fmt.Errorf("%s is mounted into its folder by itself: mount the folder, so that the files beside it are on the "+
		"same disk", path)
}

func checkFilesystemType(what string, magic uint32) error {
	if name, ok := networkFilesystems[magic]; ok {
		return fmt.Errorf("%s is on %s, where locks and fsync cannot be trusted: keep the ratchet on a local disk", what,
			name)
	}
	return nil
}

// onOverlay reports whether a file lies in a layer of a container. Both the file and its folder do then: what
// is mounted into such a folder does not.
func onOverlay(path string) bool {
	for _, of := range []string{path, filepath.Dir(path)} {
		var st unix.Statfs_t
		if unix.Statfs(of, &st) != nil || uint32(st.Type) != unix.OVERLAYFS_SUPER_MAGIC { //nolint:gosec // 32 bits
			return false
		}
	}
	return true
}

// volumeHint is added where a file is another than before, which the file of an image always is: overlayfs
// copies it when it is first written to.
func volumeHint(path string) string {
	if !onOverlay(path) {
		return ""
	}
	return " (overlayfs makes a new file of one in an image when it is first written to: keep the ratchet on a volume)"
}
