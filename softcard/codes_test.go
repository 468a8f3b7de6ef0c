package softcard_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
)

// flipped flips the lowest bit of the byte at offset, which counts from the end if
// negative.
func flipped(blob []byte, offset int) []byte {
	changed := bytes.Clone(blob)
	changed[(offset+len(blob))%len(blob)] ^= 1
	return changed
}

func TestEachWrongKeyHasItsCode(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	c := cardtest.Client(t, card)
	for _, curve := range testCurves {
		t.Run(curve.name, func(t *testing.T) {
			t.Parallel()
			pair := curve.pair(t, over(c))
			priv, pub := pair.GetPrivKeyBytes(), pair.GetPubKeyBytes()
			foreign := curve.pair(t, direct(cardtest.New(t, 2)))
			unsigning, err := over(c)(pairRequest(t, curve.public(), template{ep11.AttrExtractable: false}))
			if err != nil {
				t.Fatal(err)
			}
			unverifying, err := over(c)(pairRequest(t, template{ep11.AttrECParams: curve.params}, private()))
			if err != nil {
				t.Fatal(err)
			}
			other := ep11.MechECDSA
			if curve.mech == other {
				other = ep11.MechIBMEd25519SHA512
			}
			data := sha256.Sum256([]byte("data"))
			sign := func(blob []byte, m *pb.Mechanism) error {
				_, err := c.SignSingle(t.Context(), &pb.SignSingleRequest{PrivKeyBytes: blob, Mech: m, Data: data[:]})
				_, begun := c.SignInit(t.Context(), &pb.SignInitRequest{PrivKeyBytes: blob, Mech: m})
				if single, init := codeOf(t, err), codeOf(t, begun); single != init {
					t.Errorf("SignSingle says %v, SignInit %v", single, init)
				}
				return err
			}
			for _, test := range []struct {
				name string
				blob []byte
				mech uint64
				want ep11.Code
			}{
				{"wrong wrapping key", foreign.GetPrivKeyBytes(), curve.mech, ep11.CodeIBMWKIDMismatch},
				{"bit flipped in the session id", flipped(priv, 3), curve.mech, ep11.CodeIBMBlobError},
				{"bit flipped in the wrapping key's id", flipped(priv, 40), curve.mech, ep11.CodeIBMWKIDMismatch},
				{"bit flipped in the attributes", flipped(priv, 55), curve.mech, ep11.CodeIBMBlobError},
				{"bit flipped in the mode", flipped(priv, 63), curve.mech, ep11.CodeIBMBlobError},
				{"bit flipped in the magic number", flipped(priv, 65), curve.mech, ep11.CodeIBMBlobError},
				{"bit flipped in the IV", flipped(priv, 70), curve.mech, ep11.CodeIBMBlobError},
				{"bit flipped in the ciphertext", flipped(priv, 200), curve.mech, ep11.CodeIBMBlobError},
				{"bit flipped in the MAC", flipped(priv, -1), curve.mech, ep11.CodeIBMBlobError},
				{"blob cut by a block", priv[:len(priv)-16], curve.mech, ep11.CodeIBMBlobError},
				{"blob cut by a byte", priv[:len(priv)-1], curve.mech, ep11.CodeIBMBlobError},
				{"one byte", priv[:1], curve.mech, ep11.CodeIBMBlobError},
				{"public blob as private key", pub, curve.mech, ep11.CodeKeyTypeInconsistent},
				{"missing SIGN flag", unsigning.GetPrivKeyBytes(), curve.mech, ep11.CodeKeyFunctionNotPermitted},
				{"mechanism of another curve", priv, other, ep11.CodeKeyTypeInconsistent},
				{"unknown mechanism", priv, 0x12345678, ep11.CodeMechanismInvalid},
				{"mechanism without ability", priv, ep11.MechIBMTransportKey, ep11.CodeMechanismInvalid},
				{"RSA mechanism", priv, ep11.MechSHA256RSAPKCS, ep11.CodeKeyTypeInconsistent},
				{"HMAC mechanism", priv, ep11.MechSHA256HMAC, ep11.CodeKeyTypeInconsistent},
				{"mechanism that does not sign", priv, ep11.MechECKeyPairGen, ep11.CodeMechanismInvalid},
				{"no key", nil, curve.mech, ep11.CodeArgumentsBad},
			} {
				if got := codeOf(t, sign(test.blob, mech(test.mech))); got != test.want {
					t.Errorf("sign, %s: %v, want %v", test.name, got, test.want)
				}
			}
			wantCode(t, sign(priv, nil), ep11.CodeMechanismInvalid)
			wantCode(t, sign(priv, &pb.Mechanism{
				Mechanism: curve.mech, Parameter: &pb.Mechanism_ParameterB{ParameterB: []byte{1}},
			}), ep11.CodeMechanismParamInvalid)
			wantCode(t, sign(priv, &pb.Mechanism{
				Mechanism: curve.mech, Parameter: &pb.Mechanism_ECSGParameter{ECSGParameter: &pb.ECSGParm{}},
			}), ep11.CodeMechanismParamInvalid)

			signature, err := signSingle(t.Context(), c, mech(curve.mech), priv, [][]byte{data[:]})
			if err != nil {
				t.Fatal(err)
			}
			for _, test := range []struct {
				name string
				blob []byte
				mech uint64
				want ep11.Code
			}{
				{"wrong wrapping key", foreign.GetPubKeyBytes(), curve.mech, ep11.CodeIBMWKIDMismatch},
				{"bit flipped in the SPKI's point", flipped(pub, curve.spki-1), curve.mech, ep11.CodeIBMBlobError},
				{"bit flipped in the SPKI's header", flipped(pub, 5), curve.mech, ep11.CodeIBMBlobError},
				{"bit flipped in the wrapping key's id", flipped(pub, curve.spki+2), curve.mech, ep11.CodeIBMWKIDMismatch},
				{"bit flipped in the salt", flipped(pub, curve.spki+54), curve.mech, ep11.CodeIBMBlobError},
				{"bit flipped in the attributes", flipped(pub, curve.spki+80), curve.mech, ep11.CodeIBMBlobError},
				{"bit flipped in the MAC", flipped(pub, -1), curve.mech, ep11.CodeIBMBlobError},
				{"bare SPKI, cut", pub[:curve.spki-1], curve.mech, ep11.CodeIBMBlobError},
				{"byte behind the MAC", append(slices.Clone(pub), 0), curve.mech, ep11.CodeIBMBlobError},
				{"private blob as public key", priv, curve.mech, ep11.CodeKeyTypeInconsistent},
				{"missing VERIFY flag", unverifying.GetPubKeyBytes(), curve.mech, ep11.CodeKeyFunctionNotPermitted},
				{"mechanism of another curve", pub, other, ep11.CodeKeyTypeInconsistent},
				{"unknown mechanism", pub, 0x12345678, ep11.CodeMechanismInvalid},
				{"no key", nil, curve.mech, ep11.CodeArgumentsBad},
			} {
				err := verifySingle(t.Context(), c, mech(test.mech), test.blob, [][]byte{data[:]}, signature)
				if got := codeOf(t, err); got != test.want {
					t.Errorf("verify, %s: %v, want %v", test.name, got, test.want)
				}
				_, begun := c.VerifyInit(t.Context(), &pb.VerifyInitRequest{PubKeyBytes: test.blob, Mech: mech(test.mech)})
				if got := codeOf(t, begun); got != test.want {
					t.Errorf("VerifyInit, %s: %v, want %v", test.name, got, test.want)
				}
			}
		})
	}
}

func TestTwoDifferentKeysInOneRequest(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	curve := testCurves[0]
	one, two := curve.pair(t, over(c)), curve.pair(t, over(c))
	_, err := c.SignSingle(t.Context(), &pb.SignSingleRequest{
		Mech: mech(curve.mech), PrivKeyBytes: one.GetPrivKeyBytes(),
		PrivKey: keyBlob(two.GetPrivKeyBytes()),
	})
	wantCode(t, err, ep11.CodeArgumentsBad)
}

func TestEachWrongSignatureHasItsCode(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	for _, curve := range testCurves {
		pair := curve.pair(t, over(c))
		parts := [][]byte{bytes.Repeat([]byte{7}, 32)}
		good, err := signSingle(t.Context(), c, mech(curve.mech), pair.GetPrivKeyBytes(), parts)
		if err != nil {
			t.Fatal(err)
		}
		first := bytes.Clone(good)
		first[0] ^= 0xff // IBM's example damages byte 0
		for _, test := range []struct {
			name      string
			signature []byte
			want      ep11.Code
		}{
			{"byte 0 changed", first, ep11.CodeSignatureInvalid},
			{"last byte changed", flipped(good, -1), ep11.CodeSignatureInvalid},
			{"zeros", make([]byte, 64), ep11.CodeSignatureInvalid},
			{"r and s over the order", bytes.Repeat([]byte{0xff}, 64), ep11.CodeSignatureInvalid},
			{"none", nil, ep11.CodeSignatureLenRange},
			{"a byte short", good[:63], ep11.CodeSignatureLenRange},
			{"a byte long", append(bytes.Clone(good), 0), ep11.CodeSignatureLenRange},
		} {
			for name, flow := range wholeFlows {
				err := flow.verify(t.Context(), c, mech(curve.mech), pair.GetPubKeyBytes(), parts, test.signature)
				if got := codeOf(t, err); got != test.want {
					t.Errorf("%s, %s, %s: %v, want %v", curve.name, name, test.name, got, test.want)
				}
			}
		}
	}
}

func TestECDSAWithoutDigestIsRefused(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	for _, curve := range testCurves {
		pair := curve.pair(t, over(c))
		for name, flow := range flows {
			_, err := flow.sign(t.Context(), c, mech(curve.mech), pair.GetPrivKeyBytes(), nil)
			if curve.mech == ep11.MechECDSA {
				wantCode(t, err, ep11.CodeDataLenRange)
			} else if err != nil {
				t.Errorf("%s, %s: the empty message of Ed25519: %v", curve.name, name, err)
			}
		}
	}
}

func TestTamperedStateIsRefused(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	foreign := cardtest.Client(t, cardtest.New(t, 2))
	curve := testCurves[2]
	pair := curve.pair(t, over(c))
	begun, err := c.SignInit(t.Context(), &pb.SignInitRequest{Mech: mech(curve.mech), PrivKeyBytes: pair.GetPrivKeyBytes()})
	if err != nil {
		t.Fatal(err)
	}
	state := begun.GetState()
	wrong := map[string][]byte{
		"none": nil, "one byte": {1}, "12 bytes": make([]byte, 12), "9000 bytes": make([]byte, 9000),
		"cut": state[:len(state)-1], "long": append(bytes.Clone(state), 0),
		"nonce flipped": flipped(state, 0), "middle flipped": flipped(state, 100), "tag flipped": flipped(state, -1),
	}
	for name, state := range wrong {
		calls := map[string]error{}
		_, calls["Sign"] = c.Sign(t.Context(), &pb.SignRequest{State: state, Data: []byte("data")})
		_, calls["SignUpdate"] = c.SignUpdate(t.Context(), &pb.SignUpdateRequest{State: state, Data: []byte("data")})
		_, calls["SignFinal"] = c.SignFinal(t.Context(), &pb.SignFinalRequest{State: state})
		_, calls["Verify"] = c.Verify(t.Context(), &pb.VerifyRequest{State: state, Data: []byte("data")})
		_, calls["VerifyUpdate"] = c.VerifyUpdate(t.Context(), &pb.VerifyUpdateRequest{State: state, Data: []byte("data")})
		_, calls["VerifyFinal"] = c.VerifyFinal(t.Context(), &pb.VerifyFinalRequest{State: state})
		for call, err := range calls {
			if got := codeOf(t, err); got != ep11.CodeSavedStateInvalid {
				t.Errorf("%s, %s: %v", name, call, got)
			}
		}
	}
	_, err = c.Verify(t.Context(), &pb.VerifyRequest{State: state, Data: []byte("data"), Signature: make([]byte, 64)})
	wantCode(t, err, ep11.CodeSavedStateInvalid)
	_, err = foreign.Sign(t.Context(), &pb.SignRequest{State: state, Data: []byte("data")})
	wantCode(t, err, ep11.CodeSavedStateInvalid)
}

func TestEachWrongTemplateHasItsCode(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	curve := testCurves[2]
	with := func(base template, id uint64, value any) template {
		base[id] = value
		return base
	}
	for _, test := range []struct {
		name            string
		public, private template
		want            ep11.Code
	}{
		{"no curve", template{ep11.AttrVerify: true}, private(), ep11.CodeTemplateIncomplete},
		{"no templates", nil, nil, ep11.CodeTemplateIncomplete},
		{"curve in the private template only", template{}, with(private(), ep11.AttrECParams, curve.params), ep11.CodeTemplateIncomplete},
		{"empty curve", template{ep11.AttrECParams: ""}, private(), ep11.CodeTemplateIncomplete},
		{"P-192", template{ep11.AttrECParams: "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x01"}, private(), ep11.CodeCurveNotSupported},
		{"BLS12-381", template{ep11.AttrECParams: "\x06\x0c\x2b\x06\x01\x04\x01\x02\x82\x0b\x87\x67\x03\x02"}, private(), ep11.CodeCurveNotSupported},
		{"a name of no curve", template{ep11.AttrECParams: "P-257"}, private(), ep11.CodeCurveNotSupported},
		{"two curves", curve.public(), with(private(), ep11.AttrECParams, ep11.CurveSecp256k1), ep11.CodeTemplateInconsistent},
		{"public class for the private key", curve.public(), with(private(), ep11.AttrClass, ep11.ClassPublicKey), ep11.CodeTemplateInconsistent},
		{"private class for the public key", with(curve.public(), ep11.AttrClass, ep11.ClassPrivateKey), private(), ep11.CodeTemplateInconsistent},
		{"RSA key type", with(curve.public(), ep11.AttrKeyType, 0), private(), ep11.CodeTemplateInconsistent},
		{"public key that signs", with(curve.public(), ep11.AttrSign, true), private(), ep11.CodeTemplateInconsistent},
		{"private key that verifies", curve.public(), with(private(), ep11.AttrVerify, true), ep11.CodeTemplateInconsistent},
		{"private key that wraps", curve.public(), with(private(), ep11.AttrWrap, true), ep11.CodeTemplateInconsistent},
		{"private key not sensitive", curve.public(), with(private(), ep11.AttrSensitive, false), ep11.CodeTemplateInconsistent},
		{"read-only attribute", curve.public(), with(private(), ep11.AttrLocal, true), ep11.CodeAttributeReadOnly},
		{"attribute of another kind of key", curve.public(), with(private(), ep11.AttrValueLen, 32), ep11.CodeAttributeTypeInvalid},
		{"attribute twice, once with a long id", curve.public(), with(private(), 1<<32|ep11.AttrSign, true), ep11.CodeTemplateInconsistent},
		{"integer for a boolean", curve.public(), with(private(), ep11.AttrSign, 1), ep11.CodeAttributeValueInvalid},
		{"two bytes for a boolean", curve.public(), with(private(), ep11.AttrSign, "\x00\x01"), ep11.CodeAttributeValueInvalid},
		{"boolean for a curve", with(curve.public(), ep11.AttrECParams, true), private(), ep11.CodeAttributeValueInvalid},
		{"boolean for a class", with(curve.public(), ep11.AttrClass, true), private(), ep11.CodeAttributeValueInvalid},
		{"attribute without value", with(curve.public(), ep11.AttrVerify, nil), private(), ep11.CodeAttributeValueInvalid},
	} {
		_, err := over(c)(pairRequest(t, test.public, test.private))
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v (%v)", test.name, got, test.want, err)
		}
	}
	for _, test := range []struct {
		name string
		mech *pb.Mechanism
		want ep11.Code
	}{
		{"no mechanism", nil, ep11.CodeMechanismInvalid},
		{"RSA key pair of EC templates", mech(ep11.MechRSAPKCSKeyPairGen), ep11.CodeAttributeTypeInvalid},
		{"ML-DSA key pair", mech(0x80010035), ep11.CodeMechanismInvalid},
		{"mechanism that signs", mech(ep11.MechECDSA), ep11.CodeMechanismInvalid},
		{
			"parameter",
			&pb.Mechanism{Mechanism: ep11.MechECKeyPairGen, Parameter: &pb.Mechanism_ParameterB{ParameterB: []byte(curve.params)}},
			ep11.CodeMechanismParamInvalid,
		},
	} {
		request := pairRequest(t, curve.public(), private())
		request.Mech = test.mech
		_, err := over(c)(request)
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestTemplatesAsClientsSendThem(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	for _, curve := range testCurves {
		for name, templates := range map[string][2]template{
			"IBM's example": {
				{ep11.AttrECParams: curve.params, ep11.AttrVerify: true, ep11.AttrExtractable: false},
				{ep11.AttrSign: true, ep11.AttrExtractable: false},
			},
			"class, key type and label": {
				{
					ep11.AttrECParams: curve.params, ep11.AttrVerify: true, ep11.AttrClass: ep11.ClassPublicKey,
					ep11.AttrKeyType: ep11.KeyTypeEC, ep11.AttrLabel: "baker",
				},
				{
					ep11.AttrSign: true, ep11.AttrClass: ep11.ClassPrivateKey, ep11.AttrKeyType: ep11.KeyTypeEC,
					ep11.AttrLabel: "baker", ep11.AttrECParams: curve.params, ep11.AttrToken: true,
				},
			},
			"all that keys of the class may be for": {
				{
					ep11.AttrECParams: curve.params, ep11.AttrVerify: true, ep11.AttrEncrypt: true, ep11.AttrWrap: true,
					ep11.AttrDerive: true, ep11.AttrTrusted: true, ep11.AttrCopyable: true,
				},
				{ep11.AttrSign: true, ep11.AttrDecrypt: true, ep11.AttrUnwrap: true, ep11.AttrDerive: true, ep11.AttrCopyable: false},
			},
			"derivation, booleans as bytes": {
				{ep11.AttrECParams: curve.params, ep11.AttrVerify: "\x01", ep11.AttrDerive: true, ep11.AttrIBMUseAsData: true},
				{ep11.AttrSign: "\x01", ep11.AttrExtractable: "\x00", ep11.AttrDerive: true, ep11.AttrIBMUseAsData: true},
			},
		} {
			pair, err := over(c)(pairRequest(t, templates[0], templates[1]))
			if err != nil {
				t.Errorf("%s, %s: %v", curve.name, name, err)
				continue
			}
			if _, err := signSingle(t.Context(), c, mech(curve.mech), pair.GetPrivKeyBytes(), [][]byte{make([]byte, 32)}); err != nil {
				t.Errorf("%s, %s: %v", curve.name, name, err)
			}
		}
	}
}

func TestACurveByName(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	for name, params := range map[string]string{"P-224": ep11.CurveP224, "P-256": ep11.CurveP256, "P-384": ep11.CurveP384, "P-521": ep11.CurveP521} {
		pair, err := over(c)(pairRequest(t, template{ep11.AttrECParams: name, ep11.AttrVerify: true}, private()))
		if err != nil {
			t.Fatal(err)
		}
		if got := pair.GetPubKey().GetAttributes()[ep11.AttrECParams].GetAttributeB(); string(got) != params {
			t.Errorf("%s: CKA_EC_PARAMS %x, want the object identifier", name, got)
		}
	}
}
