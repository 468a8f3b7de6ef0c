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

// masterKeySize is the size of an EP11 wrapping key in bytes: AES-256.
const masterKeySize = 32

// wkidSize is the length in bytes of a wrapping key's id in blobs and trailers.
const wkidSize = 16

// Card is a software card. It holds its master keys and nothing else: every blob and every
// state of an operation comes with the request. A Card is safe for concurrent use.
type Card struct {
	// OnSign, if set before Serve, is called with each signature before it is sent: the
	// bytes signed (the digest, for a mechanism that hashes) and the signature. Both are
	// copies. Many goroutines call it at once.
	OnSign func(data, signature []byte)

	// Delay, if set before Serve, is added to each call, so that the card is as slow as an
	// HSM in another building.
	Delay time.Duration

	// AnyClient, if set before Serve, admits clients without a certificate, as IBM Cloud does. Without
	// a BearerToken the card then serves loopback addresses only.
	AnyClient bool

	// BearerToken, if set before Serve, is what every call must bear in its metadata: "authorization:
	// Bearer …". Others fail with CKR_IBM_GREP11_NOT_AUTHENTICATED.
	BearerToken string

	master master // the master key registers

	faults atomic.Pointer[[]*Fault] // set by SetFaults
	conns  connections
}

// New makes a card in memory with a master key of 32 random bytes. Cards of one master key
// read each other's blobs; cards of different ones never do.
func New(masterKey []byte) (*Card, error) {
	current, err := newWrapping(masterKey)
	if err != nil {
		return nil, err
	}
	c := &Card{}
	c.master.registers.Store(&registers{current: current})
	return c, nil
}

// Open opens the card in d. The card follows the folder's master key registers (see
// Dir.LoadNext) from call to call. The error names the file that is missing, unreadable or
// open to other users.
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

// wait waits for d, or returns the error of ctx if it ends before.
func wait(ctx context.Context, d time.Duration) error {
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

// signed calls OnSign.
func (c *Card) signed(data, signature []byte) {
	if c.OnSign != nil {
		c.OnSign(slices.Clone(data), slices.Clone(signature))
	}
}
