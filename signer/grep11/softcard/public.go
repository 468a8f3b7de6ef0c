package softcard

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"encoding/asn1"
	"encoding/binary"
	"fmt"

	"pawl/signer/grep11"
)

// idECPublicKey is the DER of id-ecPublicKey, 1.2.840.10045.2.1 (RFC 5480 section
// 2.1.1). EP11 wraps Ed25519 keys in it too, against RFC 8410.
const idECPublicKey = "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"

// The trailer that follows the SPKI: six OCTET STRINGs, 128 bytes in all.
const (
	sessionSize          = 32
	saltSize             = 8
	modeSize             = 8
	publicAttributesSize = 20 // boolean attributes 8, class 4, key type 4, zeros 4
)

var trailerLengths = [...]int{wkidSize, sessionSize, saltSize, modeSize, publicAttributesSize, macSize}

// publicKey is a public key whose MAC was checked.
type publicKey struct {
	curve      curve
	attributes uint64
	point      []byte
}

// spkiPrefix is the DER of a SubjectPublicKeyInfo up to the point (RFC 5280 section
// 4.1): SEQUENCE, SEQUENCE of the two identifiers, BIT STRING without unused bits.
func (c curve) spkiPrefix() string {
	switch c {
	case edwards25519:
		return "\x30\x33\x30\x0e" + idECPublicKey + grep11.CurveEd25519 + "\x03\x21\x00"
	case secp256k1:
		return "\x30\x56\x30\x10" + idECPublicKey + grep11.CurveSecp256k1 + "\x03\x42\x00"
	case p256:
		return "\x30\x59\x30\x13" + idECPublicKey + grep11.CurveP256 + "\x03\x42\x00"
	}
	return ""
}

func (c curve) spki(point []byte) []byte {
	return append([]byte(c.spkiPrefix()), point...)
}

// cutSPKI cuts a SubjectPublicKeyInfo of a known curve from the front of blob.
func cutSPKI(blob []byte) (c curve, point, trailer []byte, ok bool) {
	for _, c := range curves {
		rest, found := bytes.CutPrefix(blob, []byte(c.spkiPrefix()))
		if found && len(rest) >= c.pointLen() {
			return c, rest[:c.pointLen()], rest[c.pointLen():], true
		}
	}
	return 0, nil, nil, false
}

// sealPublic puts the MACed trailer behind the SPKI.
func (c *Card) sealPublic(key publicKey) (blob []byte, err error) {
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("salt of a public key: %v", err)
	}
	blob = key.curve.spki(key.point)
	mode := binary.BigEndian.AppendUint64(nil, modeFIPS2009)
	attributes := binary.BigEndian.AppendUint64(nil, key.attributes)
	attributes = binary.BigEndian.AppendUint32(attributes, uint32(grep11.ClassPublicKey))
	attributes = binary.BigEndian.AppendUint32(attributes, uint32(grep11.KeyTypeEC))
	attributes = append(attributes, 0, 0, 0, 0)
	fields := [][]byte{c.wkid[:], make([]byte, sessionSize), salt, mode, attributes}
	for _, field := range fields {
		if blob, err = appendOctets(blob, field); err != nil {
			return nil, err
		}
	}
	return appendOctets(blob, authenticate(c.publicMAC, blob))
}

// openPublic checks the MAC of a public key. A bare SPKI is refused, as by a
// card, which uses only public keys that it has MACed itself.
func (c *Card) openPublic(blob []byte) (publicKey, error) {
	found, point, trailer, ok := cutSPKI(blob)
	if !ok && blobShaped(blob) {
		return publicKey{}, refuse(grep11.CodeKeyTypeInconsistent, "a private key where a public key is wanted")
	}
	if !ok {
		return publicKey{}, refuse(grep11.CodeIBMBlobError, "not a public key of this card: %d bytes", len(blob))
	}
	fields, ok := cutTrailer(trailer)
	if !ok {
		return publicKey{}, refuse(grep11.CodeIBMBlobError, "the public key has no MACed trailer")
	}
	if err := c.checkWKID(fields[0]); err != nil {
		return publicKey{}, err
	}
	mac := fields[len(fields)-1]
	if !hmac.Equal(mac, authenticate(c.publicMAC, blob[:len(blob)-2-len(mac)])) {
		return publicKey{}, refuse(grep11.CodeIBMBlobError, "the public key's MAC does not fit")
	}
	return publicKey{curve: found, attributes: binary.BigEndian.Uint64(fields[4]), point: point}, nil
}

// cutTrailer gives the trailer's six fields; nothing may follow them.
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
		return nil, fmt.Errorf("trailer of a public key: %v", err)
	}
	return append(dst, octets...), nil
}
