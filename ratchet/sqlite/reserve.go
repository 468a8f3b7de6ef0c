package sqlite

// Blocks for the -wal before they are needed.

import "golang.org/x/sys/unix"

// reserved is how much room the -wal gets: for walPages frames of a page and its head each, and a batch.
const reserved = 5 << 20

// reserveWAL allocates blocks for the -wal beyond its end and leaves its size, so that a disk that somebody
// else fills does not stop the next commits. It is called after the -wal was emptied or copied, and does
// nothing for blocks that are there. It takes a quarter of what is free at most, and none where the file
// system cannot (fallocate(2), FALLOC_FL_KEEP_SIZE): that costs room on a full disk, and nothing else.
func reserveWAL(path string) {
	fd, err := unix.Open(path+walSuffix, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }() // SQLite has no locks on this file
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(fd, &fs) != nil || unix.Fstat(fd, &st) != nil {
		return
	}
	const block = 512 // of st_blocks, whatever the file system's are
	there := st.Blocks * block
	size := int64(reserved)
	for size > there && size-there > int64(fs.Bavail)*fs.Bsize/4 { //nolint:gosec // no disk has 2^63 bytes
		size /= 2
	}
	if size > there {
		_ = unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, size)
	}
}
