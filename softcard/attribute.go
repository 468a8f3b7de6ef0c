package softcard

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

func intValue(v int64) *pb.AttributeValue {
	return &pb.AttributeValue{OneAttr: &pb.AttributeValue_AttributeI{AttributeI: v}}
}

func boolValue(v bool) *pb.AttributeValue {
	return &pb.AttributeValue{OneAttr: &pb.AttributeValue_AttributeTF{AttributeTF: v}}
}

func bytesValue(v []byte) *pb.AttributeValue {
	return &pb.AttributeValue{OneAttr: &pb.AttributeValue_AttributeB{AttributeB: v}}
}

// attributesOf returns the attributes that every key has.
func attributesOf(class, keyType int64, bits uint64) map[uint64]*pb.AttributeValue {
	list := map[uint64]*pb.AttributeValue{
		ep11.AttrClass:            intValue(class),
		ep11.AttrKeyType:          intValue(keyType),
		ep11.AttrLocal:            boolValue(bits&ep11.BlobLocal != 0),
		ep11.AttrNeverExtractable: boolValue(bits&ep11.BlobNeverExtractable != 0),
	}
	for id, bit := range flags {
		if bit != 0 {
			list[id] = boolValue(bits&bit != 0)
		}
	}
	return list
}

// describe returns the attributes of a public key as a KeyBlob lists them.
func (k publicKey) describe() (map[uint64]*pb.AttributeValue, error) {
	list := attributesOf(ep11.ClassPublicKey, k.kind.keyType(), k.attributes)
	if k.point != nil {
		point, err := appendOctets(nil, k.point) // PKCS #11 v2.40, mechanisms, section 2.3.3
		if err != nil {
			return nil, err
		}
		list[ep11.AttrECPoint] = bytesValue(point)
	}
	return list, k.describePublic(list)
}

// describePublic adds the attributes of the public key that both halves of a pair show.
func (k publicKey) describePublic(list map[uint64]*pb.AttributeValue) error {
	spki, err := k.spki()
	if err != nil {
		return err
	}
	list[ep11.AttrPublicKeyInfo] = bytesValue(spki)
	if on, ok := k.kind.curve(); ok {
		list[ep11.AttrECParams] = bytesValue([]byte(on.params()))
		return nil
	}
	if k.rsa == nil {
		return nil
	}
	list[ep11.AttrModulus] = bytesValue(k.rsa.N.Bytes())
	list[ep11.AttrModulusBits] = intValue(int64(k.rsa.N.BitLen()))
	exponent := uint32(k.rsa.E) //nolint:gosec // bounded by newRSAPair and crypto/x509
	list[ep11.AttrPublicExponent] = bytesValue(binary.BigEndian.AppendUint32(nil, exponent))
	return nil
}

// describe returns the attributes of a private or secret key.
func (k key) describe() (map[uint64]*pb.AttributeValue, error) {
	list := attributesOf(k.kind.class(), k.kind.keyType(), k.attributes)
	list[ep11.AttrSensitive] = boolValue(true)
	list[ep11.AttrAlwaysSensitive] = boolValue(k.attributes&ep11.BlobLocal != 0)
	if k.kind.isSecret() {
		list[ep11.AttrValueLen] = intValue(int64(len(k.secret)))
		list[ep11.AttrCheckValue] = bytesValue(k.checkValue())
		return list, nil
	}
	public, err := k.public()
	if err != nil {
		return nil, err
	}
	return list, public.describePublic(list)
}

// describe returns the attributes of the key in a blob, private or public.
func (c *Card) describe(blob []byte) (map[uint64]*pb.AttributeValue, error) {
	if _, _, ok := cutSPKI(blob); ok {
		k, err := c.openPublic(blob)
		if err != nil {
			return nil, err
		}
		return k.describe()
	}
	k, err := c.openKey(blob)
	if err != nil {
		return nil, err
	}
	defer clear(k.secret)
	return k.describe()
}

// GetAttributeValue returns the attributes that the request names, as typed values and,
// where the request asks for bytes, as bytes. CKA_VALUE of a private or secret key fails
// with CKR_ATTRIBUTE_SENSITIVE, an attribute that the key does not have with
// CKR_ATTRIBUTE_TYPE_INVALID. The answer has the ids of the request, however long they are.
func (s *service) GetAttributeValue(
	_ context.Context, request *pb.GetAttributeValueRequest,
) (*pb.GetAttributeValueResponse, error) {
	if len(request.GetObject()) == 0 {
		return nil, errNoKey
	}
	all, err := s.card.describe(request.GetObject())
	if err != nil {
		return nil, err
	}
	response := &pb.GetAttributeValueResponse{
		AttributesBytes: make(map[uint64][]byte), Attributes: make(map[uint64]*pb.AttributeValue),
	}
	for _, id := range slices.Sorted(maps.Keys(request.GetAttributes())) {
		if response.Attributes[id], err = pick(all, id); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(request.GetAttributesBytes())) {
		value, err := pick(all, id)
		if err != nil {
			return nil, err
		}
		response.AttributesBytes[id] = asBytes(value)
	}
	return response, nil
}

func pick(all map[uint64]*pb.AttributeValue, id uint64) (*pb.AttributeValue, error) {
	if value, ok := all[lowID(id)]; ok {
		return value, nil
	}
	if lowID(id) == ep11.AttrValue {
		return nil, refuse(ep11.CodeAttributeSensitive, "a card does not give the value of a key")
	}
	return nil, refuse(ep11.CodeAttributeTypeInvalid, "the key has no attribute 0x%x", id)
}

// asBytes encodes a value as IBM's helpers do: a boolean as one CK_BBOOL byte, a number as
// eight bytes big-endian.
func asBytes(value *pb.AttributeValue) []byte {
	switch v := value.GetOneAttr().(type) {
	case *pb.AttributeValue_AttributeTF:
		if v.AttributeTF {
			return []byte{1}
		}
		return []byte{0}
	case *pb.AttributeValue_AttributeI:
		return binary.BigEndian.AppendUint64(nil, uint64(v.AttributeI)) //nolint:gosec // the card's own, not negative
	}
	return value.GetAttributeB()
}

// SetAttributeValue returns the key with other boolean attributes, in a new blob of the
// same size. The old blob stays valid. Attributes that only the card sets, or that would
// make a key extractable or trusted, fail with CKR_ATTRIBUTE_READ_ONLY. A key that is not
// CKA_MODIFIABLE fails with CKR_ACTION_PROHIBITED; a CKA_IBM_RESTRICTABLE one may still
// lose attributes.
func (s *service) SetAttributeValue(
	_ context.Context, request *pb.SetAttributeValueRequest,
) (*pb.SetAttributeValueResponse, error) {
	blob := request.GetObject()
	if len(blob) == 0 {
		return nil, errNoKey
	}
	w, err := s.card.wrapping()
	if err != nil {
		return nil, err
	}
	if _, _, ok := cutSPKI(blob); ok {
		blob, err = w.resetPublic(blob, request.GetAttributes())
	} else {
		blob, err = w.reset(blob, request.GetAttributes())
	}
	if err != nil {
		return nil, err
	}
	return &pb.SetAttributeValueResponse{Object: blob}, nil
}

func (w *wrapping) reset(blob []byte, attrs map[uint64]*pb.AttributeValue) ([]byte, error) {
	k, err := w.open(blob)
	if err != nil {
		return nil, err
	}
	defer clear(k.secret)
	if k.attributes, err = changed(k.attributes, attrs); err != nil {
		return nil, err
	}
	k.attributes &^= dropped(k.kind.keyType())
	return w.seal(k, len(blob))
}

func (w *wrapping) resetPublic(blob []byte, attrs map[uint64]*pb.AttributeValue) ([]byte, error) {
	k, err := w.openPublic(blob)
	if err != nil {
		return nil, err
	}
	if k.attributes, err = changed(k.attributes, attrs); err != nil {
		return nil, err
	}
	return w.sealPublic(k)
}

// unraisable are the bits that nobody may set on a key that lacks them.
const unraisable = ep11.BlobExtractable | ep11.BlobTrusted | ep11.BlobModifiable | ep11.BlobRestrictable

// changeable refuses a change that the key's own bits forbid: a modifiable key may change
// freely, a restrictable one may only lose bits (ep11.h, XCP_Attr_t).
func changeable(was, is uint64) error {
	raised, changed := is&^was, is^was
	switch {
	case changed == 0:
		return nil
	case was&ep11.BlobModifiable == 0 && (was&ep11.BlobRestrictable == 0 || raised != 0):
		return refuse(ep11.CodeActionProhibited, "the key is not CKA_MODIFIABLE")
	case changed&ep11.BlobAttrBound != 0 || raised&unraisable != 0:
		return refuse(ep11.CodeAttributeReadOnly, "the key can never become so: bits 0x%x", changed)
	}
	return nil
}

// changed returns the bits of a key after a change.
func changed(bits uint64, attrs map[uint64]*pb.AttributeValue) (uint64, error) {
	was := bits
	attrs, err := underLowIDs(attrs)
	if err != nil {
		return 0, err
	}
	for _, id := range slices.Sorted(maps.Keys(attrs)) {
		bit, err := changeableBit(id)
		if err != nil {
			return 0, err
		}
		on, ok := asBool(attrs[id])
		switch {
		case !ok:
			return 0, refuse(ep11.CodeAttributeValueInvalid, "attribute 0x%x wants a boolean", id)
		case on:
			bits |= bit
		default:
			bits &^= bit
		}
	}
	return bits, changeable(was, bits)
}

// changeableBit returns the bit of a boolean attribute that a client may set, or refuses.
func changeableBit(id uint64) (uint64, error) {
	bit, isFlag := flags[id]
	switch {
	case bit != 0:
		return bit, nil
	case isFlag, slices.Contains(fixed, id):
		return 0, refuse(ep11.CodeAttributeReadOnly, "attribute 0x%x cannot be changed", id)
	}
	return 0, refuse(ep11.CodeAttributeTypeInvalid, "there is no attribute 0x%x", id)
}

// fixed are the attributes that a key keeps for life.
var fixed = []uint64{
	ep11.AttrClass, ep11.AttrKeyType, ep11.AttrLabel, ep11.AttrValue, ep11.AttrValueLen, ep11.AttrCheckValue,
	ep11.AttrLocal, ep11.AttrNeverExtractable, ep11.AttrAlwaysSensitive, ep11.AttrPublicKeyInfo, ep11.AttrECParams,
	ep11.AttrECPoint, ep11.AttrModulus, ep11.AttrModulusBits, ep11.AttrPublicExponent, ep11.AttrIBMStructParams,
}
