package softcard

import (
	"maps"
	"slices"

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
)

// keyTemplate is what a request wants of one half of a key pair.
type keyTemplate struct {
	class      int64
	params     []byte // CKA_EC_PARAMS; nil when absent
	attributes uint64 // the boolean attributes of the new key
}

// flags are the boolean attributes that a blob keeps, by their bits; the bit 0
// marks one that a card accepts and does not keep.
var flags = map[uint64]uint64{
	grep11.AttrToken:           0,
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
	grep11.AttrIBMRestrictable: grep11.BlobRestrictable,
	grep11.AttrIBMAttrBound:    grep11.BlobAttrBound,
	grep11.AttrIBMUseAsData:    grep11.BlobUseAsData,
}

// What an EC key of either class may be asked to be for; more is a contradiction.
const (
	privateUsage = grep11.BlobSign | grep11.BlobDerive
	publicUsage  = grep11.BlobVerify | grep11.BlobDerive
	usage        = grep11.BlobEncrypt | grep11.BlobDecrypt | grep11.BlobWrap | grep11.BlobUnwrap | grep11.BlobSign |
		grep11.BlobSignRecover | grep11.BlobVerify | grep11.BlobVerifyRecover | grep11.BlobDerive | grep11.BlobTrusted
)

// readTemplate reads one template strictly. Usage is denied unless it is asked for.
func readTemplate(attrs map[uint64]*pb.AttributeValue, class int64) (keyTemplate, error) {
	t := keyTemplate{class: class, attributes: grep11.BlobModifiable}
	for _, id := range slices.Sorted(maps.Keys(attrs)) {
		if err := t.set(id, attrs[id]); err != nil {
			return keyTemplate{}, err
		}
	}
	allowed := privateUsage
	if class == grep11.ClassPublicKey {
		allowed = publicUsage
	}
	if wrong := t.attributes & usage &^ allowed; wrong != 0 {
		return keyTemplate{}, refuse(grep11.CodeTemplateInconsistent, "an EC key of class %d cannot have usage 0x%x", class, wrong)
	}
	t.attributes |= born(t)
	return t, nil
}

// set reads one attribute.
func (t *keyTemplate) set(id uint64, value *pb.AttributeValue) error {
	switch id {
	case grep11.AttrClass:
		return wantInt(id, value, t.class)
	case grep11.AttrKeyType:
		return wantInt(id, value, grep11.KeyTypeEC)
	case grep11.AttrECParams:
		return readBytes(id, value, &t.params)
	case grep11.AttrLabel:
		var label []byte
		return readBytes(id, value, &label)
	case grep11.AttrLocal, grep11.AttrNeverExtractable, grep11.AttrAlwaysSensitive, grep11.AttrPublicKeyInfo, grep11.AttrECPoint:
		return refuse(grep11.CodeAttributeReadOnly, "attribute 0x%x is the card's to set", id)
	}
	bit, known := flags[id]
	if !known {
		return refuse(grep11.CodeAttributeTypeInvalid, "attribute 0x%x is not of an EC key", id)
	}
	return t.setFlag(id, bit, value)
}

func (t *keyTemplate) setFlag(id, bit uint64, value *pb.AttributeValue) error {
	on, ok := asBool(value)
	if !ok {
		return refuse(grep11.CodeAttributeValueInvalid, "attribute 0x%x wants a boolean", id)
	}
	if id == grep11.AttrSensitive && !on && t.class == grep11.ClassPrivateKey {
		return refuse(grep11.CodeTemplateInconsistent, "a private key of a card is always sensitive")
	}
	t.attributes &^= bit
	if on {
		t.attributes |= bit
	}
	return nil
}

// born are the bits that say how a key of the template came to be. Generated keys of
// cards show just these: 0x400126 is SIGN, not extractable, 0x400125 SIGN, extractable.
func born(t keyTemplate) uint64 {
	bits := grep11.BlobLocal
	if t.attributes&grep11.BlobModifiable == 0 {
		bits |= grep11.BlobNeverModifiable
	}
	if t.class == grep11.ClassPublicKey {
		return bits | grep11.BlobExtractable
	}
	if t.attributes&grep11.BlobExtractable == 0 {
		bits |= grep11.BlobNeverExtractable
	}
	return bits | grep11.BlobNeverProtKey
}

func wantInt(id uint64, value *pb.AttributeValue, want int64) error {
	got, ok := value.GetOneAttr().(*pb.AttributeValue_AttributeI)
	if !ok {
		return refuse(grep11.CodeAttributeValueInvalid, "attribute 0x%x wants an integer", id)
	}
	if got.AttributeI != want {
		return refuse(grep11.CodeTemplateInconsistent, "attribute 0x%x is %d, want %d", id, got.AttributeI, want)
	}
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

// describe gives the attributes of a new key as a KeyBlob lists them.
func (t keyTemplate) describe(c curve, spki []byte) map[uint64]*pb.AttributeValue {
	list := map[uint64]*pb.AttributeValue{
		grep11.AttrClass:         {OneAttr: &pb.AttributeValue_AttributeI{AttributeI: t.class}},
		grep11.AttrKeyType:       {OneAttr: &pb.AttributeValue_AttributeI{AttributeI: grep11.KeyTypeEC}},
		grep11.AttrECParams:      {OneAttr: &pb.AttributeValue_AttributeB{AttributeB: []byte(c.params())}},
		grep11.AttrPublicKeyInfo: {OneAttr: &pb.AttributeValue_AttributeB{AttributeB: spki}},
		grep11.AttrLocal:         {OneAttr: &pb.AttributeValue_AttributeTF{AttributeTF: true}},
	}
	for id, bit := range flags {
		if bit != 0 {
			list[id] = &pb.AttributeValue{OneAttr: &pb.AttributeValue_AttributeTF{AttributeTF: t.attributes&bit != 0}}
		}
	}
	return list
}
