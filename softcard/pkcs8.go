package softcard

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"pawl/internal/ep11"
)

// ecIdentifier is an AlgorithmIdentifier of id-ecPublicKey with a named curve (RFC 5480
// section 2.1.1). EP11 uses it for Ed25519 too.
type ecIdentifier struct {
	Algorithm asn1.ObjectIdentifier
	Curve     asn1.RawValue
}

// pkcs8Key is a PrivateKeyInfo (RFC 5208 section 5) up to the key. What follows is ignored.
type pkcs8Key struct {
	Version    int
	Identifier ecIdentifier
	PrivateKey []byte
}

// ecPrivateKey is RFC 5915's ECPrivateKey.
type ecPrivateKey struct {
	Version int
	Secret  []byte
	Params  asn1.RawValue  `asn1:"optional,explicit,tag:0"`
	Public  asn1.BitString `asn1:"optional,explicit,tag:1"`
}

var oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}

// pkcs8 encodes the key as it leaves the card, with its public key inside.
func (k key) pkcs8() ([]byte, error) {
	on, ok := k.kind.curve()
	if !ok {
		private, err := k.rsa()
		if err != nil {
			return nil, err
		}
		return x509.MarshalPKCS8PrivateKey(private)
	}
	public, err := k.public()
	if err != nil {
		return nil, err
	}
	inner, err := asn1.Marshal(ecPrivateKey{
		Version: 1, Secret: k.secret, Public: asn1.BitString{Bytes: public.point, BitLength: 8 * len(public.point)},
	})
	if err != nil {
		return nil, fmt.Errorf("EC private key: %v", err)
	}
	defer clear(inner)
	return asn1.Marshal(pkcs8Key{
		Identifier: ecIdentifier{Algorithm: oidECPublicKey, Curve: asn1.RawValue{FullBytes: []byte(on.params())}},
		PrivateKey: inner,
	})
}

// readPKCS8EC reads an EC key. A curve that the card does not have fails with
// CKR_CURVE_NOT_SUPPORTED, any other defect with CKR_WRAPPED_KEY_INVALID. A public key
// inside must belong to the secret.
func readPKCS8EC(der []byte) (key, error) {
	var outer pkcs8Key
	rest, err := asn1.Unmarshal(der, &outer)
	if err != nil || len(rest) > 0 || !outer.Identifier.Algorithm.Equal(oidECPublicKey) {
		return key{}, refuse(ep11.CodeWrappedKeyInvalid,
			"the wrapped key is not the PKCS #8 of an EC key: wrong key, initialisation vector, or key type")
	}
	on, err := wantCurve(outer.Identifier.Curve.FullBytes)
	if err != nil {
		return key{}, err
	}
	var inner ecPrivateKey
	rest, err = asn1.Unmarshal(outer.PrivateKey, &inner)
	if err != nil || len(rest) > 0 || inner.Version != 1 {
		return key{}, refuse(ep11.CodeWrappedKeyInvalid, "the PKCS #8 does not hold an EC private key")
	}
	point, ok := on.publicPoint(inner.Secret)
	if !ok {
		return key{}, refuse(ep11.CodeWrappedKeyInvalid, "the wrapped secret is none of its curve")
	}
	if len(inner.Public.Bytes) > 0 && !bytes.Equal(inner.Public.Bytes, point) {
		return key{}, refuse(ep11.CodeWrappedKeyInvalid, "the wrapped public key is not that of the secret")
	}
	return key{kind: kind(on), secret: inner.Secret}, nil
}

// readPKCS8RSA reads an RSA key.
func readPKCS8RSA(der []byte) (key, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	private, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return key{}, refuse(ep11.CodeWrappedKeyInvalid,
			"the wrapped key is not the PKCS #8 of an RSA key: wrong key, initialisation vector, or key type")
	}
	if bits := private.N.BitLen(); bits > maxRSABits || len(private.Primes) != 2 {
		return key{}, refuse(ep11.CodeKeySizeRange, "an RSA key of %d bits and %d primes", bits, len(private.Primes))
	}
	return key{kind: kindRSA, secret: x509.MarshalPKCS1PrivateKey(private)}, nil
}
