package softcard_test

import (
	"bytes"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
)

// A SubjectPublicKeyInfo as in a certificate, without the card's MAC, verifies. Encryption
// and wrapping refuse it.
func TestABareKeyVerifies(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := cardtest.Client(t, b.card)
	parts := [][]byte{bytes.Repeat([]byte{7}, 32)}
	for _, curve := range testCurves {
		pair := curve.pair(t, over(c))
		bare := pair.GetPubKeyBytes()[:curve.spki]
		signature, err := signSingle(t.Context(), c, mech(curve.mech), pair.GetPrivKeyBytes(), parts)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Single", "Init-op"} {
			if err := flows[name].verify(t.Context(), c, mech(curve.mech), bare, parts, signature); err != nil {
				t.Errorf("%s, %s: %v", curve.name, name, err)
			}
			wantCode(t, flows[name].verify(t.Context(), c, mech(curve.mech), bare, parts, flipped(signature, 40)), ep11.CodeSignatureInvalid)
		}
		wantCode(t, verifySingle(t.Context(), c, mech(ep11.MechSHA256RSAPKCS), bare, parts, signature), ep11.CodeKeyTypeInconsistent)
		if curve.mech == ep11.MechECDSA {
			wantCode(t, verifySingle(t.Context(), c, mech(curve.mech), flipped(bare, -1), parts, signature), ep11.CodeIBMBlobError)
		}
	}
	pair := b.rsaPair(2048, 65537, nil, nil)
	bare := pair.GetPubKey().GetAttributes()[ep11.AttrPublicKeyInfo].GetAttributeB()
	signature, err := signSingle(t.Context(), c, mech(ep11.MechSHA256RSAPKCS), pair.GetPrivKeyBytes(), parts)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyParts(t.Context(), c, mech(ep11.MechSHA256RSAPKCS), bare, parts, signature); err != nil {
		t.Errorf("RSA: %v", err)
	}
	_, err = c.EncryptSingle(t.Context(), &pb.EncryptSingleRequest{Mech: mech(ep11.MechRSAPKCS), KeyBytes: bare, Plain: []byte("data")})
	wantCode(t, err, ep11.CodeIBMBlobError)
	_, err = c.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: mech(ep11.MechRSAPKCS), KeKBytes: bare, KeyBytes: b.aes(32, all())})
	wantCode(t, err, ep11.CodeIBMBlobError)
}
