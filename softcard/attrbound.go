package softcard

import (
	"crypto"
	"crypto/aes"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// CKM_IBM_ATTRIBUTEBOUND_WRAP exports a key together with its attributes, so that the
// import cannot change them. The format that a card writes is not published. This one is a
// length of two bytes, a fresh AES key under the wrapping key, an initialisation vector,
// the key with its attributes under the fresh key, and HMAC-SHA256 of all of it under the
// MAC key.

// boundUnder is the mechanism by which the wrapping key encrypts the fresh key.
func boundUnder(k kind) mechanism {
	if k == kindRSA {
		return mechanism{keys: rsaKeys, mode: rsaOAEP, parameter: parameter{rsaHash: crypto.SHA256}}
	}
	zeros := make([]byte, aes.BlockSize) // an IV of zeros will do: the plaintext is random and never repeats
	return mechanism{keys: aesKeys, mode: cbcPad, parameter: parameter{iv: zeros}}
}

// wrapAttrBound exports a key. All three keys must be CKA_IBM_ATTRBOUND.
func (c *Card) wrapAttrBound(k key, kek []byte, request *pb.WrapKeyRequest) (*pb.WrapKeyResponse, error) {
	if k.attributes&ep11.BlobAttrBound == 0 {
		return nil, refuse(ep11.CodeKeyNotWrappable, "the key is not CKA_IBM_ATTRBOUND")
	}
	mac, err := c.macKey(request.GetMacKeyBytes(), request.GetMacKey())
	if err != nil {
		return nil, err
	}
	under, err := c.boundKEK(kek)
	if err != nil {
		return nil, err
	}
	random := make([]byte, masterKeySize+aes.BlockSize)
	if _, err := rand.Read(random); err != nil {
		return nil, fmt.Errorf("fresh wrapping key: %v", err)
	}
	fresh, iv := random[:masterKeySize], random[masterKeySize:]
	defer clear(fresh)
	sealed, err := c.cryptWith(boundUnder(under), encrypting, ep11.BlobWrap, kek, fresh)
	if err != nil {
		return nil, err
	}
	plain := binary.BigEndian.AppendUint64(nil, k.attributes)
	plain = append(plain, k.plain()...)
	defer clear(plain)
	body, err := bodyCipher(encrypting, fresh, iv, plain)
	if err != nil {
		return nil, err
	}
	wrapped := binary.BigEndian.AppendUint16(nil, uint16(len(sealed))) //nolint:gosec // at most the size of an RSA key
	for _, part := range [][]byte{sealed, iv, body} {
		wrapped = append(wrapped, part...)
	}
	return &pb.WrapKeyResponse{Wrapped: append(wrapped, authenticate(mac.secret, wrapped)...)}, nil
}

// unwrapAttrBound imports what wrapAttrBound exported. It ignores the template.
func (c *Card) unwrapAttrBound(kek []byte, request *pb.UnwrapKeyRequest) (*pb.UnwrapKeyResponse, error) {
	mac, err := c.macKey(request.GetMacKeyBytes(), request.GetMacKey())
	if err != nil {
		return nil, err
	}
	under, err := c.openKey(kek)
	if err != nil {
		return nil, err
	}
	defer clear(under.secret)
	if err := under.wants(ep11.BlobAttrBound); err != nil {
		return nil, err
	}
	sealed, iv, body, ok := cutBound(request.GetWrapped(), mac.secret)
	if !ok {
		return nil, refuse(ep11.CodeWrappedKeyInvalid,
			"the wrapped key's MAC does not fit: another MAC key, or it was changed")
	}
	fresh, err := c.cryptWith(boundUnder(under.kind), decrypting, ep11.BlobUnwrap, kek, sealed)
	if err != nil {
		return nil, asWrapped(err)
	}
	defer clear(fresh)
	plain, err := bodyCipher(decrypting, fresh, iv, body)
	if err != nil || len(plain) < 8 {
		return nil, refuse(ep11.CodeWrappedKeyInvalid, "the wrapped key does not decrypt")
	}
	defer clear(plain)
	kind, secret, ok := readPlain(plain[8:])
	if !ok {
		return nil, refuse(ep11.CodeWrappedKeyInvalid, "there is no key in the wrapped key")
	}
	attributes := binary.BigEndian.Uint64(plain) &^ ep11.BlobLocal
	return c.unwrapped(key{kind: kind, attributes: attributes, secret: secret})
}

// cutBound splits a wrapped key into its parts and checks the MAC.
func cutBound(wrapped, macKey []byte) (sealed, iv, body []byte, ok bool) {
	if len(wrapped) < 2+macSize {
		return nil, nil, nil, false
	}
	signed, mac := wrapped[:len(wrapped)-macSize], wrapped[len(wrapped)-macSize:]
	n := int(binary.BigEndian.Uint16(signed))
	if !hmac.Equal(mac, authenticate(macKey, signed)) || len(signed) < 2+n+aes.BlockSize {
		return nil, nil, nil, false
	}
	rest := signed[2+n:]
	return signed[2 : 2+n], rest[:aes.BlockSize], rest[aes.BlockSize:], true
}

// bodyCipher runs AES-CBC with padding under the fresh key.
func bodyCipher(d direction, fresh, iv, data []byte) ([]byte, error) {
	if len(fresh) != masterKeySize {
		return nil, refuse(ep11.CodeWrappedKeyInvalid, "the fresh key has %d bytes", len(fresh))
	}
	b, err := aes.NewCipher(fresh)
	if err != nil {
		return nil, fmt.Errorf("fresh wrapping key: %v", err)
	}
	m := mechanism{keys: aesKeys, mode: cbcPad}
	op := operation{Direction: d, Chain: iv}
	out := m.part(&op, b, data)
	last, err := m.end(&op, b)
	return append(out, last...), err
}

// macKey opens the MAC key. IBM's clients mark it CKA_IBM_ATTRBOUND and nothing else.
func (c *Card) macKey(raw []byte, message *pb.KeyBlob) (key, error) {
	blob, err := blobOf(raw, message)
	if err != nil {
		return key{}, err
	}
	k, err := c.openKey(blob)
	if err != nil {
		return key{}, err
	}
	if !k.kind.isSecret() {
		return key{}, refuse(ep11.CodeKeyTypeInconsistent, "the MAC key is not a secret key")
	}
	return k, k.wants(ep11.BlobAttrBound)
}

// boundKEK opens the wrapping key, an RSA public key or an AES key, and returns its kind.
func (c *Card) boundKEK(kek []byte) (kind, error) {
	if _, _, ok := cutSPKI(kek); ok {
		k, err := c.openPublic(kek)
		if err != nil {
			return 0, err
		}
		return k.kind, permitted(k.attributes, ep11.BlobAttrBound)
	}
	k, err := c.openKey(kek)
	if err != nil {
		return 0, err
	}
	defer clear(k.secret)
	return k.kind, k.wants(ep11.BlobAttrBound)
}
