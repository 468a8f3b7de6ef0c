package tezos

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"golang.org/x/crypto/blake2b"
)

// Digest is the BLAKE2b-256 hash of a payload.
type Digest [32]byte

// DigestOf hashes a payload, its magic byte included.
func DigestOf(payload []byte) Digest { return blake2b.Sum256(payload) }

// String returns lower-case hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Message is a payload with its digest, which is computed once. A tz1, tz2 or tz3 key signs
// the digest. A tz4 key signs the payload itself (signature_v3.ml, sign).
type Message struct {
	payload []byte
	digest  Digest
}

// NewMessage hashes a payload. The message keeps the slice, which must not change afterwards.
func NewMessage(payload []byte) Message { return Message{payload, DigestOf(payload)} }

// probeSize is the length of a probe in bytes. No payload that Tezos knows is as short as
// this and begins with a zero byte.
const probeSize = 32

// NewProbe returns a random message to try a key with. Its first byte is 0, which is not a
// magic byte, so nobody can use a signature of it.
func NewProbe() (Message, error) {
	payload := make([]byte, probeSize)
	if _, err := rand.Read(payload[1:]); err != nil {
		return Message{}, err
	}
	return NewMessage(payload), nil
}

// Payload returns a copy of the payload.
func (m Message) Payload() []byte { return bytes.Clone(m.payload) }

// Digest returns the BLAKE2b-256 hash of the payload.
func (m Message) Digest() Digest { return m.digest }

// ParsePayloadHash reads the base58 text of the hash of a block's payload (vh…, src/lib_crypto/base58.ml,
// block_payload_hash). Signatory writes digests of messages in this form too.
func ParsePayloadHash(s string) ([32]byte, error) {
	raw, err := payloadHashPrefix.decode(s)
	if err != nil {
		return [32]byte{}, fmt.Errorf("payload hash: %v", err)
	}
	return [32]byte(raw), nil
}
