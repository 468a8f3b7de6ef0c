package softcard_test

import (
	"bytes"
	"testing"

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
)

func TestEachWrongWrappingHasItsCode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pad := withIV(grep11.MechAESCBCPad, zeroIV)
	kept := b.aes(32, all().but(template{grep11.AttrExtractable: nil}))
	pair := testCurves[2].pair(t, direct(b.card)) // not extractable
	open := b.ecPair(testCurves[2], private().but(template{grep11.AttrExtractable: true}))
	rsaPair := b.rsaPair(1024, 65537, nil, nil)
	for _, test := range []struct {
		name     string
		m        *pb.Mechanism
		key, kek []byte
		want     grep11.Code
	}{
		{"not extractable", pad, kept, b.kek, grep11.CodeKeyUnextractable},
		{"an EC key that is not extractable", pad, pair.GetPrivKeyBytes(), b.kek, grep11.CodeKeyUnextractable},
		{"a public key", pad, pair.GetPubKeyBytes(), b.kek, grep11.CodeKeyNotWrappable},
		{"bound to its attributes", pad, b.aes(32, all().but(template{grep11.AttrIBMAttrBound: true})), b.kek, grep11.CodeKeyNotWrappable},
		{"that wants a trusted key", pad, b.aes(32, all().but(template{grep11.AttrWrapWithTrusted: true})), b.kek, grep11.CodeKeyNotWrappable},
		{"an EC key under RSA", mech(grep11.MechRSAPKCS), open.GetPrivKeyBytes(), rsaPair.GetPubKeyBytes(), grep11.CodeKeyNotWrappable},
		{"too long for RSA", mech(grep11.MechRSAPKCS), b.bringSecret(grep11.KeyTypeGenericSecret, make([]byte, 118)), rsaPair.GetPubKeyBytes(), grep11.CodeKeySizeRange},
		{"under a key that may not", pad, b.kek, b.aes(32, template{grep11.AttrEncrypt: true}), grep11.CodeKeyFunctionNotPermitted},
		{"under an EC key", pad, b.kek, open.GetPrivKeyBytes(), grep11.CodeKeyFunctionNotPermitted},
		{"under a generic secret", pad, b.kek, b.bringSecret(grep11.KeyTypeGenericSecret, make([]byte, 32)), grep11.CodeKeyTypeInconsistent},
		{"no key", pad, nil, b.kek, grep11.CodeArgumentsBad},
		{"under no key", pad, b.kek, nil, grep11.CodeArgumentsBad},
		{"no vector", mech(grep11.MechAESCBCPad), b.kek, b.kek, grep11.CodeMechanismParamInvalid},
		{"a mechanism that does not wrap", mech(grep11.MechSHA256), b.kek, b.kek, grep11.CodeMechanismInvalid},
		{"import only", mech(grep11.MechIBMTransportKey), b.kek, b.kek, grep11.CodeMechanismInvalid},
		{"another card's key", pad, newBench2(t), b.kek, grep11.CodeIBMWKIDMismatch},
		{"under another card's key", pad, b.kek, newBench2(t), grep11.CodeIBMWKIDMismatch},
	} {
		_, err := b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: test.m, KeyBytes: test.key, KeKBytes: test.kek})
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v (%v)", test.name, got, test.want, err)
		}
	}
	trusted := b.aes(32, all().but(template{grep11.AttrTrusted: true}))
	wants := b.aes(16, all().but(template{grep11.AttrWrapWithTrusted: true}))
	if _, err := b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: pad, KeyBytes: wants, KeKBytes: trusted}); err != nil {
		t.Errorf("under a trusted key: %v", err)
	}
}

// TestSecretKeysUnderRSA is IBM's example, with OAEP too.
func TestSecretKeysUnderRSA(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pair := b.rsaPair(2048, "\x11", nil, nil)
	made, err := b.generate(grep11.MechAESKeyGen, all().but(template{grep11.AttrValueLen: 16}))
	if err != nil {
		t.Fatal(err)
	}
	wanted := all().but(template{grep11.AttrClass: grep11.ClassSecretKey, grep11.AttrKeyType: grep11.KeyTypeAES, grep11.AttrValueLen: 16})
	for name, m := range map[string]*pb.Mechanism{
		"RSA_PKCS": mech(grep11.MechRSAPKCS), "OAEP": oaep(grep11.MechSHA256, pb.RSAOAEPParm_CkgMgf1Sha256, ""),
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
		wantCode(t, err, grep11.CodeWrappedKeyInvalid)
		request.Wrapped = wrapped.GetWrapped()[1:]
		_, err = b.UnwrapKey(t.Context(), request)
		wantCode(t, err, grep11.CodeWrappedKeyLenRange)
	}
}
