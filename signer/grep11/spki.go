package grep11

// This file reads public keys in the form in which EP11 returns them.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"pawl/internal/ep11"
	"pawl/tezos"
)

// Algorithm identifiers of a SubjectPublicKeyInfo, DER with tag and length.
const (
	idECPublicKey = "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01" // 1.2.840.10045.2.1, RFC 5480 section 2.1.1
	idEd25519     = ep11.CurveEd25519                      // alone, without a curve: RFC 8410 section 3
)

// parseSPKI reads a public key as EP11 writes it: a SubjectPublicKeyInfo with id-ecPublicKey
// and a named curve, for Ed25519 too. It also accepts Ed25519 in the form of RFC 8410. In a
// public key blob, OCTET STRINGs follow, the last of them a MAC that only the card can check
// (EP11 manual, "MACed SPKI"). The returned spki is what stands before them.
func parseSPKI(der []byte) (key tezos.PublicKey, spki []byte, err error) {
	var element, info, algorithm cryptobyte.String
	var point []byte
	rest := cryptobyte.String(der)
	if !rest.ReadASN1Element(&element, asn1.SEQUENCE) || !onlyOctetStrings(rest) {
		return tezos.PublicKey{}, nil, errors.New("public key: not a SubjectPublicKeyInfo")
	}
	spki = element
	if !element.ReadASN1(&info, asn1.SEQUENCE) || !info.ReadASN1(&algorithm, asn1.SEQUENCE) ||
		!info.ReadASN1BitStringAsBytes(&point) || !info.Empty() {
		return tezos.PublicKey{}, nil, errors.New("public key: not a SubjectPublicKeyInfo")
	}
	key, err = publicKey(string(algorithm), point)
	if err != nil {
		return tezos.PublicKey{}, nil, err
	}
	return key, spki, nil
}

func onlyOctetStrings(s cryptobyte.String) bool {
	for !s.Empty() {
		if !s.SkipASN1(asn1.OCTET_STRING) {
			return false
		}
	}
	return true
}

// publicKey makes a Tezos key from the content of an AlgorithmIdentifier and the key's bytes.
func publicKey(algorithm string, point []byte) (tezos.PublicKey, error) {
	switch algorithm {
	case idECPublicKey + ep11.CurveEd25519, idEd25519:
		return tezos.NewPublicKey(tezos.Ed25519, point)
	case idECPublicKey + ep11.CurveSecp256k1:
		raw, err := compressSecp256k1(point)
		if err != nil {
			return tezos.PublicKey{}, err
		}
		return tezos.NewPublicKey(tezos.Secp256k1, raw)
	case idECPublicKey + ep11.CurveP256:
		raw, err := compressP256(point)
		if err != nil {
			return tezos.PublicKey{}, err
		}
		return tezos.NewPublicKey(tezos.P256, raw)
	}
	return tezos.PublicKey{}, fmt.Errorf("public key: algorithm %x is not Ed25519, secp256k1 or P-256", algorithm)
}

// An uncompressed point is 0x04, X, Y (SEC 1 section 2.3.3). The size is in bytes.
const (
	uncompressedSize = 65
	uncompressedTag  = 4
)

func compressSecp256k1(point []byte) ([]byte, error) {
	if len(point) != uncompressedSize || point[0] != uncompressedTag {
		return nil, errors.New("public key: not an uncompressed secp256k1 point")
	}
	key, err := secp256k1.ParsePubKey(point)
	if err != nil {
		return nil, fmt.Errorf("public key: not a secp256k1 point: %v", err)
	}
	return key.SerializeCompressed(), nil
}

func compressP256(point []byte) ([]byte, error) {
	if len(point) != uncompressedSize || point[0] != uncompressedTag {
		return nil, errors.New("public key: not an uncompressed P-256 point")
	}
	if _, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point); err != nil {
		return nil, fmt.Errorf("public key: not a P-256 point: %v", err)
	}
	sign := point[uncompressedSize-1] & 1 // SEC 1 section 2.3.3: 02 for an even Y, 03 for an odd one
	return append([]byte{2 | sign}, point[1:1+32]...), nil
}
