package softcard

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// wrapping is a master key with all that the card derives from it.
type wrapping struct {
	wkid      [wkidSize]byte // id of the master key: the first bytes of its SHA-256
	blobs     cipher.AEAD    // wraps keys
	blobMAC   []byte
	publicMAC []byte
	states    cipher.AEAD // seals operations between two calls
}

func newWrapping(masterKey []byte) (*wrapping, error) {
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
	w := &wrapping{wkid: wkidOf(masterKey), blobMAC: next(), publicMAC: next()}
	defer clear(keys) // the two ciphers have copies of theirs
	if w.blobs, err = aead(keys[:masterKeySize], ivSize); err != nil {
		return nil, err
	}
	if w.states, err = aead(keys[masterKeySize:], stateNonceSize); err != nil {
		return nil, err
	}
	return w, nil
}

func wkidOf(masterKey []byte) [wkidSize]byte {
	hash := sha256.Sum256(masterKey)
	return [wkidSize]byte(hash[:])
}

// checkWKID refuses what another master key has wrapped.
func (w *wrapping) checkWKID(wkid []byte) error {
	if [wkidSize]byte(wkid) != w.wkid {
		return refuse(ep11.CodeIBMWKIDMismatch, "the key is wrapped under the master key %x, this card has %x", wkid, w.wkid)
	}
	return nil
}

// registers are the two master key registers of a domain.
type registers struct {
	current   *wrapping // wraps what the card makes; nil if none is loaded
	next      *wrapping // nil if the register is empty
	committed bool      // RewrapKeyBlob may wrap under next
}

// master holds the registers of a card: fixed ones for a card of New, those in the folder's
// files for a card of Open.
type master struct {
	registers atomic.Pointer[registers]

	dir     Dir // "" for a card of New
	reading sync.Mutex
	files   atomic.Pointer[[2]os.FileInfo] // the files that registers was read from
}

// load returns the registers. It reads those of a folder again when the files have changed;
// while they cannot be read the card has no master key.
func (m *master) load() *registers {
	if m.dir != "" && !m.fresh() {
		if err := m.read(); err != nil {
			m.files.Store(nil)
			return &registers{}
		}
	}
	return m.registers.Load()
}

// fresh reports whether the files are still those that the registers were read from.
func (m *master) fresh() bool {
	was := m.files.Load()
	return was != nil && same(*was, m.dir.keyFiles())
}

func same(a, b [2]os.FileInfo) bool {
	for i := range a {
		switch {
		case a[i] == nil && b[i] == nil:
		case a[i] == nil || b[i] == nil:
			return false
		case !os.SameFile(a[i], b[i]), !a[i].ModTime().Equal(b[i].ModTime()), a[i].Size() != b[i].Size():
			return false
		}
	}
	return true
}

// read reads the folder's files. It looks at their identity first, so that the next call
// notices a change during the read.
func (m *master) read() error {
	m.reading.Lock()
	defer m.reading.Unlock()
	if m.fresh() {
		return nil
	}
	files := m.dir.keyFiles()
	key, err := m.dir.masterKey()
	if err != nil {
		return err
	}
	defer clear(key)
	current, err := newWrapping(key)
	if err != nil {
		return err
	}
	found := &registers{current: current}
	next, committed, err := m.dir.nextKey()
	if err != nil {
		return err
	}
	defer clear(next)
	if next != nil && !bytes.Equal(next, key) { // equal: finalised already, and the file is about to be removed
		found.committed = committed
		if found.next, err = newWrapping(next); err != nil {
			return err
		}
	}
	m.registers.Store(found)
	m.files.Store(&files)
	return nil
}

// wrapping returns the current master key.
func (c *Card) wrapping() (*wrapping, error) {
	if w := c.master.load().current; w != nil {
		return w, nil
	}
	return nil, refuse(ep11.CodeIBMWKNotInitialized, "no master key is loaded")
}

// wraps reports whether an answer holds something encrypted under the master key: a key or
// a State.
func wraps(response any) bool {
	switch response.(type) {
	case *pb.GenerateKeyResponse, *pb.GenerateKeyPairResponse, *pb.UnwrapKeyResponse, *pb.DeriveKeyResponse,
		*pb.RewrapKeyBlobResponse, *pb.SetAttributeValueResponse,
		*pb.SignInitResponse, *pb.SignUpdateResponse, *pb.VerifyInitResponse, *pb.VerifyUpdateResponse,
		*pb.EncryptInitResponse, *pb.EncryptUpdateResponse, *pb.DecryptInitResponse, *pb.DecryptUpdateResponse,
		*pb.DigestInitResponse, *pb.DigestUpdateResponse, *pb.DigestKeyResponse:
		return true
	}
	return false
}

// stillUnder refuses an answer that is encrypted under the master key if that key changed
// during the call. A second try will succeed, or say what else is wrong.
func (c *Card) stillUnder(before *registers, response any) error {
	if !wraps(response) {
		return nil
	}
	now := c.master.load().current
	if before.current == now || before.current != nil && now != nil && before.current.wkid == now.wkid {
		return nil
	}
	return refuse(ep11.CodeIBMBlobkeyConflict, "the master key changed during the call")
}

// LoadNext puts a master key of 32 random bytes into the new register, which must be empty.
// The key wraps nothing before CommitNext. A card of Open refuses: use Dir.LoadNext.
func (c *Card) LoadNext(masterKey []byte) error {
	next, err := newWrapping(masterKey)
	if err != nil {
		return err
	}
	return c.change(func(was registers) (registers, error) {
		switch {
		case was.next != nil:
			return was, errNotEmpty
		case next.wkid == was.current.wkid:
			return was, errSameKey
		}
		was.next = next
		return was, nil
	})
}

// CommitNext commits the key of the new register. From then on RewrapKeyBlob wraps under
// it; the new blobs are valid after Finalise.
func (c *Card) CommitNext() error {
	return c.change(func(was registers) (registers, error) {
		switch {
		case was.next == nil:
			return was, errEmpty
		case was.committed:
			return was, errCommitted
		}
		was.committed = true
		return was, nil
	})
}

// Finalise makes the committed key the current one and forgets the old one. Blobs of the
// old key fail with CKR_IBM_WKID_MISMATCH from then on.
func (c *Card) Finalise() error {
	return c.change(func(was registers) (registers, error) {
		switch {
		case was.next == nil:
			return was, errEmpty
		case !was.committed:
			return was, errUncommitted
		}
		return registers{current: was.next}, nil
	})
}

// Steps that the state machine of the registers refuses.
var (
	errNotEmpty    = errors.New("the new master key register is full: commit and finalise that key first")
	errSameKey     = errors.New("the new master key is the current one")
	errEmpty       = errors.New("the new master key register is empty: load a key first")
	errCommitted   = errors.New("the new master key is committed already: rewrap the keys and finalise it")
	errUncommitted = errors.New("the new master key is not committed: commit it and rewrap the keys first")
)

func (c *Card) change(step func(registers) (registers, error)) error {
	if c.master.dir != "" {
		return fmt.Errorf("the registers of this card are those of the folder %s", c.master.dir)
	}
	for {
		was := c.master.registers.Load()
		now, err := step(*was)
		if err != nil {
			return err
		}
		if c.master.registers.CompareAndSwap(was, &now) {
			return nil
		}
	}
}
