package tezos

import (
	"bytes"
	"crypto/elliptic"
	"errors"
	"fmt"
	"math/big"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// The lengths of signatures in bytes (signature_v3.ml): r and s of 32 bytes each, or one
// compressed point of G2.
const (
	signatureSize    = 64 // tz1, tz2, tz3
	blsSignatureSize = 96 // tz4
)

// Signature is a signature: 64 bytes r‖s of a tz1, tz2 or tz3 key, or 96 bytes of a tz4 key. It
// knows the kind of its key, except if it was parsed from the generic text form, sig…, which
// has 64 bytes. It is comparable.
type Signature struct {
	kind    KeyKind
	generic bool
	raw     [blsSignatureSize]byte
}

// NewSignature makes a signature from its raw bytes: 64 for a tz1, tz2 or tz3 key, 96 for a tz4
// key. It does not change them. Another length or kind is an error.
func NewSignature(kind KeyKind, raw []byte) (Signature, error) {
	want := sizeOf(kind)
	switch {
	case want == 0:
		return Signature{}, fmt.Errorf("a %s signature is not supported: want tz1, tz2, tz3 or tz4", kind)
	case len(raw) != want:
		return Signature{}, fmt.Errorf("a %s signature has %d bytes, want %d", kind, len(raw), want)
	}
	sig := Signature{kind: kind}
	copy(sig.raw[:], raw)
	return sig, nil
}

// sizeOf returns the length of a kind's signatures in bytes, or 0 if the kind is not supported.
func sizeOf(kind KeyKind) int {
	switch kind {
	case Ed25519, Secp256k1, P256:
		return signatureSize
	case BLS12381:
		return blsSignatureSize
	case MLDSA44:
	}
	return 0
}

// ParseSignature reads edsig…, spsig1…, p2sig…, BLsig… or the generic sig…. It accepts exactly
// what [Signature.String] writes.
func ParseSignature(s string) (Signature, error) {
	i, ok := findPrefix(signaturePrefixes[:], s)
	format := genericSignaturePrefix
	if ok {
		format = signaturePrefixes[i]
	} else if _, ok := findPrefix([]prefix{format}, s); !ok {
		return Signature{}, errors.New("signature: want edsig…, spsig1…, p2sig…, BLsig… or sig…")
	}
	raw, err := format.decode(s)
	if err != nil {
		return Signature{}, fmt.Errorf("signature: %v", err)
	}
	sig := Signature{kind: keyKinds[i], generic: !ok}
	copy(sig.raw[:], raw)
	return sig, nil
}

// LowS returns the equivalent signature whose s is at most half the group order, for tz2 and tz3.
// Both verify, but a Tezos node accepts a tz2 signature only with a low s. LowS does not change a
// tz1, tz4 or generic signature, nor one whose s is over the order.
func (s Signature) LowS() Signature {
	if s.generic {
		return s
	}
	switch scalarBytes := s.raw[signatureSize/2 : signatureSize]; s.kind {
	case Secp256k1:
		var scalar secp256k1.ModNScalar
		if overflow := scalar.SetByteSlice(scalarBytes); !overflow && scalar.IsOverHalfOrder() {
			scalar.Negate().PutBytesUnchecked(scalarBytes)
		}
	case P256:
		order := elliptic.P256().Params().N
		scalar := new(big.Int).SetBytes(scalarBytes)
		negated := new(big.Int).Sub(order, scalar)
		if negated.Sign() > 0 && scalar.Cmp(negated) > 0 {
			negated.FillBytes(scalarBytes)
		}
	case Ed25519, BLS12381, MLDSA44:
	}
	return s
}

// Bytes returns a copy of the 64 or 96 bytes.
func (s Signature) Bytes() []byte { return bytes.Clone(s.raw[:sizeOf(s.kind)]) }

// String returns the base58 form: edsig…, spsig1…, p2sig… or BLsig…, or sig… if the signature
// was parsed from that.
func (s Signature) String() string {
	if s.generic {
		return genericSignaturePrefix.encode(s.Bytes())
	}
	return signaturePrefixes[s.kind].encode(s.Bytes())
}
