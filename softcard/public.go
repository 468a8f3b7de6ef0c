package softcard

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/big"

	"pawl/internal/ep11"
)

// idECPublicKey is the DER of id-ecPublicKey, 1.2.840.10045.2.1 (RFC 5480 section 2.1.1).
// EP11 uses it for Ed25519 keys too, against RFC 8410.
const idECPublicKey = "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"

// The trailer after the SPKI: six OCTET STRINGs, 128 bytes in all.
const (
	sessionSize          = 32
	saltSize             = 8
	modeSize             = 8
	publicAttributesSize = 20 // boolean attributes 8, class 4, key type 4, zeros 4
)

var trailerLengths = [...]int{wkidSize, sessionSize, saltSize, modeSize, publicAttributesSize, macSize}

// publicKey is a public key. openPublic has checked its MAC.
type publicKey struct {
	kind       kind // never of a secret key
	attributes uint64
	point      []byte         // of an EC key
	rsa        *rsa.PublicKey // of an RSA key
	domain     *domain        // of a key of DSA or Diffie-Hellman
	y          *big.Int       // as domain
}

// spkiPrefix is the DER of a SubjectPublicKeyInfo up to the point (RFC 5280 section 4.1):
// SEQUENCE, SEQUENCE of the two identifiers, BIT STRING without unused bits.
func (c curve) spkiPrefix() string {
	switch c {
	case edwards25519:
		return "\x30\x33\x30\x0e" + idECPublicKey + ep11.CurveEd25519 + "\x03\x21\x00"
	case secp256k1:
		return "\x30\x56\x30\x10" + idECPublicKey + ep11.CurveSecp256k1 + "\x03\x42\x00"
	case p224:
		return "\x30\x4e\x30\x10" + idECPublicKey + ep11.CurveP224 + "\x03\x3a\x00"
	case p256:
		return "\x30\x59\x30\x13" + idECPublicKey + ep11.CurveP256 + "\x03\x42\x00"
	case p384:
		return "\x30\x76\x30\x10" + idECPublicKey + ep11.CurveP384 + "\x03\x62\x00"
	case p521:
		return "\x30\x81\x9b\x30\x10" + idECPublicKey + ep11.CurveP521 + "\x03\x81\x86\x00"
	}
	return ""
}

func (c curve) spki(point []byte) []byte {
	return append([]byte(c.spkiPrefix()), point...)
}

// ecPublic returns the public key of a point.
func ecPublic(on curve, point []byte) publicKey { return publicKey{kind: kind(on), point: point} }

// spki encodes the bare SubjectPublicKeyInfo.
func (k publicKey) spki() ([]byte, error) {
	if on, ok := k.kind.curve(); ok {
		return on.spki(k.point), nil
	}
	if k.domain != nil {
		return k.domainSPKI()
	}
	der, err := x509.MarshalPKIXPublicKey(k.rsa)
	if err != nil {
		return nil, fmt.Errorf("RSA public key: %v", err)
	}
	return der, nil
}

// bits is the size of the key as the card counts it: 255 for Ed25519.
func (k publicKey) bits() int {
	switch {
	case k.rsa != nil:
		return k.rsa.N.BitLen()
	case k.domain != nil:
		return k.domain.p.BitLen()
	}
	return curve(k.kind).bits()
}

// cutSPKI splits blob into a SubjectPublicKeyInfo of a known kind and the rest.
func cutSPKI(blob []byte) (k publicKey, trailer []byte, ok bool) {
	for _, c := range curves {
		rest, found := bytes.CutPrefix(blob, []byte(c.spkiPrefix()))
		if found && len(rest) >= c.pointLen() {
			return ecPublic(c, rest[:c.pointLen()]), rest[c.pointLen():], true
		}
	}
	var whole asn1.RawValue
	trailer, err := asn1.Unmarshal(blob, &whole)
	if err != nil || whole.Tag != asn1.TagSequence {
		return publicKey{}, nil, false
	}
	if k, ok := readDomainSPKI(whole.FullBytes); ok {
		return k, trailer, true
	}
	parsed, err := x509.ParsePKIXPublicKey(whole.FullBytes)
	modulus, isRSA := parsed.(*rsa.PublicKey)
	if err != nil || !isRSA {
		return publicKey{}, nil, false
	}
	return publicKey{kind: kindRSA, rsa: modulus}, trailer, true
}

// sealPublic encodes a public key with its trailer, which holds the MAC.
func (c *Card) sealPublic(k publicKey) ([]byte, error) {
	w, err := c.wrapping()
	if err != nil {
		return nil, err
	}
	return w.sealPublic(k)
}

func (w *wrapping) sealPublic(k publicKey) (blob []byte, err error) {
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("salt of a public key: %v", err)
	}
	if blob, err = k.spki(); err != nil {
		return nil, err
	}
	mode := binary.BigEndian.AppendUint64(nil, modeFIPS2009)
	attributes := binary.BigEndian.AppendUint64(nil, k.attributes)
	attributes = binary.BigEndian.AppendUint32(attributes, uint32(ep11.ClassPublicKey))
	attributes = binary.BigEndian.AppendUint32(attributes, uint32(k.kind.keyType())) //nolint:gosec // none is negative
	attributes = append(attributes, 0, 0, 0, 0)
	fields := [][]byte{w.wkid[:], make([]byte, sessionSize), salt, mode, attributes}
	for _, field := range fields {
		if blob, err = appendOctets(blob, field); err != nil {
			return nil, err
		}
	}
	return appendOctets(blob, authenticate(w.publicMAC, blob))
}

// openPublic checks the MAC of a public key and reads it. A bare SPKI is refused: a card
// encrypts and wraps only with keys that it has MACed itself (IBM's GREP11 reference,
// EncryptInit).
func (c *Card) openPublic(blob []byte) (publicKey, error) {
	w, err := c.wrapping()
	if err != nil {
		return publicKey{}, err
	}
	return w.openPublic(blob)
}

func (w *wrapping) openPublic(blob []byte) (publicKey, error) {
	found, trailer, ok := cutSPKI(blob)
	if !ok && blobShaped(blob) {
		return publicKey{}, refuse(ep11.CodeKeyTypeInconsistent, "a private or secret key where a public key is wanted")
	}
	if !ok {
		return publicKey{}, refuse(ep11.CodeIBMBlobError, "not a public key of this card: %d bytes", len(blob))
	}
	fields, ok := cutTrailer(trailer)
	if !ok {
		return publicKey{}, refuse(ep11.CodeIBMBlobError, "the public key has no MACed trailer")
	}
	if err := w.checkWKID(fields[0]); err != nil {
		return publicKey{}, err
	}
	mac := fields[len(fields)-1]
	if !hmac.Equal(mac, authenticate(w.publicMAC, blob[:len(blob)-2-len(mac)])) {
		return publicKey{}, refuse(ep11.CodeIBMBlobError, "the public key's MAC does not fit")
	}
	found.attributes = binary.BigEndian.Uint64(fields[4])
	return found, nil
}

// cutTrailer splits the trailer into its six fields. Nothing may follow them.
func cutTrailer(trailer []byte) (fields [len(trailerLengths)][]byte, ok bool) {
	for i, n := range trailerLengths {
		rest, err := asn1.Unmarshal(trailer, &fields[i])
		if err != nil || len(fields[i]) != n {
			return fields, false
		}
		trailer = rest
	}
	return fields, len(trailer) == 0
}

// appendOctets appends value as a DER OCTET STRING.
func appendOctets(dst, value []byte) ([]byte, error) {
	octets, err := asn1.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("DER of %d bytes: %v", len(value), err)
	}
	return append(dst, octets...), nil
}
