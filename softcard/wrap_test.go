package softcard_test

import (
	"bytes"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

func TestEachWrongWrappingHasItsCode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pad := withIV(ep11.MechAESCBCPad, zeroIV)
	kept := b.aes(32, all().but(template{ep11.AttrExtractable: false}))
	pair := testCurves[2].pair(t, direct(b.card)) // not extractable
	open := b.ecPair(testCurves[2], private().but(template{ep11.AttrExtractable: true}))
	rsaPair := b.rsaPair(1024, 65537, nil, nil)
	for _, test := range []struct {
		name     string
		m        *pb.Mechanism
		key, kek []byte
		want     ep11.Code
	}{
		{"not extractable", pad, kept, b.kek, ep11.CodeKeyUnextractable},
		{"an EC key that is not extractable", pad, pair.GetPrivKeyBytes(), b.kek, ep11.CodeKeyUnextractable},
		{"a public key", pad, pair.GetPubKeyBytes(), b.kek, ep11.CodeKeyNotWrappable},
		{"bound to its attributes", pad, b.aes(32, all().but(template{ep11.AttrIBMAttrBound: true})), b.kek, ep11.CodeKeyNotWrappable},
		{"that wants a trusted key", pad, b.aes(32, all().but(template{ep11.AttrWrapWithTrusted: true})), b.kek, ep11.CodeKeyNotWrappable},
		{"an EC key under RSA", mech(ep11.MechRSAPKCS), open.GetPrivKeyBytes(), rsaPair.GetPubKeyBytes(), ep11.CodeKeyNotWrappable},
		{"too long for RSA", mech(ep11.MechRSAPKCS), b.bringSecret(ep11.KeyTypeGenericSecret, make([]byte, 118)), rsaPair.GetPubKeyBytes(), ep11.CodeKeySizeRange},
		{"under a key that may not", pad, b.kek, b.aes(32, template{ep11.AttrEncrypt: true}), ep11.CodeKeyFunctionNotPermitted},
		{"under an EC key", pad, b.kek, open.GetPrivKeyBytes(), ep11.CodeKeyFunctionNotPermitted},
		{"under a generic secret", pad, b.kek, b.bringSecret(ep11.KeyTypeGenericSecret, make([]byte, 32)), ep11.CodeKeyFunctionNotPermitted},
		{"no key", pad, nil, b.kek, ep11.CodeArgumentsBad},
		{"under no key", pad, b.kek, nil, ep11.CodeArgumentsBad},
		{"no vector", mech(ep11.MechAESCBCPad), b.kek, b.kek, ep11.CodeMechanismParamInvalid},
		{"a mechanism that does not wrap", mech(ep11.MechSHA256), b.kek, b.kek, ep11.CodeMechanismInvalid},
		{"import only", mech(ep11.MechIBMTransportKey), b.kek, b.kek, ep11.CodeMechanismInvalid},
		{"another card's key", pad, newBench2(t), b.kek, ep11.CodeIBMWKIDMismatch},
		{"under another card's key", pad, b.kek, newBench2(t), ep11.CodeIBMWKIDMismatch},
	} {
		_, err := b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: test.m, KeyBytes: test.key, KeKBytes: test.kek})
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v (%v)", test.name, got, test.want, err)
		}
	}
	trusted := b.aes(32, all().but(template{ep11.AttrTrusted: true}))
	wants := b.aes(16, all().but(template{ep11.AttrWrapWithTrusted: true}))
	if _, err := b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: pad, KeyBytes: wants, KeKBytes: trusted}); err != nil {
		t.Errorf("under a trusted key: %v", err)
	}
}

// IBM's example, also with OAEP.
func TestSecretKeysUnderRSA(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pair := b.rsaPair(2048, "\x11", nil, nil)
	made, err := b.generate(ep11.MechAESKeyGen, all().but(template{ep11.AttrValueLen: 16}))
	if err != nil {
		t.Fatal(err)
	}
	wanted := all().but(template{ep11.AttrClass: ep11.ClassSecretKey, ep11.AttrKeyType: ep11.KeyTypeAES, ep11.AttrValueLen: 16})
	for name, m := range map[string]*pb.Mechanism{
		"RSA_PKCS": mech(ep11.MechRSAPKCS), "OAEP": oaep(ep11.MechSHA256, pb.RSAOAEPParm_CkgMgf1Sha256, ""),
	} {
		wrapped, err := b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: m, KeyBytes: made.GetKeyBytes(), KeKBytes: pair.GetPubKeyBytes()})
		if err != nil {
			t.Fatal(err)
		}
		request := &pb.UnwrapKeyRequest{Mech: m, KeKBytes: pair.GetPrivKeyBytes(), Wrapped: wrapped.GetWrapped(), Template: wanted.attributes(t)}
		back, err := b.UnwrapKey(t.Context(), request)
		if err != nil || !bytes.Equal(back.GetCheckSum(), made.GetCheckSum()) {
			t.Errorf("%s: check sum %x, want %x: %v", name, back.GetCheckSum(), made.GetCheckSum(), err)
		}
		request.Wrapped = flipped(wrapped.GetWrapped(), 100)
		_, err = b.UnwrapKey(t.Context(), request)
		wantCode(t, err, ep11.CodeWrappedKeyInvalid)
		request.Wrapped = wrapped.GetWrapped()[1:]
		_, err = b.UnwrapKey(t.Context(), request)
		wantCode(t, err, ep11.CodeWrappedKeyLenRange)
	}
}
