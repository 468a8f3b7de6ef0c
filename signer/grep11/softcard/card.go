package softcard

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"pawl/signer/grep11"
)

// masterKeySize is that of an AES-256 key, the size of an EP11 wrapping key.
const masterKeySize = 32

// wkidSize is the length of a wrapping key's identifier in blobs and trailers.
const wkidSize = 16

// Card is a software card: a master key and nothing else, since every blob and
// every state of an operation comes with the request. It is safe for concurrent use.
type Card struct {
	// OnSign, when set before Serve, is told each signature made, before it is
	// sent: the bytes signed (the digest, for a mechanism that hashes) and the
	// signature, both its own to keep. It is called from many goroutines at once.
	OnSign func(data, signature []byte)

	// Delay, when set before Serve, is how much longer each call takes, so that the
	// card is as slow as an HSM in another building.
	Delay time.Duration

	wkid      [wkidSize]byte // names the master key: the first bytes of its SHA-256
	blobs     cipher.AEAD    // wraps private keys
	blobMAC   []byte
	publicMAC []byte
	states    cipher.AEAD // seals operations between two calls

	faults atomic.Pointer[[]*Fault] // nil, or those of SetFaults
	lines  lines
}

// New gives the card of a master key of 32 random bytes. Two cards of the same
// master key read each other's blobs; cards of different ones never do.
func New(masterKey []byte) (*Card, error) {
	if len(masterKey) != masterKeySize {
		return nil, fmt.Errorf("master key has %d bytes, want %d", len(masterKey), masterKeySize)
	}
	keys, err := hkdf.Key(sha256.New, masterKey, nil, "pawl softcard", 4*masterKeySize)
	if err != nil {
		return nil, fmt.Errorf("deriving the card's keys: %v", err)
	}
	next := func() []byte {
		key := keys[:masterKeySize]
		keys = keys[masterKeySize:]
		return key
	}
	hash := sha256.Sum256(masterKey)
	c := &Card{wkid: [wkidSize]byte(hash[:wkidSize]), blobMAC: next(), publicMAC: next()}
	if c.blobs, err = aead(next(), ivSize); err != nil {
		return nil, err
	}
	if c.states, err = aead(next(), stateNonceSize); err != nil {
		return nil, err
	}
	return c, nil
}

// Open gives the card that lies in d. A file that is missing, unreadable or open
// to other users is an error that names it.
func Open(d Dir) (*Card, error) {
	if err := d.whole(); err != nil {
		return nil, err
	}
	key, err := d.masterKey()
	if err != nil {
		return nil, err
	}
	return New(key)
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

// checkWKID refuses what another master key has wrapped.
func (c *Card) checkWKID(wkid []byte) error {
	if [wkidSize]byte(wkid) != c.wkid {
		return refuse(grep11.CodeIBMWKIDMismatch, "the key is wrapped under the master key %x, this card has %x", wkid, c.wkid)
	}
	return nil
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
