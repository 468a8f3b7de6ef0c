package hostlock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"pawl/tezos"
)

// ErrKeyHeld means that another daemon on this host serves the key.
var ErrKeyHeld = errors.New("another daemon on this host serves the key")

// A KeyLock is an abstract Unix socket for each of its keys, @pawl-key-<hash>. The owner of such a
// socket, and nobody else, is the one daemon for the key in this network namespace. The kernel releases
// it when the process ends, however it ends.
//
// Any user may bind such a name, so the name alone says nothing: the kernel tells whose process listens
// there (SO_PEERCRED), also where no connection is taken (sock_diag). A process of this user or of root has
// the key. One of another user is ignored: if it has the name, the lock takes a name of its own that begins
// with it. Who listens under any of these names is looked at after the own one is bound, so that of two
// daemons that start at once one sees the other.
//
// A daemon of another user, and one in another network namespace, such as a container, is not seen.
type KeyLock struct {
	listeners []net.Listener
	own       map[string]bool // names
	strangers []Stranger
}

// A Stranger is a process of another user that listens under a name of the lock of a key.
type Stranger struct {
	Key tezos.PublicKeyHash
	Peer
}

// ours reports whether a process of that user is trusted to hold a key: root may stop this one anyway.
func ours(uid int) bool { return uid == 0 || uid == os.Geteuid() }

// HeldError means that another daemon on this host serves the key. It Is [ErrKeyHeld].
type HeldError struct {
	Key    tezos.PublicKeyHash
	Holder Peer
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("key %v: %v: %v: stop it first", e.Key, ErrKeyHeld, e.Holder)
}

// Is reports whether target is [ErrKeyHeld].
func (e *HeldError) Is(target error) bool { return target == ErrKeyHeld }

const (
	// lockTries is how often a lock is tried when two daemons may have refused each other. The
	// pause between is up to lockPause.
	lockTries = 3
	lockPause = 100 * time.Millisecond
	// lockPatience bounds the time for sockets that do not take a connection. A KeyLock takes each
	// at once.
	lockPatience = time.Second
	// lockNameSize is how long the name of a lock is: hashes have 36 characters.
	lockNameSize = len("@pawl-key-") + 36
)

// LockKeys takes the locks of keys, all or none. It returns a [*HeldError] if a process of this user or
// of root, this process included, has one of them.
func LockKeys(keys ...tezos.PublicKeyHash) (*KeyLock, error) {
	for try := 1; ; try++ {
		lock, final, err := tryLock(keys)
		if err == nil || final || try == lockTries {
			return lock, err
		}
		var random [1]byte
		_, _ = rand.Read(random[:]) // crypto/rand never fails
		time.Sleep(lockPause * time.Duration(random[0]) / 256)
	}
}

// tryLock binds the names and then looks who else has one. An error that is not final may be because
// of another process that did the same at the same time.
func tryLock(keys []tezos.PublicKeyHash) (lock *KeyLock, final bool, err error) {
	lock = &KeyLock{own: make(map[string]bool)}
	names := make(map[string]tezos.PublicKeyHash)
	for _, key := range keys {
		if err := lock.bind(key); err != nil {
			return nil, true, errors.Join(err, lock.Close())
		}
		names[nameOf(key)] = key
	}
	for _, listener := range lock.listeners {
		go answerAll(listener)
	}
	if err := lock.lookAround(socketsNamed(names)); err != nil {
		return nil, false, errors.Join(err, lock.Close())
	}
	return lock, false, nil
}

// nameOf is the name of the lock of a key, and what its other names begin with.
func nameOf(key tezos.PublicKeyHash) string { return "@pawl-key-" + key.String() }

// bind takes a name of a key, unless a daemon has it.
func (l *KeyLock) bind(key tezos.PublicKeyHash) error {
	name := nameOf(key)
	listener, err := listenAt(name)
	if errors.Is(err, syscall.EADDRINUSE) {
		if peer, state := peerAt(name); state == listens && ours(peer.UID) {
			return &HeldError{key, peer}
		}
		name += "-" + rand.Text()
		listener, err = listenAt(name)
	}
	if err != nil {
		return fmt.Errorf("locking key %s: %v", key, err)
	}
	l.listeners, l.own[name] = append(l.listeners, listener), true
	return nil
}

func listenAt(name string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "unix", name)
}

// answerAll takes each connection and ends it, so that strangers cannot fill the queue of a socket and
// hide whose it is.
func answerAll(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors, for one
			time.Sleep(lockPause)
		default:
			_ = conn.Close()
		}
	}
}

// Strangers are the processes of other users that LockKeys met. They keep nobody from a key. Who they
// are is for a person to find out: a daemon of another user with the same key would be one.
func (l *KeyLock) Strangers() []Stranger { return l.strangers }

// Close releases the keys for another daemon.
func (l *KeyLock) Close() error {
	var errs []error
	for _, listener := range l.listeners {
		errs = append(errs, listener.Close())
	}
	return errors.Join(errs...)
}
