package softcard

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"pawl/internal/durable"
)

// nextKeyFile is the new master key register: 32 bytes in hex, a blank, and one of the two
// words below. An empty register has no file.
const nextKeyFile = "next.key"

const (
	uncommitted = "uncommitted"
	committed   = "committed"
)

// Registers is the content of a card's two master key registers.
type Registers struct {
	Current   [wkidSize]byte // id of the current master key, as in blobs
	Next      [wkidSize]byte // id of the new one; zeros if the register is empty
	Full      bool           // the new register holds a key
	Committed bool           // the new key is committed: blobs can be rewrapped under it
}

// String is e.g. "current 0123… valid, new empty".
func (r Registers) String() string {
	switch {
	case !r.Full:
		return fmt.Sprintf("current %x valid, new empty", r.Current)
	case !r.Committed:
		return fmt.Sprintf("current %x valid, new %x full uncommitted", r.Current, r.Next)
	}
	return fmt.Sprintf("current %x valid, new %x full committed", r.Current, r.Next)
}

// Registers reads the master key registers. A folder without a card is [ErrNoCard].
func (d Dir) Registers() (Registers, error) {
	key, err := d.masterKey()
	if errors.Is(err, fs.ErrNotExist) {
		err = cmp.Or(d.whole(), err)
	}
	if err != nil {
		return Registers{}, err
	}
	r := Registers{Current: wkidOf(key)}
	next, done, err := d.nextKey()
	if err != nil || next == nil || bytes.Equal(next, key) {
		return r, err
	}
	r.Next, r.Full, r.Committed = wkidOf(next), true, done
	return r, nil
}

// LoadNext puts a new random master key into the new register, which must be empty. A card
// that serves the folder follows at once, as it does with CommitNext and Finalise. Each of
// them returns when the folder is on disk.
func (d Dir) LoadNext() error {
	return d.advance(func(r Registers) error {
		if r.Full {
			return errNotEmpty
		}
		key := make([]byte, masterKeySize)
		if _, err := rand.Read(key); err != nil {
			return fmt.Errorf("new master key: %v", err)
		}
		return d.replace(nextKeyFile, hex.EncodeToString(key)+" "+uncommitted+"\n")
	})
}

// CommitNext commits the new master key. From then on the card's RewrapKeyBlob wraps under
// it; nothing else does.
func (d Dir) CommitNext() error {
	return d.advance(func(r Registers) error {
		switch {
		case !r.Full:
			return errEmpty
		case r.Committed:
			return errCommitted
		}
		key, _, err := d.nextKey()
		if err != nil {
			return err
		}
		return d.replace(nextKeyFile, hex.EncodeToString(key)+" "+committed+"\n")
	})
}

// Finalise makes the committed master key the current one and deletes the old one. A key
// that was not rewrapped is lost.
func (d Dir) Finalise() error {
	return d.advance(func(r Registers) error {
		switch {
		case !r.Full:
			return errEmpty
		case !r.Committed:
			return errUncommitted
		}
		key, _, err := d.nextKey()
		if err != nil {
			return err
		}
		return d.replace(masterKeyFile, hex.EncodeToString(key)+"\n")
	})
}

// advance takes one step of the state machine under the folder's lock, for which it waits a
// second at most. Finalise writes two files. If it was cut off between them, next.key holds
// the current key, which every reader takes for an empty register.
func (d Dir) advance(step func(Registers) error) error {
	if err := d.whole(); err != nil {
		return err
	}
	unlock, err := durable.LockFolder(string(d))
	if err != nil {
		return fmt.Errorf("locking the card's folder: %w", err)
	}
	defer unlock()
	r, err := d.Registers()
	if err != nil {
		return err
	}
	if err := step(r); err != nil {
		return err
	}
	return d.dropFinalised()
}

func (d Dir) dropFinalised() error {
	key, err := d.masterKey()
	if err != nil {
		return err
	}
	next, _, err := d.nextKey()
	if err != nil || !bytes.Equal(key, next) {
		return err
	}
	if err := os.Remove(d.path(nextKeyFile)); err != nil {
		return fmt.Errorf("emptying the new master key register: %w", err)
	}
	return d.sync()
}

// replace writes a file of the folder. A card that reads it finds the old text or the new.
func (d Dir) replace(name, text string) error {
	err := durable.Replace(d.path(name), []byte(text))
	if errors.Is(err, fs.ErrNotExist) {
		err = durable.WriteNew(d.path(name), []byte(text), 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing %s of the card: %w", name, err)
	}
	return nil
}

// nextKey reads next.key. A nil key is an empty register.
func (d Dir) nextKey() (key []byte, done bool, err error) {
	text, err := d.readSecret(nextKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	digits, state, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	key, err = hex.DecodeString(digits)
	if err != nil || len(key) != masterKeySize || (state != uncommitted && state != committed) {
		return nil, false, fmt.Errorf(
			"%s in %s is not %d bytes in hex and a state: remove it and load a key anew", nextKeyFile, d, masterKeySize)
	}
	return key, state == committed, nil
}

// keyFiles describes the files of the registers; nil stands for an absent one.
func (d Dir) keyFiles() (files [2]os.FileInfo) {
	for i, name := range [...]string{masterKeyFile, nextKeyFile} {
		if info, err := os.Stat(d.path(name)); err == nil {
			files[i] = info
		}
	}
	return files
}
