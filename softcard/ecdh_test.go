package softcard_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

func agreement(kdf pb.ECDH1DeriveParm_KeyDerivationFunction, shared string, point []byte) *pb.Mechanism {
	return &pb.Mechanism{Mechanism: ep11.MechECDH1Derive, Parameter: &pb.Mechanism_ECDH1DeriveParameter{
		ECDH1DeriveParameter: &pb.ECDH1DeriveParm{Kdf: kdf, SharedData: []byte(shared), PublicData: point},
	}}
}

// The other side's key is one that the card does not have.
func TestECDH(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	wanted := template{ep11.AttrClass: ep11.ClassSecretKey, ep11.AttrKeyType: ep11.KeyTypeGenericSecret, ep11.AttrExtractable: true, ep11.AttrValueLen: 32}
	for _, curve := range ecdsaCurves {
		pair := b.ecPair(curve, template{ep11.AttrDerive: true})
		point, shared := agreeOutside(t, curve, pair.GetPubKeyBytes()[curve.spki-65:curve.spki])
		h := sha256.New()
		h.Write(shared)
		h.Write([]byte("\x00\x00\x00\x01info"))
		for _, test := range []struct {
			name string
			m    *pb.Mechanism
			t    template
			want []byte
		}{
			{"a bare point", withIV(ep11.MechECDH1Derive, point), wanted, shared},
			{"no function", agreement(pb.ECDH1DeriveParm_CkdNull, "", point), wanted, shared},
			{"hybrid", agreement(pb.ECDH1DeriveParm_CkdIbmHybridNull, "", point), wanted, shared},
			{"AES-128", withIV(ep11.MechECDH1Derive, point), wanted.but(template{ep11.AttrKeyType: ep11.KeyTypeAES, ep11.AttrValueLen: 16}), shared[16:]},
			{"SHA-256", agreement(pb.ECDH1DeriveParm_CkdSha256Kdf, "info", point), wanted, h.Sum(nil)},
		} {
			made, err := b.derive(test.m, pair.GetPrivKeyBytes(), test.t)
			if err != nil {
				t.Errorf("%s, %s: %v", curve.name, test.name, err)
				continue
			}
			if got := b.take(made.GetNewKeyBytes()); !bytes.Equal(got, test.want) {
				t.Errorf("%s, %s: %x, want %x", curve.name, test.name, got, test.want)
			}
			if bits := binary.BigEndian.Uint32(made.GetCheckSum()[3:]); int(bits) != 8*len(test.want) {
				t.Errorf("%s, %s: check sum %x", curve.name, test.name, made.GetCheckSum())
			}
		}
		b.wrongAgreements(curve, pair.GetPrivKeyBytes(), point, wanted)
	}
}

func agreeOutside(tb testing.TB, curve testCurve, theirs []byte) (point, shared []byte) {
	tb.Helper()
	if curve.params == ep11.CurveSecp256k1 {
		mine, err := secp256k1.GeneratePrivateKey()
		if err != nil {
			tb.Fatal(err)
		}
		public, err := secp256k1.ParsePubKey(theirs)
		if err != nil {
			tb.Fatal(err)
		}
		return mine.PubKey().SerializeUncompressed(), secp256k1.GenerateSharedSecret(mine, public)
	}
	mine, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	public, err := ecdh.P256().NewPublicKey(theirs)
	if err != nil {
		tb.Fatal(err)
	}
	if shared, err = mine.ECDH(public); err != nil {
		tb.Fatal(err)
	}
	return mine.PublicKey().Bytes(), shared
}

func (b *bench) wrongAgreements(curve testCurve, key, point []byte, wanted template) {
	b.tb.Helper()
	signs := curve.pair(b.tb, direct(b.card))
	edwards := b.ecPair(testCurves[0], template{ep11.AttrDerive: true})
	for _, test := range []struct {
		name string
		m    *pb.Mechanism
		key  []byte
		t    template
		want ep11.Code
	}{
		{"no point", mech(ep11.MechECDH1Derive), key, wanted, ep11.CodeMechanismParamInvalid},
		{"a point off the curve", withIV(ep11.MechECDH1Derive, flipped(point, 64)), key, wanted, ep11.CodeMechanismParamInvalid},
		{"a short point", withIV(ep11.MechECDH1Derive, point[:33]), key, wanted, ep11.CodeMechanismParamInvalid},
		{"no such function", agreement(3, "", point), key, wanted, ep11.CodeMechanismParamInvalid},
		{"shared data without function", agreement(pb.ECDH1DeriveParm_CkdNull, "info", point), key, wanted, ep11.CodeMechanismParamInvalid},
		{"no key type", withIV(ep11.MechECDH1Derive, point), key, wanted.but(template{ep11.AttrKeyType: nil}), ep11.CodeTemplateIncomplete},
		{"no length", withIV(ep11.MechECDH1Derive, point), key, wanted.but(template{ep11.AttrValueLen: nil}), ep11.CodeTemplateIncomplete},
		{"an EC key", withIV(ep11.MechECDH1Derive, point), key, wanted.but(template{ep11.AttrKeyType: ep11.KeyTypeEC}), ep11.CodeTemplateInconsistent},
		{"more than there is", withIV(ep11.MechECDH1Derive, point), key, wanted.but(template{ep11.AttrValueLen: 33}), ep11.CodeTemplateInconsistent},
		{"AES of 20 bytes", withIV(ep11.MechECDH1Derive, point), key, wanted.but(template{ep11.AttrKeyType: ep11.KeyTypeAES, ep11.AttrValueLen: 20}), ep11.CodeKeySizeRange},
		{"a key that is to sign", withIV(ep11.MechECDH1Derive, point), signs.GetPrivKeyBytes(), wanted, ep11.CodeKeyFunctionNotPermitted},
		{"Ed25519", withIV(ep11.MechECDH1Derive, point), edwards.GetPrivKeyBytes(), wanted, ep11.CodeKeyTypeInconsistent},
		{"a secret key", withIV(ep11.MechECDH1Derive, point), b.kek, wanted, ep11.CodeKeyTypeInconsistent},
	} {
		_, err := b.derive(test.m, test.key, test.t)
		if got := codeOf(b.tb, err); got != test.want {
			b.tb.Errorf("%s, %s: %v, want %v (%v)", curve.name, test.name, got, test.want, err)
		}
	}
}
