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

// KeyLock is the abstract Unix socket @pawl-key-<hash> that says: this host has a
// daemon for this key. The kernel drops it with the process, whatever happens.
type KeyLock struct {
	listener net.Listener
}

// LockKey takes the socket of a key. It is [ErrKeyHeld] while any process of this
// host (more exactly: of this network namespace) has it, this process included.
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

// Close lets another daemon take the key.
func (l *KeyLock) Close() error { return l.listener.Close() }
