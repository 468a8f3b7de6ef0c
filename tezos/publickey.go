package tezos

import (
	"bytes"
	"crypto/elliptic"
	"errors"
	"fmt"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// PublicKey is a tz1, tz2, tz3 or tz4 public key. It is comparable. The zero
// value is the tz1 key of 32 zero bytes.
type PublicKey struct {
	kind KeyKind
	raw  [48]byte
	y    [32]byte // of a tz2 or tz3 point; computed once, since it takes a square root
}

// errOffCurve is the error for a point that is not on the curve, or not compressed.
var errOffCurve = errors.New("not a compressed point of the curve")

// ParsePublicKey reads edpk…, sppk…, p2pk… or BLpk…. It accepts exactly what
// [PublicKey.String] writes, under the rules of [NewPublicKey].
func ParsePublicKey(s string) (PublicKey, error) {
	i, ok := findPrefix(publicKeyPrefixes[:], s)
	if !ok {
		return PublicKey{}, errors.New("public key: want edpk…, sppk…, p2pk… or BLpk…")
	}
	raw, err := publicKeyPrefixes[i].decode(s)
	if err != nil {
		return PublicKey{}, fmt.Errorf("public key: %v", err)
	}
	return NewPublicKey(keyKinds[i], raw)
}

// NewPublicKey makes a key from its raw bytes: 32 for a tz1 key, 33 for a tz2 or tz3 key,
// 48 for a tz4 key. The last three are compressed points. Those of tz2 and tz3 must be on
// the curve. For tz4 only the flags and the range are checked. Anything else is an error.
func NewPublicKey(kind KeyKind, raw []byte) (PublicKey, error) {
	if int(kind) >= len(publicKeyPrefixes) {
		return PublicKey{}, fmt.Errorf("a %s public key is not supported: want tz1, tz2, tz3 or tz4", kind)
	}
	if want := publicKeyPrefixes[kind].size; len(raw) != want {
		return PublicKey{}, fmt.Errorf("a %s public key has %d bytes, want %d", kind, len(raw), want)
	}
	key := PublicKey{kind: kind}
	copy(key.raw[:], raw)
	if err := key.decompress(); err != nil {
		return PublicKey{}, fmt.Errorf("%s public key: %v", kind, err)
	}
	return key, nil
}

// decompress checks the point, and stores its y if the kind is tz2 or tz3.
func (k *PublicKey) decompress() error {
	switch k.kind {
	case Secp256k1:
		point, err := secp256k1.ParsePubKey(k.raw[:33])
		if err != nil {
			return errOffCurve
		}
		point.Y().FillBytes(k.y[:])
	case P256:
		x, y := elliptic.UnmarshalCompressed(elliptic.P256(), k.raw[:33])
		if x == nil {
			return errOffCurve
		}
		y.FillBytes(k.y[:])
	case BLS12381:
		return checkBLSPoint(k.raw)
	case Ed25519, MLDSA44:
	}
	return nil
}

// blsPrime is the field prime of BLS12-381 (draft-irtf-cfrg-pairing-friendly-curves
// section 4.2.1).
var blsPrime = [48]byte{
	0x1a, 0x01, 0x11, 0xea, 0x39, 0x7f, 0xe6, 0x9a, 0x4b, 0x1b, 0xa7, 0xb6,
	0x43, 0x4b, 0xac, 0xd7, 0x64, 0x77, 0x4b, 0x84, 0xf3, 0x85, 0x12, 0xbf,
	0x67, 0x30, 0xd2, 0xa0, 0xf6, 0xb0, 0xf6, 0x24, 0x1e, 0xab, 0xff, 0xfe,
	0xb1, 0x53, 0xff, 0xff, 0xb9, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xaa, 0xab,
}

// checkBLSPoint checks the three flag bits of a G1 point (compressed, infinity, sign; the
// same draft, appendix C) and the range of x.
func checkBLSPoint(raw [48]byte) error {
	const compressed, infinity, flags = 0x80, 0x40, 0xe0
	if raw[0]&compressed == 0 || raw[0]&infinity != 0 {
		return errors.New("not a compressed finite point")
	}
	raw[0] &^= flags
	if bytes.Compare(raw[:], blsPrime[:]) >= 0 {
		return errors.New("coordinate over the field prime")
	}
	return nil
}

// Kind returns the kind of the key.
func (k PublicKey) Kind() KeyKind { return k.kind }

// Bytes returns the raw bytes without a tag, as [NewPublicKey] reads them.
func (k PublicKey) Bytes() []byte {
	return bytes.Clone(k.raw[:publicKeyPrefixes[k.kind].size])
}

// Hash returns the address of the key, the BLAKE2b-160 hash of its raw bytes.
func (k PublicKey) Hash() PublicKeyHash { return hashPublicKey(k.kind, k.Bytes()) }

// String returns the base58 form, edpk…, sppk…, p2pk… or BLpk….
func (k PublicKey) String() string { return publicKeyPrefixes[k.kind].encode(k.Bytes()) }
