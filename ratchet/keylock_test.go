package ratchet_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"pawl/ratchet"
)

func TestKeyLock(t *testing.T) {
	t.Parallel()
	key := keyNumber(os.Getpid())
	lock, err := ratchet.LockKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ratchet.LockKey(key); !errors.Is(err, ratchet.ErrKeyHeld) || !strings.Contains(err.Error(), key.String()) {
		t.Errorf("the second lock: got %v, want %v and the key", err, ratchet.ErrKeyHeld)
	}
	other, err := ratchet.LockKey(keyNumber(os.Getpid() + 1<<32))
	if err != nil {
		t.Fatalf("another key: %v", err)
	}
	if err := errors.Join(lock.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	if lock, err = ratchet.LockKey(key); err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}
