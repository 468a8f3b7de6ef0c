package sqlite

// File systems on which a ratchet may not lie.

import (
	"fmt"

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
	return checkFilesystemType(folder, uint32(st.Type)) //nolint:gosec // a 32-bit magic number
}

func checkFilesystemType(folder string, magic uint32) error {
	if name, ok := networkFilesystems[magic]; ok {
		return fmt.Errorf("folder %s is on %s, where locks and fsync cannot be trusted: keep the ratchet on a local disk",
			folder, name)
	}
	return nil
}
