package softcard_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

func (b *bench) get(object []byte, ids ...uint64) (*pb.GetAttributeValueResponse, error) {
	b.tb.Helper()
	wanted, asBytes := map[uint64]*pb.AttributeValue{}, map[uint64][]byte{}
	for _, id := range ids {
		wanted[id], asBytes[id] = &pb.AttributeValue{}, nil
	}
	return b.GetAttributeValue(b.tb.Context(), &pb.GetAttributeValueRequest{Object: object, Attributes: wanted, AttributesBytes: asBytes})
}

func TestGetAttributeValue(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	edwards := testCurves[0].pair(t, direct(b.card))
	pair := testCurves[1].pair(t, direct(b.card))
	for _, test := range []struct {
		name   string
		object []byte
		id     uint64
		want   any
		bytes  string
	}{
		{"class of a secret key", b.kek, ep11.AttrClass, int64(4), "\x00\x00\x00\x00\x00\x00\x00\x04"},
		{"type of a secret key", b.kek, ep11.AttrKeyType, int64(0x1f), "\x00\x00\x00\x00\x00\x00\x00\x1f"},
		{"length of a secret key", b.kek, ep11.AttrValueLen, int64(32), "\x00\x00\x00\x00\x00\x00\x00\x20"},
		{"wrapping", b.kek, ep11.AttrWrap, true, "\x01"},
		{"extractable", b.kek, ep11.AttrExtractable, true, "\x01"},
		{"never extractable", b.kek, ep11.AttrNeverExtractable, false, "\x00"},
		{"local", b.kek, ep11.AttrLocal, true, "\x01"},
		{"sensitive", b.kek, ep11.AttrSensitive, true, "\x01"},
		{"class of a private key", pair.GetPrivKeyBytes(), ep11.AttrClass, int64(3), "\x00\x00\x00\x00\x00\x00\x00\x03"},
		{"curve", pair.GetPrivKeyBytes(), ep11.AttrECParams, ep11.CurveSecp256k1, ep11.CurveSecp256k1},
		{"public key of a private one", pair.GetPrivKeyBytes(), ep11.AttrPublicKeyInfo, string(pair.GetPubKeyBytes()[:88]), string(pair.GetPubKeyBytes()[:88])},
		{"never extractable private key", pair.GetPrivKeyBytes(), ep11.AttrNeverExtractable, true, "\x01"},
		{"class of a public key", pair.GetPubKeyBytes(), ep11.AttrClass, int64(2), "\x00\x00\x00\x00\x00\x00\x00\x02"},
		{"verifying", pair.GetPubKeyBytes(), ep11.AttrVerify, true, "\x01"},
		{"point of a public key", pair.GetPubKeyBytes(), ep11.AttrECPoint, octets(pair.GetPubKeyBytes()[23:88]), octets(pair.GetPubKeyBytes()[23:88])},
		{"point on Ed25519", edwards.GetPubKeyBytes(), ep11.AttrECPoint, octets(edwards.GetPubKeyBytes()[21:53]), octets(edwards.GetPubKeyBytes()[21:53])},
		{"an id with its sign extended", b.kek, ^uint64(1<<32-1) | ep11.AttrIBMUseAsData, true, "\x01"},
	} {
		r, err := b.get(test.object, test.id)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		want := template{test.id: test.want}.attributes(t)[test.id]
		if got := r.GetAttributes()[test.id]; got.String() != want.String() || len(r.GetAttributes()) != 1 {
			t.Errorf("%s: %v, want %v", test.name, got, want)
		}
		if got := r.GetAttributesBytes()[test.id]; string(got) != test.bytes {
			t.Errorf("%s: %x, want %x", test.name, got, test.bytes)
		}
	}
	for name, test := range map[string]struct {
		object []byte
		id     uint64
		want   ep11.Code
	}{
		"the value":            {b.kek, ep11.AttrValue, ep11.CodeAttributeSensitive},
		"a curve of AES":       {b.kek, ep11.AttrECParams, ep11.CodeAttributeTypeInvalid},
		"a point of AES":       {b.kek, ep11.AttrECPoint, ep11.CodeAttributeTypeInvalid},
		"the value, long id":   {b.kek, 1<<40 | ep11.AttrValue, ep11.CodeAttributeSensitive},
		"an unknown attribute": {pair.GetPubKeyBytes(), 0xdeadbeef, ep11.CodeAttributeTypeInvalid},
		"nothing":              {nil, ep11.AttrClass, ep11.CodeArgumentsBad},
		"no blob":              {make([]byte, 256), ep11.AttrClass, ep11.CodeIBMBlobError},
		"another card's key":   {newBench2(t), ep11.AttrClass, ep11.CodeIBMWKIDMismatch},
		"a changed public key": {flipped(pair.GetPubKeyBytes(), 80), ep11.AttrClass, ep11.CodeIBMBlobError},
	} {
		_, err := b.get(test.object, test.id)
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// octets is a DER OCTET STRING of fewer than 128 bytes.
func octets(value []byte) string { return "\x04" + string(rune(len(value))) + string(value) }

// A new public key comes with its point.
func TestNewKeyTellsItsPoint(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, curve := range testCurves {
		public := curve.pair(t, direct(b.card)).GetPubKey()
		spki, size := public.GetAttributes()[ep11.AttrPublicKeyInfo].GetAttributeB(), 65
		if curve.params == ep11.CurveEd25519 {
			size = 32
		}
		if got, want := public.GetAttributes()[ep11.AttrECPoint].GetAttributeB(), octets(spki[len(spki)-size:]); string(got) != want {
			t.Errorf("%s: %x, want %x", curve.name, got, want)
		}
	}
	if rsa := b.rsaPair(1024, 65537, nil, nil).GetPubKey().GetAttributes(); rsa[ep11.AttrECPoint] != nil {
		t.Errorf("RSA: %v", rsa[ep11.AttrECPoint])
	}
}

// Java clients extend the sign of ids from 0x80000000 on. Of an id the low 32 bits count, in each call.
func TestLongIDs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	long := func(id uint64) uint64 { return id | 0xffffffff<<32 }
	info, err := b.GetMechanismInfo(t.Context(), &pb.GetMechanismInfoRequest{Mech: long(ep11.MechIBMBTCDerive)})
	if err != nil || info.GetMechInfo().GetFlags()&ep11.CanDerive == 0 {
		t.Errorf("GetMechanismInfo: %v, %v", info, err)
	}
	secret, point := testCurves[0].outside(t)
	of := ecImport().but(template{
		ep11.AttrKeyType: nil, long(ep11.AttrKeyType): ep11.KeyTypeEC,
		ep11.AttrExtractable: nil, long(ep11.AttrExtractable): false, long(ep11.AttrIBMUseAsData): true,
	})
	brought, err := b.bring(pkcs8(ep11.CurveEd25519, secret, point), of)
	if err != nil {
		t.Fatal(err)
	}
	key := brought.GetUnwrappedBytes()
	if got := binary.BigEndian.Uint64(key[48:]); got != 0x184 {
		t.Errorf("UnwrapKey: attributes 0x%x, want 0x184", got)
	}
	if _, err := b.sign(mech(long(ep11.MechIBMEd25519SHA512)), key, []byte("data")); err != nil {
		t.Errorf("SignSingle: %v", err)
	}
	begun, err := b.SignInit(t.Context(), &pb.SignInitRequest{Mech: mech(long(ep11.MechIBMEd25519SHA512)), PrivKeyBytes: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Sign(t.Context(), &pb.SignRequest{State: begun.GetState(), Data: []byte("data")}); err != nil {
		t.Errorf("Sign: %v", err)
	}
	set, err := b.SetAttributeValue(t.Context(), &pb.SetAttributeValueRequest{
		Object: key, Attributes: template{long(ep11.AttrIBMUseAsData): false}.attributes(t),
	})
	if got := binary.BigEndian.Uint64(set.GetObject()[48:]); err != nil || got != 0x104 {
		t.Errorf("SetAttributeValue: attributes 0x%x, want 0x104: %v", got, err)
	}
	rsaKey := b.rsaPair(2048, 65537, nil, nil)
	padded := pss(ep11.MechRSAPKCSPSS, long(ep11.MechIBMSHA3T256), pb.RSAPSSParm_CkgIbmMgf1Sha3_256, 32)
	if _, err := b.sign(padded, rsaKey.GetPrivKeyBytes(), make([]byte, 32)); err != nil {
		t.Errorf("PSS with a long id of its hash: %v", err)
	}
}

func TestSetAttributeValue(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pair := testCurves[1].pair(t, direct(b.card))
	fixed := b.aes(32, all().but(template{ep11.AttrModifiable: false}))
	kept := b.aes(32, all().but(template{ep11.AttrExtractable: false}))
	set := func(object []byte, changes template) ([]byte, error) {
		r, err := b.SetAttributeValue(t.Context(), &pb.SetAttributeValueRequest{Object: object, Attributes: changes.attributes(t)})
		return r.GetObject(), err
	}
	pad := withIV(ep11.MechAESCBCPad, zeroIV)
	closed, err := set(b.kek, template{ep11.AttrExtractable: false, ep11.AttrEncrypt: false})
	if err != nil || len(closed) != len(b.kek) {
		t.Fatalf("%d bytes, want %d: %v", len(closed), len(b.kek), err)
	}
	if was, is := binary.BigEndian.Uint64(b.kek[48:]), binary.BigEndian.Uint64(closed[48:]); is != was&^(ep11.BlobExtractable|ep11.BlobEncrypt) {
		t.Errorf("attributes 0x%x, they were 0x%x", is, was)
	}
	_, err = b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: pad, KeyBytes: closed, KeKBytes: b.kek})
	wantCode(t, err, ep11.CodeKeyUnextractable)
	_, err = b.EncryptSingle(t.Context(), &pb.EncryptSingleRequest{Mech: pad, KeyBytes: closed})
	wantCode(t, err, ep11.CodeKeyFunctionNotPermitted)
	if got := b.decrypt(pad, closed, b.encrypt(pad, b.kek, []byte("the same key"))); string(got) != "the same key" {
		t.Errorf("%q", got)
	}
	mute, err := set(pair.GetPubKeyBytes(), template{ep11.AttrVerify: "\x00"})
	if err != nil || !bytes.Equal(mute[:88], pair.GetPubKeyBytes()[:88]) {
		t.Errorf("public key: %v", err)
	}
	wantCode(t, b.verify(mech(ep11.MechECDSA), mute, make([]byte, 32), nil), ep11.CodeKeyFunctionNotPermitted)
	for name, test := range map[string]struct {
		object  []byte
		changes template
		want    ep11.Code
	}{
		"extractable again":     {kept, template{ep11.AttrExtractable: true}, ep11.CodeAttributeReadOnly},
		"trusted":               {b.kek, template{ep11.AttrTrusted: true}, ep11.CodeAttributeReadOnly},
		"bound":                 {b.kek, template{ep11.AttrIBMAttrBound: true}, ep11.CodeAttributeReadOnly},
		"bound no more":         {b.aes(32, all().but(template{ep11.AttrIBMAttrBound: true})), template{ep11.AttrIBMAttrBound: false}, ep11.CodeAttributeReadOnly},
		"local":                 {b.kek, template{ep11.AttrLocal: false}, ep11.CodeAttributeReadOnly},
		"length":                {b.kek, template{ep11.AttrValueLen: 16}, ep11.CodeAttributeReadOnly},
		"not modifiable":        {fixed, template{ep11.AttrEncrypt: false}, ep11.CodeActionProhibited},
		"modifiable again":      {fixed, template{ep11.AttrModifiable: true}, ep11.CodeActionProhibited},
		"unknown":               {b.kek, template{0xdeadbeef: true}, ep11.CodeAttributeTypeInvalid},
		"an integer for a flag": {b.kek, template{ep11.AttrEncrypt: 1}, ep11.CodeAttributeValueInvalid},
		"no value":              {b.kek, template{ep11.AttrEncrypt: nil}, ep11.CodeAttributeValueInvalid},
		"no object":             {nil, template{ep11.AttrEncrypt: true}, ep11.CodeArgumentsBad},
		"no blob":               {make([]byte, 300), template{ep11.AttrEncrypt: true}, ep11.CodeIBMBlobError},
	} {
		_, err := set(test.object, test.changes)
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	less := b.aes(32, all().but(template{ep11.AttrModifiable: false, ep11.AttrIBMRestrictable: true}))
	if less, err = set(less, template{ep11.AttrEncrypt: false}); err != nil {
		t.Errorf("taking from a restrictable key: %v", err)
	}
	_, err = set(less, template{ep11.AttrEncrypt: true})
	wantCode(t, err, ep11.CodeActionProhibited)
	if same, err := set(fixed, template{ep11.AttrEncrypt: true}); err != nil || len(same) != len(fixed) {
		t.Errorf("what is not changed of a fixed key: %v", err)
	}
}

// Keys are sent as KeyBlob messages.
func TestSecondGenerationOfEachCall(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx, pad := t.Context(), withIV(ep11.MechAESCBCPad, zeroIV)
	seed := b.bringSecret(ep11.KeyTypeGenericSecret, make([]byte, 32))
	encrypted, err := b.EncryptSingle(ctx, inV2(&pb.EncryptSingleRequest{Mech: pad, KeyBytes: b.kek, Plain: []byte("data")}))
	if err != nil {
		t.Fatal(err)
	}
	errs := map[string]error{}
	_, errs["DecryptSingle"] = b.DecryptSingle(ctx, inV2(&pb.DecryptSingleRequest{Mech: pad, KeyBytes: b.kek, Ciphered: encrypted.GetCiphered()}))
	_, errs["EncryptInit"] = b.EncryptInit(ctx, inV2(&pb.EncryptInitRequest{Mech: pad, KeyBytes: b.kek}))
	_, errs["DecryptInit"] = b.DecryptInit(ctx, inV2(&pb.DecryptInitRequest{Mech: pad, KeyBytes: b.kek}))
	wrapped, err := b.WrapKey(ctx, inV2(&pb.WrapKeyRequest{Mech: pad, KeyBytes: seed, KeKBytes: b.kek}))
	if err != nil {
		t.Fatal(err)
	}
	_, errs["UnwrapKey"] = b.UnwrapKey(ctx, inV2(&pb.UnwrapKeyRequest{
		Mech: pad, KeKBytes: b.kek, Wrapped: wrapped.GetWrapped(),
		Template: template{ep11.AttrClass: ep11.ClassSecretKey, ep11.AttrKeyType: ep11.KeyTypeGenericSecret}.attributes(t),
	}))
	_, errs["DeriveKey"] = b.DeriveKey(ctx, inV2(&pb.DeriveKeyRequest{
		Mech: btc(pb.BTCDeriveParm_CkBIP0032MASTERK, 0, nil), BaseKeyBytes: seed, Template: derivation("").attributes(t),
	}))
	signed, err := b.SignSingle(ctx, inV2(&pb.SignSingleRequest{Mech: mech(ep11.MechSHA256HMAC), PrivKeyBytes: seed, Data: []byte("data")}))
	if err != nil {
		t.Fatal(err)
	}
	_, errs["VerifySingle"] = b.VerifySingle(ctx, inV2(&pb.VerifySingleRequest{
		Mech: mech(ep11.MechSHA256HMAC), PubKeyBytes: seed, Data: []byte("data"), Signature: signed.GetSignature(),
	}))
	for call, err := range errs {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	_, err = b.EncryptSingle(ctx, &pb.EncryptSingleRequest{Mech: pad, KeyBytes: b.kek, Key: keyBlob(seed)})
	wantCode(t, err, ep11.CodeArgumentsBad) // two different keys
}
