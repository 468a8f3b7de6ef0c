package softcard

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// masterKeySize is that of an AES-256 key, the size of an EP11 wrapping key.
const masterKeySize = 32

// wkidSize is the length of a wrapping key's identifier in blobs and trailers.
const wkidSize = 16

// Card is a software card: its master keys and nothing else, since every blob and
// every state of an operation comes with the request. It is safe for concurrent use.
type Card struct {
	// OnSign, when set before Serve, is told each signature made, before it is
	// sent: the bytes signed (the digest, for a mechanism that hashes) and the
	// signature, both its own to keep. It is called from many goroutines at once.
	OnSign func(data, signature []byte)

	// Delay, when set before Serve, is how much longer each call takes, so that the
	// card is as slow as an HSM in another building.
	Delay time.Duration

	master master // the master key registers

	faults atomic.Pointer[[]*Fault] // nil, or those of SetFaults
	lines  lines
}

// New gives the card of a master key of 32 random bytes. Two cards of the same
// master key read each other's blobs; cards of different ones never do.
func New(masterKey []byte) (*Card, error) {
	current, err := newWrapping(masterKey)
	if err != nil {
		return nil, err
	}
	c := &Card{}
	c.master.registers.Store(&registers{current: current})
	return c, nil
}

// Open gives the card that lies in d. It follows the folder's master key registers
// (see Dir.LoadNext) from call to call. A file that is missing, unreadable or open to
// other users is an error that names it.
func Open(d Dir) (*Card, error) {
	if err := d.whole(); err != nil {
		return nil, err
	}
	c := &Card{}
	c.master.dir = d
	if err := c.master.read(); err != nil {
		return nil, err
	}
	return c, nil
}

func aead(key []byte, nonceSize int) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("wrapping cipher: %v", err)
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, nonceSize)
	if err != nil {
		return nil, fmt.Errorf("wrapping cipher: %v", err)
	}
	return gcm, nil
}

// linger waits. It fails when the caller leaves before.
func linger(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signed tells OnSign of a signature that was made.
func (c *Card) signed(data, signature []byte) {
	if c.OnSign != nil {
		c.OnSign(slices.Clone(data), slices.Clone(signature))
	}
}
