package softcard

import (
	"maps"
	"math/big"
	"slices"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// keyTemplate is what a request asks of a key.
type keyTemplate struct {
	shape      shape
	params     []byte // CKA_EC_PARAMS; nil if absent
	valueLen   int64  // CKA_VALUE_LEN; -1 if absent
	bits       int64  // CKA_MODULUS_BITS; -1 if absent
	structure  []byte // CKA_IBM_STRUCT_PARAMS; nil if absent
	exponent   []byte // CKA_PUBLIC_EXPONENT, big-endian; nil if absent
	attributes uint64 // bits of the boolean attributes of the new key
	mentioned  uint64 // bits that the template names
}

// shape is the kind of key that a template may describe.
type shape struct {
	class   int64
	keyType int64
	usage   uint64 // usages that a generated key can have; others contradict it
	origin  origin
}

// origin is how a key comes to be.
type origin int

const (
	generated origin = iota // in the card
	imported                // by UnwrapKey
	derived                 // by DeriveKey
)

// flags are the boolean attributes and their bits in a blob. Bit 0 marks an attribute that
// a card accepts and does not keep.
var flags = map[uint64]uint64{
	ep11.AttrToken:           0,
	ep11.AttrCopyable:        0,
	ep11.AttrPrivate:         0,
	ep11.AttrSensitive:       0,
	ep11.AttrTrusted:         ep11.BlobTrusted,
	ep11.AttrEncrypt:         ep11.BlobEncrypt,
	ep11.AttrDecrypt:         ep11.BlobDecrypt,
	ep11.AttrWrap:            ep11.BlobWrap,
	ep11.AttrUnwrap:          ep11.BlobUnwrap,
	ep11.AttrSign:            ep11.BlobSign,
	ep11.AttrSignRecover:     ep11.BlobSignRecover,
	ep11.AttrVerify:          ep11.BlobVerify,
	ep11.AttrVerifyRecover:   ep11.BlobVerifyRecover,
	ep11.AttrDerive:          ep11.BlobDerive,
	ep11.AttrExtractable:     ep11.BlobExtractable,
	ep11.AttrModifiable:      ep11.BlobModifiable,
	ep11.AttrWrapWithTrusted: ep11.BlobWrapWithTrusted,
	ep11.AttrIBMRestrictable: ep11.BlobRestrictable,
	ep11.AttrIBMAttrBound:    ep11.BlobAttrBound,
	ep11.AttrIBMUseAsData:    ep11.BlobUseAsData,
}

// The usages of a generated key depend on its class, not on its type (IBM's GREP11
// reference, supported attributes). An imported or derived key may have any usage: clients
// ask even EC keys to unwrap. The mechanisms refuse what a key cannot do.
const (
	privateUsage = ep11.BlobSign | ep11.BlobSignRecover | ep11.BlobDecrypt | ep11.BlobUnwrap | ep11.BlobDerive
	publicUsage  = ep11.BlobVerify | ep11.BlobVerifyRecover | ep11.BlobEncrypt | ep11.BlobWrap |
		ep11.BlobDerive | ep11.BlobTrusted
	usage = ep11.BlobEncrypt | ep11.BlobDecrypt | ep11.BlobWrap | ep11.BlobUnwrap | ep11.BlobSign |
		ep11.BlobSignRecover | ep11.BlobVerify | ep11.BlobVerifyRecover | ep11.BlobDerive | ep11.BlobTrusted

	// The usages that cards give to a generated AES key and to a derived key unless the template
	// denies them. IBM's clients sign with keys derived without CKA_SIGN, and blobs of cards show
	// all these bits.
	aesUsage     = ep11.BlobSign | ep11.BlobVerify | ep11.BlobEncrypt | ep11.BlobDecrypt
	derivedUsage = aesUsage | ep11.BlobDerive
)

// readTemplate reads one template. A key has the usages that the template asks for, and those that
// unmentioned and dropped add and take.
func readTemplate(attrs map[uint64]*pb.AttributeValue, s shape) (keyTemplate, error) {
	t := keyTemplate{shape: s, attributes: ep11.BlobModifiable, valueLen: -1, bits: -1}
	attrs, err := underLowIDs(attrs)
	if err != nil {
		return keyTemplate{}, err
	}
	for _, id := range slices.Sorted(maps.Keys(attrs)) {
		if err := t.set(id, attrs[id]); err != nil {
			return keyTemplate{}, err
		}
	}
	t.attributes |= s.unmentioned() &^ t.mentioned
	t.attributes &^= dropped(s.keyType)
	if wrong := t.attributes & usage &^ s.usage; wrong != 0 && s.origin == generated {
		return keyTemplate{}, refuse(ep11.CodeTemplateInconsistent,
			"a key of class %d and type 0x%x cannot have usage 0x%x", s.class, s.keyType, wrong)
	}
	t.attributes |= t.born()
	return t, nil
}

// unmentioned returns the bits of a key that its template does not mention. A private or secret key
// is then extractable, however it came to be: blobs of cards show it.
func (s shape) unmentioned() (bits uint64) {
	if s.class != ep11.ClassPublicKey {
		bits = ep11.BlobExtractable
	}
	switch {
	case s.origin == derived:
		bits |= derivedUsage
	case s.origin == generated && s.keyType == ep11.KeyTypeAES:
		bits |= aesUsage
	}
	return bits
}

// dropped returns the bits that keys of a type do not get, whoever asks for them.
func dropped(keyType int64) uint64 {
	if keyType == ep11.KeyTypeGenericSecret {
		return ep11.BlobWrap | ep11.BlobUnwrap
	}
	return 0
}

// set reads one attribute. One that a card does not know it ignores.
func (t *keyTemplate) set(id uint64, value *pb.AttributeValue) error {
	switch id {
	case ep11.AttrClass:
		return wantInt(id, value, t.shape.class)
	case ep11.AttrKeyType:
		return wantInt(id, value, t.shape.keyType)
	case ep11.AttrLabel:
		var label []byte
		return readBytes(id, value, &label)
	case ep11.AttrLocal, ep11.AttrNeverExtractable, ep11.AttrAlwaysSensitive, ep11.AttrPublicKeyInfo, ep11.AttrECPoint,
		ep11.AttrModulus, ep11.AttrCheckValue, ep11.AttrValue:
		return refuse(ep11.CodeAttributeReadOnly, "attribute 0x%x is the card's to set", id)
	}
	if bit, known := flags[id]; known {
		return t.setFlag(id, bit, value)
	}
	return t.setValue(id, value)
}

// setValue reads an attribute that only some kinds of keys have. CKA_VALUE_LEN is accepted
// for every imported or derived key: clients send it with 0 or with the length of the PKCS
// #8.
func (t *keyTemplate) setValue(id uint64, value *pb.AttributeValue) error {
	secret, isEC := t.shape.class == ep11.ClassSecretKey, t.shape.keyType == ep11.KeyTypeEC
	rsaPublic := t.shape.keyType == ep11.KeyTypeRSA && t.shape.class == ep11.ClassPublicKey
	switch {
	case id == ep11.AttrECParams && isEC && !secret:
		return readBytes(id, value, &t.params)
	case id == ep11.AttrIBMStructParams && (t.shape.keyType == ep11.KeyTypeDSA || t.shape.keyType == ep11.KeyTypeDH):
		return readBytes(id, value, &t.structure)
	case id == ep11.AttrValueLen && (secret || t.shape.origin != generated):
		return readInt(id, value, &t.valueLen)
	case id == ep11.AttrModulusBits && rsaPublic:
		return readInt(id, value, &t.bits)
	case id == ep11.AttrPublicExponent && rsaPublic:
		return t.setExponent(value)
	}
	if !slices.Contains(ofSomeKeys, id) {
		return nil
	}
	return refuse(ep11.CodeAttributeTypeInvalid,
		"attribute 0x%x is not of a key of class %d and type 0x%x", id, t.shape.class, t.shape.keyType)
}

// ofSomeKeys are the attributes that setValue reads for some kinds of keys and refuses for others.
var ofSomeKeys = []uint64{
	ep11.AttrECParams, ep11.AttrIBMStructParams, ep11.AttrValueLen, ep11.AttrModulusBits, ep11.AttrPublicExponent,
}

// setExponent takes big-endian bytes, or the integer that IBM's helper makes of them.
func (t *keyTemplate) setExponent(value *pb.AttributeValue) error {
	if i, ok := value.GetOneAttr().(*pb.AttributeValue_AttributeI); ok && i.AttributeI > 0 {
		t.exponent = big.NewInt(i.AttributeI).Bytes()
		return nil
	}
	return readBytes(ep11.AttrPublicExponent, value, &t.exponent)
}

func (t *keyTemplate) setFlag(id, bit uint64, value *pb.AttributeValue) error {
	on, ok := asBool(value)
	if !ok {
		return refuse(ep11.CodeAttributeValueInvalid, "attribute 0x%x wants a boolean", id)
	}
	if id == ep11.AttrSensitive && !on && t.shape.class != ep11.ClassPublicKey {
		return refuse(ep11.CodeTemplateInconsistent, "a private or secret key of a card is always sensitive")
	}
	t.attributes &^= bit
	t.mentioned |= bit
	if on {
		t.attributes |= bit
	}
	return nil
}

// born returns the bits that say how a key came to be. Cards show just these: a generated
// key 0x400126 (SIGN, not extractable) or 0x400125 (SIGN, extractable), an imported one
// 0x104, a derived one 0x9d85, a generated AES key 0x40ed25 (extractable) or 0xed26 (not).
func (t keyTemplate) born() (bits uint64) {
	if t.shape.origin == generated {
		bits = ep11.BlobLocal
	}
	if t.attributes&ep11.BlobModifiable == 0 {
		bits |= ep11.BlobNeverModifiable
	}
	switch {
	case t.shape.class == ep11.ClassPublicKey:
		return bits | ep11.BlobExtractable
	case t.shape.origin != generated:
		return bits
	case t.attributes&ep11.BlobExtractable != 0:
		return bits | ep11.BlobNeverProtKey
	case t.shape.class == ep11.ClassSecretKey:
		return bits | ep11.BlobNeverExtractable
	}
	return bits | ep11.BlobNeverExtractable | ep11.BlobNeverProtKey
}

func wantInt(id uint64, value *pb.AttributeValue, want int64) error {
	var got int64
	if err := readInt(id, value, &got); err != nil {
		return err
	}
	if got != want {
		return refuse(ep11.CodeTemplateInconsistent, "attribute 0x%x is %d, want %d", id, got, want)
	}
	return nil
}

func readInt(id uint64, value *pb.AttributeValue, into *int64) error {
	got, ok := value.GetOneAttr().(*pb.AttributeValue_AttributeI)
	if !ok || got.AttributeI < 0 {
		return refuse(ep11.CodeAttributeValueInvalid, "attribute 0x%x wants an integer", id)
	}
	*into = got.AttributeI
	return nil
}

func readBytes(id uint64, value *pb.AttributeValue, into *[]byte) error {
	got, ok := value.GetOneAttr().(*pb.AttributeValue_AttributeB)
	if !ok {
		return refuse(ep11.CodeAttributeValueInvalid, "attribute 0x%x wants bytes", id)
	}
	*into = got.AttributeB
	return nil
}

// asBool reads a boolean, or the CK_BBOOL byte that IBM's helper makes of one.
func asBool(value *pb.AttributeValue) (on, ok bool) {
	switch v := value.GetOneAttr().(type) {
	case *pb.AttributeValue_AttributeTF:
		return v.AttributeTF, true
	case *pb.AttributeValue_AttributeB:
		if len(v.AttributeB) == 1 && v.AttributeB[0] <= 1 {
			return v.AttributeB[0] == 1, true
		}
	}
	return false, false
}

// lookInt returns an integer that a template must have.
func lookInt(attrs map[uint64]*pb.AttributeValue, id uint64) (int64, error) {
	attrs, err := underLowIDs(attrs)
	if err != nil {
		return 0, err
	}
	value, ok := attrs[id]
	if !ok {
		return 0, refuse(ep11.CodeTemplateIncomplete, "the template lacks attribute 0x%x", id)
	}
	var got int64
	err = readInt(id, value, &got)
	return got, err
}
