package hostlock_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"pawl/internal/hostlock"
)

// TestLockOfStoppedDaemon: a daemon of this user has the key and takes no connection, as one that was sent
// SIGSTOP, and a stranger has filled its queue. It has the key all the same.
func TestLockOfStoppedDaemon(t *testing.T) {
	t.Parallel()
	key := lockedKey(90)
	name := &unix.SockaddrUnix{Name: "@pawl-key-" + key.String()}
	fd := unixSocket(t)
	if err := errors.Join(unix.Bind(fd, name), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for full := false; !full; {
		full = errors.Is(unix.Connect(unixSocket(t), name), unix.EAGAIN)
	}
	lock, err := hostlock.LockKeys(key)
	if err == nil {
		_ = lock.Close()
	}
	if !errors.Is(err, hostlock.ErrKeyHeld) {
		t.Errorf("got %v, want %v", err, hostlock.ErrKeyHeld)
	}
}

func unixSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}
