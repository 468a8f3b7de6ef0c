package tezos

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"fmt"
	"math/big"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secp256k1ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// ErrBadSignature is the error for a signature that does not verify.
var ErrBadSignature = errors.New("signature does not verify")

// Verify checks a signature of m as a Tezos node does. The s of a tz2 signature must be low; that
// of a tz3 signature need not be. Both r and s must be in [1, n). The error Is [ErrBadSignature],
// except for a tz4 key, whose signatures this package cannot check yet.
func (k PublicKey) Verify(m Message, sig Signature) error { return k.VerifyDigest(m.digest, sig) }

// VerifyDigest is Verify for one who has kept the digest of a message and not the message.
func (k PublicKey) VerifyDigest(digest Digest, sig Signature) error {
	if !sig.generic && sig.kind != k.kind && k.kind != BLS12381 {
		return fmt.Errorf("%w: it was made by a %s key, not by a %s key", ErrBadSignature, sig.kind, k.kind)
	}
	switch k.kind {
	case Ed25519:
		if !ed25519.Verify(k.raw[:ed25519.PublicKeySize], digest[:], sig.raw[:signatureSize]) {
			return ErrBadSignature
		}
		return nil
	case Secp256k1:
		return k.verifySecp256k1(digest, sig)
	case P256:
		return k.verifyP256(digest, sig)
	case BLS12381, MLDSA44:
	}
	return fmt.Errorf("signatures of %s keys cannot be verified", k.kind)
}

// verifySecp256k1 refuses a high s as libsecp256k1 does
// (src/lib_crypto/secp256k1.ml).
func (k PublicKey) verifySecp256k1(digest Digest, sig Signature) error {
	var r, s secp256k1.ModNScalar
	if r.SetByteSlice(sig.raw[:32]) || s.SetByteSlice(sig.raw[32:signatureSize]) || r.IsZero() || s.IsZero() {
		return fmt.Errorf("%w: r or s is zero or over the group order", ErrBadSignature)
	}
	if s.IsOverHalfOrder() {
		return fmt.Errorf("%w: s is over half the group order", ErrBadSignature)
	}
	var x, y secp256k1.FieldVal
	x.SetByteSlice(k.raw[1:33])
	y.SetByteSlice(k.y[:])
	if !secp256k1ecdsa.NewSignature(&r, &s).Verify(digest[:], secp256k1.NewPublicKey(&x, &y)) {
		return ErrBadSignature
	}
	return nil
}

// verifyP256 does not check the range of r and s, since crypto/ecdsa refuses zero and
// anything over the order.
func (k PublicKey) verifyP256(digest Digest, sig Signature) error {
	var point [65]byte
	point[0] = 4 // uncompressed (SEC 1, section 2.3.3)
	copy(point[1:33], k.raw[1:33])
	copy(point[33:], k.y[:])
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point[:])
	if err != nil {
		return fmt.Errorf("%w: %v", ErrBadSignature, err)
	}
	r := new(big.Int).SetBytes(sig.raw[:32])
	s := new(big.Int).SetBytes(sig.raw[32:signatureSize])
	if !ecdsa.Verify(public, digest[:], r, s) {
		return ErrBadSignature
	}
	return nil
}
