package ratchet

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/crypto/blake2b"
)

// sealSize is that of BLAKE2b-256 (RFC 7693), cut to half: what changes by chance passes once in 2^128.
const sealSize = 16

// seal is the digest of a row, which lies in it. SQLite checks how a database is built
// and not what is in it: bits that changed on the disk can make another whole row, with
// a lower level for one. A row is sealed where it is made and checked where it is read.
func (m slotRow) seal() []byte {
	text := append([]byte{'m'}, m.key[:]...)
	text = append(text, m.chain[:]...)
	text = append(text, byte(m.kind))
	text = binary.BigEndian.AppendUint32(text, uint32(m.level)) //nolint:gosec // the same 32 bits
	text = binary.BigEndian.AppendUint32(text, uint32(m.round)) //nolint:gosec // the same 32 bits
	text = append(text, m.digest[:]...)
	if m.signature != nil {
		text = append(text, m.signature.Bytes()...)
	}
	return sealOf(text)
}

// seal is the digest of a row of registrations, or of never_used: there the chain is zero.
func (r registration) seal() []byte {
	text := append([]byte{'r'}, r.Key[:]...)
	text = append(text, r.ChainID[:]...)
	if r.AnyChain {
		text = append(text, 'a')
	}
	if r.floor.Valid {
		text = binary.BigEndian.AppendUint32(text, uint32(r.floor.V)) //nolint:gosec // the same 32 bits
	}
	return sealOf(text)
}

func sealOf(text []byte) []byte {
	sum := blake2b.Sum256(text)
	return sum[:sealSize]
}

// checkSeal is ErrSuspect for a row that is not as it was written.
func (m slotRow) checkSeal(found []byte) error {
	if bytes.Equal(m.seal(), found) {
		return nil
	}
	return damaged("the mark of %s on %s, %s level %d and round %d, is not as it was written", m.key, m.chain, m.kind, m.level, m.round)
}

func (r registration) checkSeal(found []byte) error {
	switch {
	case bytes.Equal(r.seal(), found):
		return nil
	case r.AnyChain:
		return damaged("the registration of %s for any chain is not as it was written", r.Key)
	}
	return damaged("the registration of %s on %s from level %d is not as it was written", r.Key, r.ChainID, r.floor.V)
}

// unreadable is what err, of a row, tells: SQLite's own errors tell of the disk, those of
// database/sql that the row has values of no ratchet.
func unreadable(err error) error {
	if _, ofSQLite := errors.AsType[sqlite3.Error](err); ofSQLite || errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return damaged("a row cannot be read: %v", err)
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrSuspect, fmt.Sprintf(format, args...), wayOut)
}
