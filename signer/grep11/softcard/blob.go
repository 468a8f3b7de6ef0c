package softcard

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"pawl/signer/grep11"
)

// A private key's blob as cards make it: session id, identifier of the wrapping
// key, boolean attributes and mode in clear, a magic number, the IV, ciphertext,
// and HMAC-SHA256 over all before it.
const (
	wkidOffset       = 32 // after the session id: zeros, the key is bound to no login
	attributesOffset = 48
	modeOffset       = 56
	magicOffset      = 64
	ivOffset         = 66
	ivSize           = 14
	headerSize       = 80
	macSize          = sha256.Size
	blockSize        = 16 // the ciphertext is whole AES blocks
	tagSize          = 16 // of AES-GCM

	blobMagic    = 0x1234
	modeFIPS2009 = 1 // XCP_BLOB_MODE…: the compliance mode seen on generated keys
)

// blobSizes are those seen of EC keys, which vary on one curve: nobody may count
// on a size, so each blob is padded to one of these at random.
var blobSizes = [...]int{560, 576, 624, 640, 656}

// privateKey is an opened blob.
type privateKey struct {
	curve      curve
	attributes uint64
	secret     []byte
}

// sealPrivate wraps a private key: curve, length and secret, padded with zeros,
// under AES-256-GCM with the header as additional data.
func (c *Card) sealPrivate(key privateKey) ([]byte, error) {
	random := make([]byte, ivSize+1)
	if _, err := rand.Read(random); err != nil {
		return nil, fmt.Errorf("iv of a blob: %v", err)
	}
	size := blobSizes[int(random[ivSize])%len(blobSizes)]
	blob := make([]byte, headerSize, size)
	copy(blob[wkidOffset:], c.wkid[:])
	binary.BigEndian.PutUint64(blob[attributesOffset:], key.attributes)
	binary.BigEndian.PutUint64(blob[modeOffset:], modeFIPS2009)
	binary.BigEndian.PutUint16(blob[magicOffset:], blobMagic)
	copy(blob[ivOffset:], random[:ivSize])

	plain := make([]byte, size-headerSize-tagSize-macSize)
	plain[0] = byte(key.curve)
	copy(plain[1:1+secretSize], key.secret)
	blob = c.blobs.Seal(blob, blob[ivOffset:headerSize], plain, blob[:headerSize])
	return append(blob, authenticate(c.blobMAC, blob)...), nil
}

// openPrivate unwraps a blob that this card's master key has sealed. What is
// shaped like a public key is CKR_KEY_TYPE_INCONSISTENT, another master key's
// blob CKR_IBM_WKID_MISMATCH, anything else amiss CKR_IBM_BLOB_ERROR.
func (c *Card) openPrivate(blob []byte) (privateKey, error) {
	if _, _, _, ok := cutSPKI(blob); ok {
		return privateKey{}, refuse(grep11.CodeKeyTypeInconsistent, "a public key where a private key is wanted")
	}
	if !blobShaped(blob) {
		return privateKey{}, refuse(grep11.CodeIBMBlobError, "not a key blob: %d bytes", len(blob))
	}
	if err := c.checkWKID(blob[wkidOffset : wkidOffset+wkidSize]); err != nil {
		return privateKey{}, err
	}
	header, sealed, mac := blob[:headerSize], blob[headerSize:len(blob)-macSize], blob[len(blob)-macSize:]
	if !hmac.Equal(mac, authenticate(c.blobMAC, blob[:len(blob)-macSize])) {
		return privateKey{}, refuse(grep11.CodeIBMBlobError, "the key blob's MAC does not fit")
	}
	plain, err := c.blobs.Open(nil, header[ivOffset:], sealed, header)
	if err != nil || len(plain) <= secretSize {
		return privateKey{}, refuse(grep11.CodeIBMBlobError, "the key blob does not decrypt")
	}
	return privateKey{
		curve:      curve(plain[0]),
		attributes: binary.BigEndian.Uint64(header[attributesOffset:]),
		secret:     plain[1 : 1+secretSize],
	}, nil
}

// blobShaped tells whether the lengths and the magic number are a private blob's.
func blobShaped(blob []byte) bool {
	n := len(blob) - headerSize - macSize
	return n >= blockSize && n%blockSize == 0 && binary.BigEndian.Uint16(blob[magicOffset:]) == blobMagic
}

func authenticate(key []byte, data []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return mac.Sum(nil)
}
