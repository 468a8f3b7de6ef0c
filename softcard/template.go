package softcard

import (
	"maps"
	"math/big"
	"slices"

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
)

// keyTemplate is what a request wants of a key.
type keyTemplate struct {
	shape      shape
	params     []byte // CKA_EC_PARAMS; nil when absent
	valueLen   int64  // CKA_VALUE_LEN; -1 when absent
	bits       int64  // CKA_MODULUS_BITS; -1 when absent
	structure  []byte // CKA_IBM_STRUCT_PARAMS; nil when absent
	exponent   []byte // CKA_PUBLIC_EXPONENT, big-endian; nil when absent
	attributes uint64 // the boolean attributes of the new key
	mentioned  uint64 // those that the template names
}

// shape is the kind of key that a template may be of.
type shape struct {
	class   int64
	keyType int64
	usage   uint64 // what a generated key can be for; more is a contradiction
	origin  origin
}

// origin is how a key comes to be.
type origin int

const (
	generated origin = iota // in the card
	imported                // by UnwrapKey
	derived                 // by DeriveKey
)

// flags are the boolean attributes that a blob keeps, by their bits; the bit 0
// marks one that a card accepts and does not keep.
var flags = map[uint64]uint64{
	grep11.AttrToken:           0,
	grep11.AttrCopyable:        0,
	grep11.AttrPrivate:         0,
	grep11.AttrSensitive:       0,
	grep11.AttrTrusted:         grep11.BlobTrusted,
	grep11.AttrEncrypt:         grep11.BlobEncrypt,
	grep11.AttrDecrypt:         grep11.BlobDecrypt,
	grep11.AttrWrap:            grep11.BlobWrap,
	grep11.AttrUnwrap:          grep11.BlobUnwrap,
	grep11.AttrSign:            grep11.BlobSign,
	grep11.AttrSignRecover:     grep11.BlobSignRecover,
	grep11.AttrVerify:          grep11.BlobVerify,
	grep11.AttrVerifyRecover:   grep11.BlobVerifyRecover,
	grep11.AttrDerive:          grep11.BlobDerive,
	grep11.AttrExtractable:     grep11.BlobExtractable,
	grep11.AttrModifiable:      grep11.BlobModifiable,
	grep11.AttrWrapWithTrusted: grep11.BlobWrapWithTrusted,
	grep11.AttrIBMRestrictable: grep11.BlobRestrictable,
	grep11.AttrIBMAttrBound:    grep11.BlobAttrBound,
	grep11.AttrIBMUseAsData:    grep11.BlobUseAsData,
}

// What a generated key may be asked to be for goes by its class, not by its type (IBM's
// GREP11 reference, supported attributes). Of an imported or derived one it may be anything:
// clients ask EC keys to unwrap, too. What a key cannot do its mechanisms refuse.
const (
	privateUsage = grep11.BlobSign | grep11.BlobSignRecover | grep11.BlobDecrypt | grep11.BlobUnwrap | grep11.BlobDerive
	publicUsage  = grep11.BlobVerify | grep11.BlobVerifyRecover | grep11.BlobEncrypt | grep11.BlobWrap | grep11.BlobDerive | grep11.BlobTrusted
	usage        = grep11.BlobEncrypt | grep11.BlobDecrypt | grep11.BlobWrap | grep11.BlobUnwrap | grep11.BlobSign |
		grep11.BlobSignRecover | grep11.BlobVerify | grep11.BlobVerifyRecover | grep11.BlobDerive | grep11.BlobTrusted

	// derivedUsage is what a derived key may do when its template does not say: IBM's
	// clients sign with keys derived without CKA_SIGN, and blobs of cards show all of it.
	derivedUsage = grep11.BlobSign | grep11.BlobVerify | grep11.BlobEncrypt | grep11.BlobDecrypt | grep11.BlobDerive
)

// readTemplate reads one template strictly. Usage is denied unless it is asked for or,
// of a derived key, forbidden.
func readTemplate(attrs map[uint64]*pb.AttributeValue, s shape) (keyTemplate, error) {
	t := keyTemplate{shape: s, attributes: grep11.BlobModifiable, valueLen: -1, bits: -1}
	for _, id := range slices.Sorted(maps.Keys(attrs)) {
		if err := t.set(id, attrs[id]); err != nil {
			return keyTemplate{}, err
		}
	}
	if s.origin == derived {
		t.attributes |= derivedUsage &^ t.mentioned
	}
	if wrong := t.attributes & usage &^ s.usage; wrong != 0 && s.origin == generated {
		return keyTemplate{}, refuse(grep11.CodeTemplateInconsistent, "a key of class %d and type 0x%x cannot have usage 0x%x", s.class, s.keyType, wrong)
	}
	t.attributes |= t.born()
	return t, nil
}

// set reads one attribute.
func (t *keyTemplate) set(id uint64, value *pb.AttributeValue) error {
	switch id {
	case grep11.AttrClass:
		return wantInt(id, value, t.shape.class)
	case grep11.AttrKeyType:
		return wantInt(id, value, t.shape.keyType)
	case grep11.AttrLabel:
		var label []byte
		return readBytes(id, value, &label)
	case grep11.AttrLocal, grep11.AttrNeverExtractable, grep11.AttrAlwaysSensitive, grep11.AttrPublicKeyInfo, grep11.AttrECPoint,
		grep11.AttrModulus, grep11.AttrCheckValue, grep11.AttrValue:
		return refuse(grep11.CodeAttributeReadOnly, "attribute 0x%x is the card's to set", id)
	}
	if bit, known := flags[id]; known {
		return t.setFlag(id, bit, value)
	}
	return t.setValue(id, value)
}

// setValue reads an attribute of some kinds of keys. CKA_VALUE_LEN of a key that is
// imported or derived is read of every kind: clients send it, with 0 or with the length
// of the PKCS #8.
func (t *keyTemplate) setValue(id uint64, value *pb.AttributeValue) error {
	secret, isEC := t.shape.class == grep11.ClassSecretKey, t.shape.keyType == grep11.KeyTypeEC
	rsaPublic := t.shape.keyType == grep11.KeyTypeRSA && t.shape.class == grep11.ClassPublicKey
	switch {
	case id == grep11.AttrECParams && isEC && !secret:
		return readBytes(id, value, &t.params)
	case id == grep11.AttrIBMStructParams && (t.shape.keyType == grep11.KeyTypeDSA || t.shape.keyType == grep11.KeyTypeDH):
		return readBytes(id, value, &t.structure)
	case id == grep11.AttrValueLen && (secret || t.shape.origin != generated):
		return readInt(id, value, &t.valueLen)
	case id == grep11.AttrModulusBits && rsaPublic:
		return readInt(id, value, &t.bits)
	case id == grep11.AttrPublicExponent && rsaPublic:
		return t.setExponent(value)
	}
	return refuse(grep11.CodeAttributeTypeInvalid, "attribute 0x%x is not of a key of class %d and type 0x%x", id, t.shape.class, t.shape.keyType)
}

// setExponent takes big-endian bytes, or the integer that IBM's helper makes of one.
func (t *keyTemplate) setExponent(value *pb.AttributeValue) error {
	if i, ok := value.GetOneAttr().(*pb.AttributeValue_AttributeI); ok && i.AttributeI > 0 {
		t.exponent = big.NewInt(i.AttributeI).Bytes()
		return nil
	}
	return readBytes(grep11.AttrPublicExponent, value, &t.exponent)
}

func (t *keyTemplate) setFlag(id, bit uint64, value *pb.AttributeValue) error {
	on, ok := asBool(value)
	if !ok {
		return refuse(grep11.CodeAttributeValueInvalid, "attribute 0x%x wants a boolean", id)
	}
	if id == grep11.AttrSensitive && !on && t.shape.class != grep11.ClassPublicKey {
		return refuse(grep11.CodeTemplateInconsistent, "a private or secret key of a card is always sensitive")
	}
	t.attributes &^= bit
	t.mentioned |= bit
	if on {
		t.attributes |= bit
	}
	return nil
}

// born are the bits that say how a key of the template came to be. Generated keys of
// cards show just these: 0x400126 is SIGN, not extractable, 0x400125 SIGN, extractable;
// an imported one 0x104, a derived one 0x9d85.
func (t keyTemplate) born() (bits uint64) {
	if t.shape.origin == generated {
		bits = grep11.BlobLocal
	}
	if t.attributes&grep11.BlobModifiable == 0 {
		bits |= grep11.BlobNeverModifiable
	}
	switch {
	case t.shape.class == grep11.ClassPublicKey:
		return bits | grep11.BlobExtractable
	case t.shape.origin != generated:
		return bits
	case t.attributes&grep11.BlobExtractable == 0:
		bits |= grep11.BlobNeverExtractable
	}
	return bits | grep11.BlobNeverProtKey
}

func wantInt(id uint64, value *pb.AttributeValue, want int64) error {
	var got int64
	if err := readInt(id, value, &got); err != nil {
		return err
	}
	if got != want {
		return refuse(grep11.CodeTemplateInconsistent, "attribute 0x%x is %d, want %d", id, got, want)
	}
	return nil
}

func readInt(id uint64, value *pb.AttributeValue, into *int64) error {
	got, ok := value.GetOneAttr().(*pb.AttributeValue_AttributeI)
	if !ok || got.AttributeI < 0 {
		return refuse(grep11.CodeAttributeValueInvalid, "attribute 0x%x wants an integer", id)
	}
	*into = got.AttributeI
	return nil
}

func readBytes(id uint64, value *pb.AttributeValue, into *[]byte) error {
	got, ok := value.GetOneAttr().(*pb.AttributeValue_AttributeB)
	if !ok {
		return refuse(grep11.CodeAttributeValueInvalid, "attribute 0x%x wants bytes", id)
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

// lookInt finds an integer in a template that has to have it.
func lookInt(attrs map[uint64]*pb.AttributeValue, id uint64) (int64, error) {
	value, ok := attrs[id]
	if !ok {
		return 0, refuse(grep11.CodeTemplateIncomplete, "the template lacks attribute 0x%x", id)
	}
	var got int64
	err := readInt(id, value, &got)
	return got, err
}
