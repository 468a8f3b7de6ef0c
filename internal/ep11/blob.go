package ep11

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"pawl/internal/durable"
	"pawl/tezos"
)

// The clear head of an EP11 blob: session id (32 bytes), wrapping key id (16), boolean
// attributes (8), mode (8), the marker 0x1234 (2), initialisation vector (14). Then come
// the ciphertext, whole blocks of 16 bytes, and a MAC of 32 bytes. EP11 manual, "Blob
// formats"; published blobs of real cards agree.
const (
	wkidOffset       = 32
	attributesOffset = 48
	markerOffset     = 64
	marker           = 0x1234
	cipherBlockSize  = 16
	minBlobSize      = ClearBlobSize + cipherBlockSize
	maxBlobSize      = 9216 // MAX_BLOB_SIZE of ep11.h
)

// ClearBlobSize is the number of bytes of a blob that are not encrypted: its head and its
// MAC.
const ClearBlobSize = 80 + 32

const redacted = "[redacted]"

// Blob is an EP11-wrapped private key. Printed or marshalled in any way it reads
// "[redacted]"; only Hex shows it.
type Blob []byte

// ParseBlob reads a blob from hex of any case and ignores blanks around it and a byte order
// mark. It checks the head; only the card knows whether it takes the blob. The error does not
// quote the blob, and names a secret key for what it is.
func ParseBlob(s string) (Blob, error) {
	text, err := durable.Text([]byte(s))
	if err != nil {
		return nil, err
	}
	s = strings.TrimSpace(string(text))
	switch secret := tezos.SecretIn(s); {
	case s == "":
		return nil, errors.New("nothing in it")
	case secret != "":
		return nil, fmt.Errorf("%s, and no key blob: bring the key into the HSM with `pawl keys import`", secret)
	case strings.HasPrefix(s, "-----BEGIN "):
		return nil, errors.New("PEM, and no key blob")
	case strings.ContainsAny(s, "\r\n"):
		return nil, errors.New("key blob on several lines: its hex goes on one")
	}
	if len(s) > hex.EncodedLen(maxBlobSize) {
		return nil, fmt.Errorf("key blob of %d hex digits: want at most %d", len(s), hex.EncodedLen(maxBlobSize))
	}
	b, err := hex.DecodeString(s)
	switch {
	case errors.Is(err, hex.ErrLength):
		return nil, fmt.Errorf("key blob of %d characters is not hex: an odd number, so one is missing", len(s))
	case err != nil:
		return nil, fmt.Errorf("key blob of %d characters is not hex", len(s))
	}
	if _, err := Blob(b).Header(); err != nil {
		return nil, err
	}
	return b, nil
}

// maxBlobFile is room for the hex of the largest blob and for blanks around it, in bytes.
const maxBlobFile = 64 << 10

// ReadBlob reads a regular file with the hex of one blob. Its errors name the file.
func ReadBlob(path string) (Blob, error) {
	data, _, err := durable.ReadFile(path, maxBlobFile)
	if err != nil {
		return nil, err
	}
	blob, err := ParseBlob(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return blob, nil
}

// Hex returns the blob in lower-case hex, for the one place that must write it.
func (b Blob) Hex() string { return hex.EncodeToString(b) }

// Header is the clear part of a blob: what is known of a key without the card. Only the
// card can authenticate it.
type Header struct {
	SessionBound  bool     // the blob dies with a login session
	WrappingKeyID [16]byte // id of the master key that wraps the blob
	Attributes    uint64   // Blob… bits
	Extractable   bool     // the card may wrap this key for export
}

// Header reads the clear part. It fails if b does not have the size or the marker of a
// blob, which most truncated blobs do not.
func (b Blob) Header() (Header, error) {
	if len(b) < minBlobSize || len(b) > maxBlobSize {
		return Header{}, fmt.Errorf("key blob of %d bytes: want %d to %d", len(b), minBlobSize, maxBlobSize)
	}
	if got := binary.BigEndian.Uint16(b[markerOffset:]); got != marker {
		return Header{}, fmt.Errorf("key blob: 0x%04x at byte %d where an EP11 blob has 0x%04x", got, markerOffset, marker)
	}
	if odd := (len(b) - ClearBlobSize) % cipherBlockSize; odd != 0 {
		return Header{}, fmt.Errorf(
			"key blob of %d bytes: cut short, or %d bytes too long: its ciphertext is not a whole number of blocks", len(b), odd)
	}
	attributes := binary.BigEndian.Uint64(b[attributesOffset:])
	return Header{
		SessionBound:  [wkidOffset]byte(b) != [wkidOffset]byte{},
		WrappingKeyID: [16]byte(b[wkidOffset:]),
		Attributes:    attributes,
		Extractable:   attributes&BlobExtractable != 0,
	}, nil
}

// String returns "[redacted]".
func (Blob) String() string { return redacted }

// GoString returns "[redacted]".
func (Blob) GoString() string { return redacted }

// Format writes "[redacted]" for every verb.
func (Blob) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (Blob) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]", in JSON too.
func (Blob) MarshalText() ([]byte, error) { return []byte(redacted), nil }
