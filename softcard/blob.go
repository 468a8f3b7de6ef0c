package softcard

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"pawl/internal/ep11"
)

// The blob of a private or secret key as cards make it. In clear: session id, id of the
// wrapping key, boolean attributes, mode, a magic number, the IV. Then the ciphertext, and
// HMAC-SHA256 over all before it.
const (
	wkidOffset       = 32 // after the session id, which is zero: the key is bound to no login
	attributesOffset = 48
	modeOffset       = 56
	magicOffset      = 64
	ivOffset         = 66
	ivSize           = 14
	headerSize       = 80
	macSize          = sha256.Size
	blockSize        = 16 // the ciphertext is a whole number of AES blocks
	tagSize          = 16 // of AES-GCM

	blobMagic    = 0x1234
	modeFIPS2009 = 1 // XCP_BLOB_MODE…: the compliance mode seen on generated keys
)

// blobSizes are the sizes seen of EC keys. They vary on one curve, so no client may rely on
// one: each blob is padded to one of these at random.
var blobSizes = [...]int{560, 576, 624, 640, 656}

// kind says what key a blob holds: one of the curves, or one of the constants below. Its
// value is stored in blobs.
type kind uint8

const (
	kindAES     kind = 16
	kindGeneric kind = 17
	kindDES3    kind = 18
	kindRSA     kind = 19 // the secret is RFC 8017's RSAPrivateKey
	kindDSA     kind = 20 // the secret is the group and the secret integer, in DER
	kindDH      kind = 21 // as DSA
)

// key is an opened blob.
type key struct {
	kind       kind
	attributes uint64
	secret     []byte
}

// privateKey is an opened blob of an EC key.
type privateKey struct {
	curve      curve
	attributes uint64
	secret     []byte
}

// curve returns the curve of an EC key; for other keys it reports false.
func (k kind) curve() (curve, bool) {
	c := curve(k)
	return c, c.params() != ""
}

// isSecret reports whether the key is of class CKO_SECRET_KEY.
func (k kind) isSecret() bool { return k == kindAES || k == kindGeneric || k == kindDES3 }

// class is the key's CKA_CLASS.
func (k kind) class() int64 {
	if k.isSecret() {
		return ep11.ClassSecretKey
	}
	return ep11.ClassPrivateKey
}

// keyType is the key's CKA_KEY_TYPE.
func (k kind) keyType() int64 {
	switch k {
	case kindAES:
		return ep11.KeyTypeAES
	case kindGeneric:
		return ep11.KeyTypeGenericSecret
	case kindDES3:
		return ep11.KeyTypeDES3
	case kindRSA:
		return ep11.KeyTypeRSA
	case kindDSA:
		return ep11.KeyTypeDSA
	case kindDH:
		return ep11.KeyTypeDH
	}
	return ep11.KeyTypeEC
}

// blobSize chooses the size of a blob in bytes: as seen on cards, 256 for an AES key, 448
// for a generic secret and one of blobSizes for an EC key. Other keys get what they need.
func (k key) blobSize() (int, error) {
	const overhead = headerSize + tagSize + macSize
	least := overhead + (len(k.plain())+blockSize-1)/blockSize*blockSize
	switch k.kind {
	case kindAES, kindDES3:
		return max(256, least), nil
	case kindGeneric:
		return max(448, least), nil
	case kindRSA, kindDSA, kindDH:
		return least, nil
	}
	var random [1]byte
	if _, err := rand.Read(random[:]); err != nil {
		return 0, fmt.Errorf("size of a blob: %v", err)
	}
	return blobSizes[int(random[0])%len(blobSizes)], nil
}

// plain returns what a blob encrypts: the kind, the length unless the kind implies it, the
// secret.
func (k key) plain() []byte {
	plain := []byte{byte(k.kind)}
	if _, ok := k.kind.curve(); !ok {
		plain = binary.BigEndian.AppendUint16(plain, uint16(len(k.secret))) //nolint:gosec // at most an RSA key of 4096 bits
	}
	return append(plain, k.secret...)
}

// readPlain reads what plain wrote and drops the padding.
func readPlain(plain []byte) (kind, []byte, bool) {
	if len(plain) == 0 {
		return 0, nil, false
	}
	k, rest, size := kind(plain[0]), plain[1:], 0
	if on, ok := k.curve(); ok {
		size = on.size()
	} else {
		if len(rest) < 2 {
			return 0, nil, false
		}
		size, rest = int(binary.BigEndian.Uint16(rest)), rest[2:]
	}
	if len(rest) < size {
		return 0, nil, false
	}
	return k, rest[:size], true
}

// seal wraps a key into a blob of size bytes, padded with zeros, under AES-256-GCM with the
// header as additional data.
func (w *wrapping) seal(k key, size int) ([]byte, error) {
	blob := make([]byte, headerSize, size)
	copy(blob[wkidOffset:], w.wkid[:])
	binary.BigEndian.PutUint64(blob[attributesOffset:], k.attributes)
	binary.BigEndian.PutUint64(blob[modeOffset:], modeFIPS2009)
	binary.BigEndian.PutUint16(blob[magicOffset:], blobMagic)
	if _, err := rand.Read(blob[ivOffset:]); err != nil {
		return nil, fmt.Errorf("iv of a blob: %v", err)
	}
	plain := make([]byte, size-headerSize-tagSize-macSize)
	defer clear(plain)
	copy(plain, k.plain())
	blob = w.blobs.Seal(blob, blob[ivOffset:headerSize], plain, blob[:headerSize])
	return append(blob, authenticate(w.blobMAC, blob)...), nil
}

// sealKey wraps a key under the current master key.
func (c *Card) sealKey(k key) ([]byte, error) {
	w, err := c.wrapping()
	if err != nil {
		return nil, err
	}
	size, err := k.blobSize()
	if err != nil {
		return nil, err
	}
	return w.seal(k, size)
}

// sealPrivate wraps an EC key.
func (c *Card) sealPrivate(k privateKey) ([]byte, error) {
	return c.sealKey(key{kind: kind(k.curve), attributes: k.attributes, secret: k.secret})
}

// openPrivate unwraps the blob of an EC key.
func (c *Card) openPrivate(blob []byte) (privateKey, error) {
	k, err := c.openKey(blob)
	if err != nil {
		return privateKey{}, err
	}
	on, ok := k.kind.curve()
	if !ok {
		return privateKey{}, refuse(ep11.CodeKeyTypeInconsistent, "the key is not an EC key")
	}
	return privateKey{curve: on, attributes: k.attributes, secret: k.secret}, nil
}

// openKey unwraps a blob that this card's master key sealed. A public key fails with
// CKR_KEY_TYPE_INCONSISTENT, a blob of another master key with CKR_IBM_WKID_MISMATCH, any
// other defect with CKR_IBM_BLOB_ERROR.
func (c *Card) openKey(blob []byte) (key, error) {
	w, err := c.wrapping()
	if err != nil {
		return key{}, err
	}
	return w.open(blob)
}

func (w *wrapping) open(blob []byte) (key, error) {
	if _, _, ok := cutSPKI(blob); ok {
		return key{}, refuse(ep11.CodeKeyTypeInconsistent, "a public key where a private or secret key is wanted")
	}
	if !blobShaped(blob) {
		return key{}, refuse(ep11.CodeIBMBlobError, "not a key blob: %d bytes", len(blob))
	}
	if err := w.checkWKID(blob[wkidOffset : wkidOffset+wkidSize]); err != nil {
		return key{}, err
	}
	header, sealed, mac := blob[:headerSize], blob[headerSize:len(blob)-macSize], blob[len(blob)-macSize:]
	if !hmac.Equal(mac, authenticate(w.blobMAC, blob[:len(blob)-macSize])) {
		return key{}, refuse(ep11.CodeIBMBlobError, "the key blob's MAC does not fit")
	}
	plain, err := w.blobs.Open(nil, header[ivOffset:], sealed, header)
	if err != nil {
		return key{}, refuse(ep11.CodeIBMBlobError, "the key blob does not decrypt")
	}
	k, secret, ok := readPlain(plain)
	if !ok {
		return key{}, refuse(ep11.CodeIBMBlobError, "the key blob holds no key")
	}
	return key{kind: k, attributes: binary.BigEndian.Uint64(header[attributesOffset:]), secret: secret}, nil
}

// wants refuses a key that lacks a usage.
func (k key) wants(bit uint64) error { return permitted(k.attributes, bit) }

// permitted returns CKR_KEY_FUNCTION_NOT_PERMITTED unless the bit is set.
func permitted(attributes, bit uint64) error {
	if attributes&bit == 0 {
		return refuse(ep11.CodeKeyFunctionNotPermitted, "the key lacks %s", usageNames[bit])
	}
	return nil
}

// usageNames name the usages for error texts.
var usageNames = map[uint64]string{
	ep11.BlobSign: "CKA_SIGN", ep11.BlobVerify: "CKA_VERIFY", ep11.BlobEncrypt: "CKA_ENCRYPT",
	ep11.BlobDecrypt: "CKA_DECRYPT", ep11.BlobWrap: "CKA_WRAP", ep11.BlobUnwrap: "CKA_UNWRAP",
	ep11.BlobDerive: "CKA_DERIVE", ep11.BlobUseAsData: "CKA_IBM_USE_AS_DATA", ep11.BlobAttrBound: "CKA_IBM_ATTRBOUND",
}

// blobShaped reports whether the lengths and the magic number are those of a private blob.
func blobShaped(blob []byte) bool {
	n := len(blob) - headerSize - macSize
	return n >= blockSize && n%blockSize == 0 && binary.BigEndian.Uint16(blob[magicOffset:]) == blobMagic
}

func authenticate(key []byte, data []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return mac.Sum(nil)
}
