package softcard

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // cards offer triple DES
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // PKCS #11 makes the check value with it
	"encoding/binary"
	"fmt"
	"math/bits"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// checkSize is the length of CKA_CHECK_VALUE in bytes (PKCS #11 v2.40 section 4.4.3).
const checkSize = 3

// secretUsage is every usage that a secret key may have.
const secretUsage = usage &^ (ep11.BlobSignRecover | ep11.BlobVerifyRecover)

// newSecret makes an AES key of CKA_VALUE_LEN 16, 24 or 32, a triple DES key, or a generic
// secret of CKA_VALUE_LEN 1 to 256.
func (c *Card) newSecret(m mechanism, attrs map[uint64]*pb.AttributeValue) (*pb.GenerateKeyResponse, error) {
	of := map[family]kind{aesKeys: kindAES, des3Keys: kindDES3, macKeys: kindGeneric}[m.keys]
	t, err := readTemplate(attrs, shape{class: ep11.ClassSecretKey, keyType: of.keyType(), usage: secretUsage})
	if err != nil {
		return nil, err
	}
	size, err := t.secretSize(of)
	if err != nil {
		return nil, err
	}
	k := key{kind: of, attributes: t.attributes, secret: make([]byte, size)}
	defer clear(k.secret)
	if _, err := rand.Read(k.secret); err != nil {
		return nil, fmt.Errorf("secret key: %v", err)
	}
	k.adjustParity()
	blob, message, err := c.issue(k)
	if err != nil {
		return nil, err
	}
	return &pb.GenerateKeyResponse{KeyBytes: blob, CheckSum: k.checkSum(), Key: message}, nil
}

// secretSize is the length in bytes of the key that the template wants.
func (t keyTemplate) secretSize(of kind) (int, error) {
	switch {
	case of == kindDES3: // the length is fixed; clients send others, which cards ignore
		return des3Size, nil
	case t.valueLen < 0:
		return 0, refuse(ep11.CodeTemplateIncomplete, "the template lacks CKA_VALUE_LEN")
	}
	return int(t.valueLen), checkSecretSize(of, t.valueLen)
}

func checkSecretSize(of kind, size int64) error {
	good := of == kindAES && (size == 16 || size == 24 || size == 32) ||
		of == kindDES3 && size == des3Size ||
		of == kindGeneric && size > 0 && size <= maxSecretBytes
	if !good {
		return refuse(ep11.CodeKeySizeRange, "no key of type 0x%x has %d bytes", of.keyType(), size)
	}
	return nil
}

// issue wraps a new key and returns it for both generations of the wire.
func (c *Card) issue(k key) (blob []byte, message *pb.KeyBlob, err error) {
	if blob, err = c.sealKey(k); err != nil {
		return nil, nil, err
	}
	list, err := k.describe()
	if err != nil {
		return nil, nil, err
	}
	return blob, &pb.KeyBlob{Attributes: list, KeyBlobs: [][]byte{blob}}, nil
}

// issuePublic is issue for a public key.
func (c *Card) issuePublic(k publicKey) (blob []byte, message *pb.KeyBlob, err error) {
	if blob, err = c.sealPublic(k); err != nil {
		return nil, nil, err
	}
	list, err := k.describe()
	if err != nil {
		return nil, nil, err
	}
	return blob, &pb.KeyBlob{Attributes: list, KeyBlobs: [][]byte{blob}}, nil
}

// adjustParity gives each byte of a triple DES key odd parity. Cards do so with keys that
// they make and import (IBM's GREP11 API reference, UnwrapKey).
func (k key) adjustParity() {
	if k.kind != kindDES3 {
		return
	}
	for i, b := range k.secret {
		k.secret[i] = b&^1 | byte(bits.OnesCount8(b&^1)+1)&1 //nolint:gosec // at most 8
	}
}

// checkSum describes a secret key without showing it: the check value and the length in
// bits. IBM's clients compare the first three bytes.
func (k key) checkSum() []byte {
	return binary.BigEndian.AppendUint32(k.checkValue(), uint32(8*len(k.secret))) //nolint:gosec // a few bytes
}

// checkValue is an encrypted block of zeros, or the SHA-1 of a generic secret, cut to three
// bytes (PKCS #11 v2.40, section 4.4.3 and mechanisms 2.6.2).
func (k key) checkValue() []byte {
	if k.kind == kindGeneric {
		sum := sha1.Sum(k.secret) //nolint:gosec // see the import
		return sum[:checkSize]
	}
	var b cipher.Block
	var err error
	if k.kind == kindDES3 {
		b, err = des.NewTripleDESCipher(k.secret) //nolint:gosec // see the import
	} else {
		b, err = aes.NewCipher(k.secret)
	}
	if err != nil { // impossible: no key of another length was ever wrapped
		return make([]byte, checkSize)
	}
	zeros := make([]byte, b.BlockSize())
	b.Encrypt(zeros, zeros)
	return zeros[:checkSize]
}
