package sqlite

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/crypto/blake2b"

	"pawl/ratchet"
)

// A seal is a digest of a row, stored in the row. SQLite checks the structure of a database and not what
// is in it: bits that change on the disk can make another valid row, with a lower level for instance.
// The seal is made when a row is written and checked when it is read.

// sealSize is half of a BLAKE2b-256 (RFC 7693): a chance change goes unnoticed once in 2^128 times.
const sealSize = 16

// sealOfMark returns the seal of a row of marks.
func sealOfMark(m ratchet.StoredMark) []byte {
	text := append([]byte{'m'}, m.Key[:]...)
	text = append(text, m.ChainID[:]...)
	text = append(text, byte(m.Kind))
	text = binary.BigEndian.AppendUint32(text, uint32(m.Level)) //nolint:gosec // the same 32 bits
	text = binary.BigEndian.AppendUint32(text, uint32(m.Round)) //nolint:gosec // the same 32 bits
	text = append(text, m.Digest[:]...)
	if m.Signature != nil {
		text = append(text, m.Signature.Bytes()...)
	}
	if !m.Time.IsZero() { // marks of older pawls keep their seals
		text = binary.BigEndian.AppendUint64(text, uint64(m.Time.UnixMilli()))
	}
	return sealOf(text)
}

// sealOfRegistration returns the seal of a row of registrations, or of never_used, where the chain is
// zero.
func sealOfRegistration(r ratchet.Registration) []byte {
	text := append([]byte{'r'}, r.Key[:]...)
	text = append(text, r.ChainID[:]...)
	if r.AnyChain {
		text = append(text, 'a')
	}
	if !r.AnyChain && !r.NoFloor {
		text = binary.BigEndian.AppendUint32(text, uint32(r.FromLevel)) //nolint:gosec // the same 32 bits
	}
	return sealOf(appendBounds(text, r))
}

// appendBounds adds the bounds that there are: registrations of older pawls have none, and keep their seals.
func appendBounds(text []byte, r ratchet.Registration) []byte {
	if r.Bounded {
		text = fmt.Appendf(text, "not after %d;", r.NotAfter)
	}
	if r.Retired != "" {
		text = fmt.Appendf(text, "retired %q;", r.Retired)
	}
	if f := r.Fence; f.Cause != ratchet.NoCause {
		text = fmt.Appendf(text, "fence %d %d %t %d;", f.Cause, f.Known, f.Set, f.Until)
	}
	return text
}

func sealOf(text []byte) []byte {
	sum := blake2b.Sum256(text)
	return sum[:sealSize]
}

// checkSealOfMark refuses a row that is not as it was written.
func checkSealOfMark(m ratchet.StoredMark, found []byte) error {
	if bytes.Equal(sealOfMark(m), found) {
		return nil
	}
	return damaged("the mark of %s on %s, %s level %d and round %d, is not as it was written", m.Key, m.ChainID, m.Kind,
		m.Level, m.Round)
}

func checkSealOfRegistration(r ratchet.Registration, found []byte) error {
	switch {
	case bytes.Equal(sealOfRegistration(r), found):
		return nil
	case r.AnyChain:
		return damaged("the registration of %s for any chain is not as it was written", r.Key)
	}
	return damaged("the registration of %s on %s from level %d is not as it was written", r.Key, r.ChainID, r.FromLevel)
}

// unreadable returns the error for a row that could not be scanned. SQLite's own errors are about the
// disk and stay as they are. Those of database/sql mean that the row has values that no ratchet writes.
func unreadable(err error) error {
	if _, ofSQLite := errors.AsType[sqlite3.Error](err); ofSQLite || errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return damaged("a row cannot be read: %v", err)
}

func damaged(format string, args ...any) error { return verdict(Lost, fmt.Sprintf(format, args...)) }
