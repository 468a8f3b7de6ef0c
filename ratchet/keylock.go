package ratchet

// One daemon per key and host.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"pawl/tezos"
)

// KeyLock is an abstract Unix socket, @pawl-key-<hash>. Whoever holds it is the one daemon of this
// host for the key. The kernel releases it when the process ends, however it ends.
type KeyLock struct {
	listener net.Listener
}

// LockKey takes the lock of a key. It returns [ErrKeyHeld] if a process of this host, this one
// included, has it; more exactly, a process of this network namespace.
func LockKey(key tezos.PublicKeyHash) (*KeyLock, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "unix", "@pawl-key-"+key.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w %s: stop it first", ErrKeyHeld, key)
	}
	if err != nil {
		return nil, fmt.Errorf("locking key %s: %v", key, err)
	}
	return &KeyLock{listener}, nil
}

// Close releases the key for another daemon.
func (l *KeyLock) Close() error { return l.listener.Close() }
