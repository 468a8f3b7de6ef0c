package durable

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// How long LockFolder waits for another process, and how often it looks. What is done under
// the lock takes milliseconds.
const (
	lockTimeout  = time.Second
	lockInterval = 10 * time.Millisecond
)

// LockFolder takes an flock(2) on the folder: a file that is replaced cannot bear a lock.
// It waits a second at most, for whoever may read the folder can hold the lock; the error
// is then unix.EWOULDBLOCK. The lock ends with unlock or with the process.
func LockFolder(path string) (unlock func(), err error) {
	folder, err := os.Open(path) //nolint:gosec // the caller's own folder
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockTimeout); ; time.Sleep(lockInterval) {
		err = unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: path, Err: err}, folder.Close())
	}
	return func() { _ = folder.Close() }, nil
}
