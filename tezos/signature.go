package tezos

import (
	"bytes"
	"crypto/elliptic"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"golang.org/x/crypto/blake2b"
)

// Digest is the BLAKE2b-256 hash of a payload: what tz1, tz2 and tz3 keys sign.
type Digest [32]byte

// DigestOf hashes a payload, its magic byte included.
func DigestOf(payload []byte) Digest { return blake2b.Sum256(payload) }

// String gives lower-case hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// signatureSize is the length of a tz1, tz2 or tz3 signature in bytes: r and s
// of 32 bytes each (signature_v3.ml).
const signatureSize = 64

// Signature is the 64 bytes r‖s of a tz1, tz2 or tz3 key. One that was parsed
// from the generic text form, sig…, does not say of which kind. It is
// comparable.
type Signature struct {
	kind    KeyKind
	generic bool
	raw     [signatureSize]byte
}

// NewSignature makes a signature of a tz1, tz2 or tz3 key from its 64 bytes,
// which are kept as they are. Another length or kind is an error.
func NewSignature(kind KeyKind, raw []byte) (Signature, error) {
	if len(raw) != signatureSize {
		return Signature{}, fmt.Errorf("a signature has %d bytes, want %d", len(raw), signatureSize)
	}
	if int(kind) >= len(signaturePrefixes) {
		return Signature{}, fmt.Errorf("a %s signature is not supported: want tz1, tz2 or tz3", kind)
	}
	return Signature{kind: kind, raw: [signatureSize]byte(raw)}, nil
}

// ParseSignature reads edsig…, spsig1…, p2sig… or the generic sig…. It accepts
// exactly what [Signature.String] writes.
func ParseSignature(s string) (Signature, error) {
	i, ok := findPrefix(signaturePrefixes[:], s)
	format := genericSignaturePrefix
	if ok {
		format = signaturePrefixes[i]
	} else if _, ok := findPrefix([]prefix{format}, s); !ok {
		return Signature{}, errors.New("signature: want edsig…, spsig1…, p2sig… or sig…")
	}
	raw, err := format.decode(s)
	if err != nil {
		return Signature{}, fmt.Errorf("signature: %v", err)
	}
	return Signature{kind: keyKinds[i], generic: !ok, raw: [signatureSize]byte(raw)}, nil
}

// LowS gives the twin signature whose s is at most half the group order, for tz2
// and tz3; both verify, but a tz2 signature only in this form at a Tezos node. A
// tz1 or generic signature, and one whose s is over the order, stay as they are.
func (s Signature) LowS() Signature {
	if s.generic {
		return s
	}
	switch s.kind {
	case Secp256k1:
		var scalar secp256k1.ModNScalar
		if overflow := scalar.SetByteSlice(s.raw[32:]); !overflow && scalar.IsOverHalfOrder() {
			scalar.Negate().PutBytesUnchecked(s.raw[32:])
		}
	case P256:
		order := elliptic.P256().Params().N
		scalar := new(big.Int).SetBytes(s.raw[32:])
		negated := new(big.Int).Sub(order, scalar)
		if negated.Sign() > 0 && scalar.Cmp(negated) > 0 {
			negated.FillBytes(s.raw[32:])
		}
	case Ed25519, BLS12381, MLDSA44:
	}
	return s
}

// Bytes gives the 64 bytes r‖s.
func (s Signature) Bytes() []byte { return bytes.Clone(s.raw[:]) }

// String gives the base58 form that the signature was parsed from, or
// otherwise that of its kind: edsig…, spsig1…, p2sig….
func (s Signature) String() string {
	if s.generic {
		return genericSignaturePrefix.encode(s.raw[:])
	}
	return signaturePrefixes[s.kind].encode(s.raw[:])
}
