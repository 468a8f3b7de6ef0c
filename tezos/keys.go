package tezos

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/blake2b"
)

// KeyKind is the kind of a key. Its value is the tag that Octez writes before a public
// key and before its hash (src/lib_crypto/signature_v3.ml).
type KeyKind uint8

// The kinds of keys, with the prefix of their hashes.
const (
	Ed25519   KeyKind = iota // tz1
	Secp256k1                // tz2
	P256                     // tz3
	BLS12381                 // tz4
	MLDSA44                  // tz5
)

// String returns the prefix of the kind's hashes, "tz1" to "tz5".
func (k KeyKind) String() string {
	if int(k) >= len(pkhPrefixes) {
		return "unknown"
	}
	return pkhPrefixes[k].text
}

// ParseKeyKind reads "tz1" to "tz5".
func ParseKeyKind(s string) (KeyKind, error) {
	for i, p := range pkhPrefixes {
		if s == p.text {
			return keyKinds[i], nil
		}
	}
	return 0, errors.New("unknown key kind: want tz1, tz2, tz3, tz4 or tz5")
}

var keyKinds = [...]KeyKind{Ed25519, Secp256k1, P256, BLS12381, MLDSA44}

// pkhSize is the length of the BLAKE2b hash of a public key in bytes
// (signature_v3.ml, Public_key_hash).
const pkhSize = 20

// PublicKeyHash is the address of a key in Octez's binary form: a tag byte, the
// [KeyKind], and 20 bytes of hash. It is comparable.
type PublicKeyHash [1 + pkhSize]byte

// ParsePublicKeyHash reads an address, tz1… to tz5…. It accepts exactly what
// [PublicKeyHash.String] writes.
func ParsePublicKeyHash(s string) (PublicKeyHash, error) {
	i, ok := findPrefix(pkhPrefixes[:], s)
	if !ok {
		return PublicKeyHash{}, errors.New("public key hash: want tz1…, tz2…, tz3…, tz4… or tz5…")
	}
	raw, err := pkhPrefixes[i].decode(s)
	if err != nil {
		return PublicKeyHash{}, fmt.Errorf("public key hash: %v", err)
	}
	return newPublicKeyHash(keyKinds[i], raw), nil
}

func newPublicKeyHash(kind KeyKind, hash []byte) PublicKeyHash {
	h := PublicKeyHash{byte(kind)}
	copy(h[1:], hash)
	return h
}

// hashPublicKey returns the BLAKE2b-160 hash of a raw public key.
func hashPublicKey(kind KeyKind, raw []byte) PublicKeyHash {
	digest, err := blake2b.New(pkhSize, nil)
	if err != nil {
		return PublicKeyHash{} // cannot happen: 20 is a valid size
	}
	digest.Write(raw)
	return newPublicKeyHash(kind, digest.Sum(nil))
}

// Kind returns the kind of the key behind the hash.
func (h PublicKeyHash) Kind() KeyKind { return KeyKind(h[0]) }

func (h PublicKeyHash) valid() bool { return int(h[0]) < len(pkhPrefixes) }

// String returns the base58 form, tz1… to tz5….
func (h PublicKeyHash) String() string {
	if !h.valid() {
		return "invalid public key hash"
	}
	return pkhPrefixes[h[0]].encode(h[1:])
}

// MarshalText returns the base58 form. It fails if the hash has the tag of no kind.
func (h PublicKeyHash) MarshalText() ([]byte, error) {
	if !h.valid() {
		return nil, fmt.Errorf("public key hash with unknown tag 0x%02x", h[0])
	}
	return []byte(h.String()), nil
}

// ChainID identifies a network: the first four bytes of the hash of its genesis block
// hash.
type ChainID [4]byte

// ParseChainID reads a chain id, Net…. It accepts exactly what [ChainID.String]
// writes.
func ParseChainID(s string) (ChainID, error) {
	raw, err := chainIDPrefix.decode(s)
	if err != nil {
		return ChainID{}, fmt.Errorf("chain id: %v", err)
	}
	return ChainID(raw), nil
}

// String returns the base58 form, Net….
func (c ChainID) String() string { return chainIDPrefix.encode(c[:]) }

// MarshalText returns the base58 form. Its error is always nil.
func (c ChainID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
