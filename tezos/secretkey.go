package tezos

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// secretSize is the length of a tz1 seed and of a tz2 or tz3 scalar in bytes
// (RFC 8032 section 5.1.5; SEC 1 section 2.3.7 for orders of 256 bits).
const secretSize = 32

// SecretKey is the clear private key of a tz1, tz2 or tz3 key: the seed of Ed25519, or the
// scalar in big-endian form. It prints and marshals as "[redacted]". Zero it after use.
// That clears this key, but not the copies that the standard library has made.
type SecretKey struct {
	raw    [secretSize]byte
	public PublicKey
}

// NewSecretKey makes a key from its 32 bytes, which it copies. For tz1 they are any seed.
// For tz2 and tz3 they are a scalar from 1 to the group order minus one. Other kinds are an
// error.
func NewSecretKey(kind KeyKind, raw []byte) (*SecretKey, error) {
	if len(raw) != secretSize {
		return nil, fmt.Errorf("a %s secret key has %d bytes, want %d", kind, len(raw), secretSize)
	}
	public, err := publicOf(kind, raw)
	if err != nil {
		return nil, err
	}
	return &SecretKey{raw: [secretSize]byte(raw), public: public}, nil
}

// publicOf computes the public key of 32 secret bytes.
func publicOf(kind KeyKind, raw []byte) (PublicKey, error) {
	switch kind {
	case Ed25519:
		private := ed25519.NewKeyFromSeed(raw)
		defer clear(private)
		return NewPublicKey(kind, private[ed25519.SeedSize:])
	case Secp256k1:
		var scalar secp256k1.ModNScalar
		defer scalar.Zero()
		if scalar.SetByteSlice(raw) || scalar.IsZero() {
			return PublicKey{}, errScalarRange
		}
		private := secp256k1.NewPrivateKey(&scalar)
		defer private.Zero()
		return NewPublicKey(kind, private.PubKey().SerializeCompressed())
	case P256:
		private, err := ecdh.P256().NewPrivateKey(raw)
		if err != nil {
			return PublicKey{}, errScalarRange
		}
		return NewPublicKey(kind, compress(private.PublicKey().Bytes()))
	case BLS12381, MLDSA44:
	}
	return PublicKey{}, fmt.Errorf("%s secret keys are not supported: want tz1, tz2 or tz3", kind)
}

var errScalarRange = errors.New("the scalar is zero or not below the group order")

// compress turns 04‖X‖Y into 02‖X or 03‖X (SEC 1 section 2.3.3).
func compress(point []byte) []byte {
	sign := point[len(point)-1] & 1
	return append([]byte{2 | sign}, point[1:1+secretSize]...)
}

// PublicKey returns the public key.
func (k *SecretKey) PublicKey() PublicKey { return k.public }

// Bytes returns the 32 bytes themselves, not a copy: Zero clears them.
func (k *SecretKey) Bytes() []byte { return k.raw[:] }

// Zero overwrites the secret. The key is useless afterwards.
func (k *SecretKey) Zero() { clear(k.raw[:]) }

const redacted = "[redacted]"

// String returns "[redacted]".
func (SecretKey) String() string { return redacted }

// GoString returns "[redacted]".
func (SecretKey) GoString() string { return redacted }

// Format writes "[redacted]" for every verb.
func (SecretKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (SecretKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]". JSON shows the same.
func (SecretKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Point returns the uncompressed public key: for a tz2 or tz3 key the 65 bytes 04‖X‖Y (SEC 1
// section 2.3.3), for other kinds the same as [PublicKey.Bytes].
func (k PublicKey) Point() []byte {
	switch k.kind {
	case Secp256k1, P256:
		return append(append([]byte{4}, k.raw[1:1+secretSize]...), k.y[:]...)
	case Ed25519, BLS12381, MLDSA44:
	}
	return k.Bytes()
}

// hasPoint reports whether a stored public key, compressed or not, is this one.
func (k PublicKey) hasPoint(point []byte) bool {
	return bytes.Equal(point, k.Bytes()) || bytes.Equal(point, k.Point())
}
