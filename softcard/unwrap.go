package softcard

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// UnwrapKey imports a key that is encrypted under a key of the card. CheckSum in the answer
// is the check value and the length in bits of a secret key, or the MACed public key and
// the size in bits of a private one.
func (s *service) UnwrapKey(_ context.Context, request *pb.UnwrapKeyRequest) (*pb.UnwrapKeyResponse, error) {
	m, err := choose(request.GetMech(), ep11.CanUnwrap)
	if err != nil {
		return nil, err
	}
	if m.id == ep11.MechIBMTransportKey {
		return s.card.importPublic(request)
	}
	kek, err := blobOf(request.GetKeKBytes(), request.GetKeK())
	if err != nil {
		return nil, err
	}
	if m.id == ep11.MechIBMAttrBoundWrap {
		return s.card.unwrapAttrBound(kek, request)
	}
	t, err := readImport(request.GetTemplate())
	if err != nil {
		return nil, err
	}
	plain, err := s.card.cryptWith(m, decrypting, ep11.BlobUnwrap, kek, request.GetWrapped())
	if err != nil {
		return nil, asWrapped(err)
	}
	defer clear(plain)
	k, err := t.read(m.cut(t, plain))
	if err != nil {
		return nil, err
	}
	k.attributes = t.attributes
	return s.card.unwrapped(k)
}

// asWrapped turns the error of a decryption into that of an import.
func asWrapped(err error) error {
	refusal, ok := errors.AsType[*cardError](err)
	switch {
	case ok && refusal.code == ep11.CodeEncryptedDataInvalid:
		return refuse(ep11.CodeWrappedKeyInvalid, "the wrapped key does not decrypt: wrong key or initialisation vector")
	case ok && refusal.code == ep11.CodeEncryptedDataLenRange:
		return refuse(ep11.CodeWrappedKeyLenRange, "the wrapped key: %s", refusal.detail)
	}
	return err
}

// classes are the classes of the key types that can be imported.
var classes = map[int64]int64{
	ep11.KeyTypeAES: ep11.ClassSecretKey, ep11.KeyTypeDES3: ep11.ClassSecretKey,
	ep11.KeyTypeGenericSecret: ep11.ClassSecretKey,
	ep11.KeyTypeEC:            ep11.ClassPrivateKey, ep11.KeyTypeRSA: ep11.ClassPrivateKey,
}

// readImport reads the template of an import. It must name the key type. The class follows
// from the type, and clients leave it out.
func readImport(attrs map[uint64]*pb.AttributeValue) (keyTemplate, error) {
	keyType, err := lookInt(attrs, ep11.AttrKeyType)
	if err != nil {
		return keyTemplate{}, err
	}
	class, ok := classes[keyType]
	if !ok {
		return keyTemplate{}, refuse(ep11.CodeTemplateInconsistent, "no key of type 0x%x can be unwrapped here", keyType)
	}
	return readTemplate(attrs, shape{class: class, keyType: keyType, origin: imported})
}

// read makes a key from unwrapped bytes. The length of a secret key is theirs, whatever the template
// says of CKA_VALUE_LEN.
func (t keyTemplate) read(plain []byte) (key, error) {
	switch t.shape.keyType {
	case ep11.KeyTypeEC:
		k, err := readPKCS8EC(plain)
		if err == nil && t.params != nil && string(t.params) != curve(k.kind).params() {
			return key{}, refuse(ep11.CodeTemplateInconsistent, "the template names another curve than the wrapped key")
		}
		return k, err
	case ep11.KeyTypeRSA:
		return readPKCS8RSA(plain)
	}
	of := map[int64]kind{
		ep11.KeyTypeAES: kindAES, ep11.KeyTypeDES3: kindDES3, ep11.KeyTypeGenericSecret: kindGeneric,
	}[t.shape.keyType]
	if checkSecretSize(of, int64(len(plain))) != nil {
		return key{}, refuse(ep11.CodeWrappedKeyInvalid, "the wrapped key has %d bytes: none of its type", len(plain))
	}
	k := key{kind: of, secret: bytes.Clone(plain)}
	k.adjustParity()
	return k, nil
}

// unwrapped answers with an imported key.
func (c *Card) unwrapped(k key) (*pb.UnwrapKeyResponse, error) {
	defer clear(k.secret)
	blob, message, err := c.issue(k)
	if err != nil {
		return nil, err
	}
	sum := []byte(nil)
	if k.kind.isSecret() {
		sum = k.checkSum()
	} else if sum, err = c.publicSum(k); err != nil {
		return nil, err
	}
	return &pb.UnwrapKeyResponse{UnwrappedBytes: blob, CheckSum: sum, Unwrapped: message}, nil
}

// publicSum is the MACed public key of a private one and its size in bits. The public key
// gets the counterparts of the private key's usages.
func (c *Card) publicSum(k key) ([]byte, error) {
	public, err := k.public()
	if err != nil {
		return nil, err
	}
	public.attributes = ep11.BlobModifiable | ep11.BlobExtractable | k.attributes&(ep11.BlobDerive|ep11.BlobUseAsData)
	for private, other := range map[uint64]uint64{
		ep11.BlobSign: ep11.BlobVerify, ep11.BlobDecrypt: ep11.BlobEncrypt, ep11.BlobUnwrap: ep11.BlobWrap,
	} {
		if k.attributes&private != 0 {
			public.attributes |= other
		}
	}
	blob, err := c.sealPublic(public)
	return appendBits(blob, public), err
}

func appendBits(blob []byte, k publicKey) []byte {
	return binary.BigEndian.AppendUint32(blob, uint32(k.bits())) //nolint:gosec // at most 4096
}

// importPublic makes a public key of the card from a bare SubjectPublicKeyInfo.
// CKM_IBM_TRANSPORTKEY is for that; it ignores the wrapping key.
func (c *Card) importPublic(request *pb.UnwrapKeyRequest) (*pb.UnwrapKeyResponse, error) {
	k, rest, ok := cutSPKI(request.GetWrapped())
	if on, isEC := k.kind.curve(); !ok || len(rest) > 0 || isEC && !on.valid(k.point) {
		return nil, refuse(ep11.CodeWrappedKeyInvalid,
			"not the SubjectPublicKeyInfo of an RSA key or of a curve of this card")
	}
	s := shape{class: ep11.ClassPublicKey, keyType: k.kind.keyType(), origin: imported}
	t, err := readTemplate(request.GetTemplate(), s)
	if err != nil {
		return nil, err
	}
	if on, isEC := k.kind.curve(); isEC && t.params != nil && string(t.params) != on.params() {
		return nil, refuse(ep11.CodeTemplateInconsistent, "the template names another curve than the key")
	}
	k.attributes = t.attributes
	blob, message, err := c.issuePublic(k)
	if err != nil {
		return nil, err
	}
	return &pb.UnwrapKeyResponse{UnwrappedBytes: blob, CheckSum: appendBits(bytes.Clone(blob), k), Unwrapped: message}, nil
}
