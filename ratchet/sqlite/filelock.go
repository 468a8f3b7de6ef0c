package sqlite

// The lock on the file, taken before SQLite sees it.

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"pawl/internal/hostlock"
	"pawl/ratchet"

	"golang.org/x/sys/unix"
)

// lockFile takes an flock(2) on the database file before SQLite opens it. The descriptor is a bare
// number, which no finalizer closes: to close it, or any other descriptor of the file, would drop
// SQLite's own locks in this process.
func lockFile(path string, database file) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("opening %s: %v", path, err)
	}
	err = flock(fd)
	if err == nil {
		return fd, nil
	}
	// The descriptor stays open: if this process has the file open already, to close it would drop
	// SQLite's locks.
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return -1, fmt.Errorf("locking %s: %v", path, err)
	}
	return -1, newLockedError(path, holder("FLOCK", database))
}

// A reader, such as pawl check, tries the lock for a moment: it must not stop a start.
const (
	lockTime = 500 * time.Millisecond
	lockStep = 5 * time.Millisecond
)

// flock takes the lock for this descriptor alone, and waits for it no longer than lockTime.
func flock(fd int) error {
	for end := time.Now().Add(lockTime); ; time.Sleep(lockStep) {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return err
		}
	}
}

// LockedError means that a process has the file open. It Is [ratchet.ErrLocked].
type LockedError struct {
	Path string
	PID  int // 0 if it cannot be told
	UID  int // of the process; -1 if it cannot be told
}

func newLockedError(path string, pid int) *LockedError {
	e := &LockedError{path, pid, -1}
	var st unix.Stat_t
	if pid > 0 && unix.Stat(fmt.Sprintf("/proc/%d", pid), &st) == nil { // proc(5): it belongs to the process's user
		e.UID = int(st.Uid)
	}
	return e
}

// stranger reports whether the process is of a user who is neither root nor ours. To lock a file takes no more
// than to be allowed to read it (flock(2)).
func (e *LockedError) stranger() bool { return e.UID > 0 && e.UID != os.Geteuid() }

// Error names the file and the process, and says to stop it.
func (e *LockedError) Error() string {
	if e.stranger() {
		return fmt.Sprintf("%s: stop it first, and chmod 600 %s: whoever may read it may lock it", e.Holder(), e.Path)
	}
	return e.Holder() + ": stop it first"
}

// Holder names the file and the process, for those who do not want to open the file.
func (e *LockedError) Holder() string {
	switch {
	case e.PID == 0:
		return fmt.Sprintf("%v: %s is open in another process", ratchet.ErrLocked, e.Path)
	case e.stranger():
		return fmt.Sprintf("%v: %s is open in %v", ratchet.ErrLocked, e.Path, hostlock.Peer{PID: e.PID, UID: e.UID})
	}
	return fmt.Sprintf("%v: %s is open in process %d", ratchet.ErrLocked, e.Path, e.PID)
}

// Is reports whether target is [ratchet.ErrLocked].
func (e *LockedError) Is(target error) bool { return target == ratchet.ErrLocked }

// holder returns the process that has a lock of a kind, FLOCK or POSIX, on a file, or 0 if that cannot
// be told, as across pid namespaces (proc(5), /proc/locks).
func holder(kind string, f file) int {
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return 0
	}
	defer func() { _ = locks.Close() }()
	name := fmt.Sprintf("%02x:%02x:%d", unix.Major(f.device), unix.Minor(f.device), f.inode)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 4242 fd:00:131 0 EOF
		words := strings.Fields(lines.Text())
		if len(words) < 6 || words[1] != kind || words[5] != name {
			continue
		}
		if pid, err := strconv.Atoi(words[4]); err == nil && pid > 0 {
			return pid
		}
	}
	return 0
}
