package tezos

// This file reads private keys from PEM.

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// ErrEncryptedPEM is the error for a PEM that needs a passphrase.
var ErrEncryptedPEM = errors.New("the PEM is encrypted")

// Object identifiers, DER with tag and length.
const (
	oidECPublicKey = "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"     // id-ecPublicKey, RFC 5480 section 2.1.1
	oidP256        = "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07" // secp256r1, RFC 5480 section 2.1.1.1
	oidSecp256k1   = "\x06\x05\x2b\x81\x04\x00\x0a"             // SEC 2 section A.2.1
	oidEd25519     = "\x06\x03\x2b\x65\x70"                     // RFC 8410 section 3
)

var pemBegin = []byte("-----BEGIN ")

// parseSecretPEM reads the only private key in a PEM file. It skips parameters,
// certificates and public keys beside it.
func parseSecretPEM(text []byte) (*SecretKey, error) {
	var found *SecretKey
	begun := bytes.Count(text, pemBegin)
	for {
		block, rest := pem.Decode(text)
		switch {
		case block == nil && begun > 0: // Decode skips damaged blocks
			if found != nil {
				found.Zero()
			}
			return nil, errors.New("PEM: a block is damaged or does not end")
		case block == nil && found == nil:
			return nil, errors.New("PEM: there is no private key")
		case block == nil:
			return found, nil
		}
		text = rest
		begun--
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if found != nil {
			clear(block.Bytes)
			found.Zero()
			return nil, errors.New("PEM: more than one private key")
		}
		var err error
		if found, err = secretOfBlock(block); err != nil {
			return nil, err
		}
	}
}

// secretOfBlock reads a block that holds a private key, and zeroes the block.
func secretOfBlock(block *pem.Block) (*SecretKey, error) {
	defer clear(block.Bytes)
	_, encrypted := block.Headers["DEK-Info"] // RFC 1421 section 4.6.1.3
	var key ecKey
	ok := false
	switch {
	case encrypted || block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, ErrEncryptedPEM
	case block.Type == "EC PRIVATE KEY":
		key, ok = readSEC1(block.Bytes)
	case block.Type == "PRIVATE KEY":
		key, ok = readPKCS8(block.Bytes)
	default:
		return nil, fmt.Errorf("PEM: %q is not supported: want EC PRIVATE KEY or PRIVATE KEY", block.Type)
	}
	if !ok {
		return nil, fmt.Errorf("PEM: %s: malformed", block.Type)
	}
	return key.secret()
}

// ecKey is the content of a private key file. Its slices share the file's bytes.
type ecKey struct {
	curve  string // the object identifier in DER; "" if not named
	scalar []byte
	public []byte // nil if absent
}

// secret turns k into a SecretKey. It accepts a scalar without its leading zeros, which
// older writers of RFC 5915 leave out.
func (k ecKey) secret() (*SecretKey, error) {
	kind, err := kindOfCurve(k.curve)
	if err != nil {
		return nil, err
	}
	if len(k.scalar) > secretSize || kind == Ed25519 && len(k.scalar) != secretSize {
		return nil, fmt.Errorf("PEM: secret key of %d bytes, want %d", len(k.scalar), secretSize)
	}
	var padded [secretSize]byte
	defer clear(padded[:])
	copy(padded[secretSize-len(k.scalar):], k.scalar)
	key, err := NewSecretKey(kind, padded[:])
	if err != nil {
		return nil, fmt.Errorf("PEM: %w", err)
	}
	if k.public != nil && !key.public.hasPoint(k.public) {
		key.Zero()
		if len(k.public) > 0 && (k.public[0] == 6 || k.public[0] == 7) { // X9.62 section 4.3.6
			return nil, errors.New("PEM: its public key has the hybrid form: write it with -conv_form compressed")
		}
		return nil, errOtherPublic
	}
	return key, nil
}

func kindOfCurve(curve string) (KeyKind, error) {
	switch curve {
	case oidEd25519:
		return Ed25519, nil
	case oidSecp256k1:
		return Secp256k1, nil
	case oidP256:
		return P256, nil
	case "":
		return 0, errors.New("PEM: the key does not name its curve")
	}
	return 0, errors.New("PEM: a key of another kind or curve, or one with its curve spelled out: " +
		"want Ed25519, secp256k1 or P-256 by name")
}

// readSEC1 reads an ECPrivateKey (RFC 5915 section 3).
func readSEC1(der cryptobyte.String) (key ecKey, ok bool) {
	var body, scalar, params, public cryptobyte.String
	var version int
	var named, known bool
	if !der.ReadASN1(&body, asn1.SEQUENCE) || !der.Empty() ||
		!body.ReadASN1Integer(&version) || version != 1 || !body.ReadASN1(&scalar, asn1.OCTET_STRING) ||
		!body.ReadOptionalASN1(&params, &named, asn1.Tag(0).Constructed().ContextSpecific()) ||
		!body.ReadOptionalASN1(&public, &known, asn1.Tag(1).Constructed().ContextSpecific()) || !body.Empty() {
		return ecKey{}, false
	}
	key.scalar = scalar
	if named {
		key.curve = string(params) // kindOfCurve refuses explicit parameters
	}
	if known && (!public.ReadASN1BitStringAsBytes(&key.public) || !public.Empty()) {
		return ecKey{}, false
	}
	return key, true
}

// readPKCS8 reads a OneAsymmetricKey (RFC 5958 section 2) of id-ecPublicKey with a curve
// (RFC 5480) or of Ed25519 (RFC 8410 section 7). For another algorithm it returns a curve
// that kindOfCurve refuses.
func readPKCS8(der cryptobyte.String) (key ecKey, ok bool) {
	var body, algorithm, identifier, private, public cryptobyte.String
	var version int
	var known bool
	if !der.ReadASN1(&body, asn1.SEQUENCE) || !der.Empty() ||
		!body.ReadASN1Integer(&version) || version < 0 || version > 1 ||
		!body.ReadASN1(&algorithm, asn1.SEQUENCE) || !body.ReadASN1(&private, asn1.OCTET_STRING) ||
		!body.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) || // attributes
		!body.ReadOptionalASN1(&public, &known, asn1.Tag(1).ContextSpecific()) || !body.Empty() ||
		!algorithm.ReadASN1Element(&identifier, asn1.OBJECT_IDENTIFIER) {
		return ecKey{}, false
	}
	if string(identifier) == oidECPublicKey {
		key, ok = readSEC1(private)
		if key.curve != "" && key.curve != string(algorithm) {
			return ecKey{}, false
		}
		key.curve = string(algorithm)
		return key, ok
	}
	key.curve = string(identifier)
	if key.curve != oidEd25519 {
		return key, true
	}
	if known {
		key.public = bitString(public)
	}
	ok = private.ReadASN1((*cryptobyte.String)(&key.scalar), asn1.OCTET_STRING) && private.Empty() && algorithm.Empty()
	return key, ok
}

// bitString returns the bits of a BIT STRING with an implicit tag. Its first byte is the
// number of unused bits (X.690 section 8.6.2).
func bitString(content []byte) []byte {
	if len(content) == 0 || content[0] != 0 {
		return []byte{} // equals no public key
	}
	return content[1:]
}
