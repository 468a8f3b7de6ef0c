package softcard

import (
	"bytes"
	"context"
	"errors"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// WrapKey encrypts a key under another one: a secret key as its bytes, a private key as
// PKCS #8. The key must be CKA_EXTRACTABLE, the wrapping key CKA_WRAP.
func (s *service) WrapKey(_ context.Context, request *pb.WrapKeyRequest) (*pb.WrapKeyResponse, error) {
	m, err := choose(request.GetMech(), ep11.CanWrap)
	if err != nil {
		return nil, err
	}
	blob, err := blobOf(request.GetKeyBytes(), request.GetKey())
	if err != nil {
		return nil, err
	}
	kek, err := blobOf(request.GetKeKBytes(), request.GetKeK())
	if err != nil {
		return nil, err
	}
	k, err := s.card.wrappable(blob)
	if err != nil {
		return nil, err
	}
	defer clear(k.secret)
	if m.id == ep11.MechIBMAttrBoundWrap {
		return s.card.wrapAttrBound(k, kek, request)
	}
	wrapped, err := s.card.wrap(m, k, kek)
	if err != nil {
		return nil, err
	}
	return &pb.WrapKeyResponse{Wrapped: wrapped}, nil
}

// wrappable opens a key that may leave the card.
func (c *Card) wrappable(blob []byte) (key, error) {
	if _, _, ok := cutSPKI(blob); ok {
		return key{}, refuse(ep11.CodeKeyNotWrappable, "a public key needs no wrapping")
	}
	k, err := c.openKey(blob)
	if err != nil {
		return key{}, err
	}
	if k.attributes&ep11.BlobExtractable == 0 {
		return key{}, refuse(ep11.CodeKeyUnextractable, "the key is not CKA_EXTRACTABLE")
	}
	return k, nil
}

// wrap is WrapKey for every mechanism but CKM_IBM_ATTRIBUTEBOUND_WRAP.
func (c *Card) wrap(m mechanism, k key, kek []byte) ([]byte, error) {
	switch {
	case k.attributes&ep11.BlobAttrBound != 0:
		return nil, refuse(ep11.CodeKeyNotWrappable,
			"the key is bound to its attributes: wrap it with CKM_IBM_ATTRIBUTEBOUND_WRAP")
	case k.attributes&ep11.BlobWrapWithTrusted != 0 && !c.trusted(kek):
		return nil, refuse(ep11.CodeKeyNotWrappable, "the key wants a wrapping key that is CKA_TRUSTED")
	case k.kind == kindDSA || k.kind == kindDH:
		return nil, refuse(ep11.CodeKeyNotWrappable, "keys of DSA and Diffie-Hellman are not wrapped here")
	case (m.keys == rsaKeys || m.unpadded()) && !k.kind.isSecret():
		return nil, refuse(ep11.CodeKeyNotWrappable,
			"mechanism 0x%x wraps secret keys only: wrap a private key with CKM_AES_CBC_PAD", m.id)
	}
	plain, err := k.bare()
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	filled := m.fill(plain)
	defer clear(filled)
	wrapped, err := c.cryptWith(m, encrypting, ep11.BlobWrap, kek, filled)
	if refusal, ok := errors.AsType[*cardError](err); ok && refusal.code == ep11.CodeDataLenRange {
		return nil, refuse(ep11.CodeKeySizeRange, "the key is too long for the wrapping key: %s", refusal.detail)
	}
	return wrapped, err
}

// unpadded reports whether a block cipher takes whole blocks only.
func (m mechanism) unpadded() bool { return m.mode == ecb || m.mode == cbc }

// fill appends zeros to a key up to a whole block (PKCS #11 v2.40, mechanisms, sections
// 2.11.3 and 2.11.4).
func (m mechanism) fill(plain []byte) []byte {
	if !m.unpadded() || len(plain)%m.block() == 0 {
		return plain
	}
	return append(plain, make([]byte, m.block()-len(plain)%m.block())...)
}

// cut removes fill's zeros if the template gives the length of the key. Other bytes are the key's.
func (m mechanism) cut(t keyTemplate, plain []byte) []byte {
	size := int(t.valueLen)
	if t.shape.keyType == ep11.KeyTypeDES3 {
		size = des3Size
	}
	if !m.unpadded() || size < 0 || size > len(plain) || len(plain)-size >= m.block() ||
		len(bytes.Trim(plain[size:], "\x00")) > 0 {
		return plain
	}
	return plain[:size]
}

// trusted reports whether a wrapping key, private or public, is CKA_TRUSTED.
func (c *Card) trusted(kek []byte) bool {
	if public, err := c.openPublic(kek); err == nil {
		return public.attributes&ep11.BlobTrusted != 0
	}
	k, err := c.openKey(kek)
	clear(k.secret)
	return err == nil && k.attributes&ep11.BlobTrusted != 0
}

// bare returns the bytes of a key that are encrypted.
func (k key) bare() ([]byte, error) {
	if k.kind.isSecret() {
		return append([]byte(nil), k.secret...), nil
	}
	return k.pkcs8()
}
