package hostlock_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"pawl/internal/hostlock"
	"pawl/ratchet/ratchettest"
	"pawl/tezos"
)

// lockedKey returns a key that no other run of these tests locks. n is below 1000.
func lockedKey(n int) tezos.PublicKeyHash { return ratchettest.KeyNumber(os.Getpid()*1000 + n) }

func TestKeyLock(t *testing.T) {
	t.Parallel()
	key := lockedKey(0)
	lock, err := hostlock.LockKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = hostlock.LockKeys(key)
	held, ok := errors.AsType[*hostlock.HeldError](err)
	if !ok || !errors.Is(err, hostlock.ErrKeyHeld) || held.Holder.PID != os.Getpid() || held.Holder.UID != os.Geteuid() {
		t.Errorf("the second lock: got %v, want %v, this process and its user", err, hostlock.ErrKeyHeld)
	}
	for _, part := range []string{key.String(), fmt.Sprintf("process %d of ", os.Getpid()), "user"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the second lock: %v does not say %q", err, part)
		}
	}
	other, err := hostlock.LockKeys(lockedKey(1))
	if err != nil {
		t.Fatalf("another key: %v", err)
	}
	if err := errors.Join(lock.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	if lock, err = hostlock.LockKeys(key); err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}

// TestKeyLockAtOnce: of many that start at the same time at most one has the key, and one gets it.
func TestKeyLockAtOnce(t *testing.T) {
	t.Parallel()
	key := lockedKey(2)
	for range 20 {
		var all sync.WaitGroup
		locks := make(chan *hostlock.KeyLock, 8)
		for range cap(locks) {
			all.Go(func() {
				if lock, err := hostlock.LockKeys(key); err == nil {
					locks <- lock
				} else if !errors.Is(err, hostlock.ErrKeyHeld) {
					t.Errorf("got %v, want %v", err, hostlock.ErrKeyHeld)
				}
			})
		}
		all.Wait()
		if len(locks) != 1 {
			t.Fatalf("%d have the key, want 1", len(locks))
		}
		if err := (<-locks).Close(); err != nil {
			t.Fatal(err)
		}
	}
}

const nobody = 65534

// squat binds a socket as another user, and listens unless backlog is negative.
func squat(t *testing.T, name string, backlog int) (stop func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user as well")
	}
	fds := make(chan int)
	go func() { // the thread ends with the goroutine, which never gives it back
		runtime.LockOSThread()
		const keep = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, nobody, keep); errno != 0 {
			t.Errorf("becoming nobody: %v", errno)
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: name})
		}
		if err == nil && backlog >= 0 {
			err = unix.Listen(fd, backlog)
		}
		if err != nil {
			t.Errorf("squatting %s: %v", name, err)
		}
		fds <- fd
	}()
	fd := <-fds
	return sync.OnceFunc(func() { _ = unix.Close(fd) })
}

// TestKeyLockOfStrangers: another user who has the name of the lock keeps nobody from the key, and two
// daemons of this user see each other all the same, also when he comes and goes.
func TestKeyLockOfStrangers(t *testing.T) {
	t.Parallel()
	for n, c := range []struct {
		name    string
		suffix  string
		backlog int
		full    bool
		want    string // of whom Strangers tells
	}{
		{"listens", "", 1, false, "[process %d of user nobody]"},
		{"listens under another name", "-a", 1, false, "[process %d of user nobody]"},
		{"does not listen", "", -1, false, "[]"},
		{"takes no connection", "", 0, true, "[a process of user nobody]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			key := lockedKey(100 + n)
			name := "@pawl-key-" + key.String() + c.suffix
			leave := squat(t, name, c.backlog)
			defer leave()
			if c.full {
				defer fillQueue(t, name)()
			}
			lock, err := hostlock.LockKeys(key)
			if err != nil {
				t.Fatalf("with a stranger there: %v", err)
			}
			want := c.want
			if strings.Contains(want, "%d") {
				want = fmt.Sprintf(want, os.Getpid())
			}
			if got := fmt.Sprint(lock.Strangers()); got != want {
				t.Errorf("strangers %s, want %s", got, want)
			}
			for _, stranger := range lock.Strangers() {
				if stranger.Key != key {
					t.Errorf("the stranger has key %v, want %v", stranger.Key, key)
				}
			}
			if _, err := hostlock.LockKeys(key); !errors.Is(err, hostlock.ErrKeyHeld) {
				t.Errorf("the second lock: got %v, want %v", err, hostlock.ErrKeyHeld)
			}
			leave()
			if _, err := hostlock.LockKeys(key); !errors.Is(err, hostlock.ErrKeyHeld) {
				t.Errorf("the second lock, once the stranger is gone: got %v, want %v", err, hostlock.ErrKeyHeld)
			}
			if err := lock.Close(); err != nil {
				t.Fatal(err)
			}
			lock, err = hostlock.LockKeys(key)
			if err != nil {
				t.Fatalf("after Close: %v", err)
			}
			if err := lock.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// fillQueue connects until the socket takes no more.
func fillQueue(t *testing.T, name string) (leave func()) {
	t.Helper()
	var fds []int
	for range 100 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: name}); errors.Is(err, unix.EAGAIN) {
			return func() {
				for _, fd := range fds {
					_ = unix.Close(fd)
				}
			}
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the queue does not fill")
	return nil
}

// TestKeyLockAnswers: strangers who connect cannot hide whose the lock is.
func TestKeyLockAnswers(t *testing.T) {
	t.Parallel()
	key := lockedKey(3)
	lock, err := hostlock.LockKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close() //nolint:errcheck // the test is over
	name := "@pawl-key-" + key.String()
	for range 5000 { // more than the 4096 that a queue may have (net.core.somaxconn)
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: name}); err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
		_ = unix.Close(fd) // its place in the queue is free when the owner has taken it
	}
	if _, err := hostlock.LockKeys(key); !errors.Is(err, hostlock.ErrKeyHeld) {
		t.Errorf("got %v, want %v", err, hostlock.ErrKeyHeld)
	}
}

// TestKeyLockOfMany: all keys are locked, or none.
func TestKeyLockOfMany(t *testing.T) {
	t.Parallel()
	var keys []tezos.PublicKeyHash
	for n := range 500 {
		keys = append(keys, lockedKey(200+n))
	}
	last, err := hostlock.LockKeys(keys[len(keys)-1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hostlock.LockKeys(keys...); !errors.Is(err, hostlock.ErrKeyHeld) {
		t.Errorf("with the last one held: got %v, want %v", err, hostlock.ErrKeyHeld)
	}
	if err := last.Close(); err != nil {
		t.Fatal(err)
	}
	all, err := hostlock.LockKeys(keys...)
	if err != nil {
		t.Fatalf("once it is free: %v", err)
	}
	defer all.Close() //nolint:errcheck // the test is over
	for _, key := range keys {
		if _, err := hostlock.LockKeys(key); !errors.Is(err, hostlock.ErrKeyHeld) {
			t.Fatalf("key %v: got %v, want %v", key, err, hostlock.ErrKeyHeld)
		}
	}
}
