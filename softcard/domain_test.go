package softcard_test

import (
	"bytes"
	"crypto"
	"crypto/dsa" //nolint:staticcheck // IBM's examples use it
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
)

func (b *bench) params(mechanism uint64) []byte {
	b.tb.Helper()
	made, err := b.generate(mechanism, template{ep11.AttrPrimeBits: 2048})
	if err != nil {
		b.tb.Fatal(err)
	}
	sameBlob(b.tb, made.GetKeyBytes(), made.GetKey())
	return made.GetKeyBytes()
}

func (b *bench) domainPair(mechanism uint64, params []byte, public, private uint64) (*pb.GenerateKeyPairResponse, error) {
	b.tb.Helper()
	return b.GenerateKeyPair(b.tb.Context(), &pb.GenerateKeyPairRequest{
		Mech:            mech(mechanism),
		PubKeyTemplate:  template{public: true, ep11.AttrIBMStructParams: string(params)}.attributes(b.tb),
		PrivKeyTemplate: template{private: true, ep11.AttrPrivate: true, ep11.AttrSensitive: true, ep11.AttrExtractable: true}.attributes(b.tb),
	})
}

func TestDSA(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pair, err := b.domainPair(ep11.MechDSAKeyPairGen, b.params(ep11.MechDSAParameterGen), ep11.AttrVerify, ep11.AttrSign)
	if err != nil {
		t.Fatal(err)
	}
	var whole asn1.RawValue
	if _, err := asn1.Unmarshal(pair.GetPubKeyBytes(), &whole); err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKIXPublicKey(whole.FullBytes)
	public, ok := parsed.(*dsa.PublicKey)
	if err != nil || !ok {
		t.Fatalf("%T, %v", parsed, err)
	}
	c := cardtest.Client(t, b.card)
	parts := [][]byte{[]byte("This data "), []byte("needs to be signed")}
	for name, flow := range flows {
		signature, err := flow.sign(t.Context(), c, mech(ep11.MechDSASHA1), pair.GetPrivKeyBytes(), parts)
		if err != nil || len(signature) != 64 {
			t.Fatalf("%s: %d bytes, %v", name, len(signature), err)
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		if !dsa.Verify(public, digest(crypto.SHA1, bytes.Join(parts, nil)), r, s) {
			t.Errorf("%s: crypto/dsa does not verify", name)
		}
		if err := flow.verify(t.Context(), c, mech(ep11.MechDSASHA1), pair.GetPubKeyBytes(), parts, signature); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantCode(t, flow.verify(t.Context(), c, mech(ep11.MechDSASHA1), pair.GetPubKeyBytes(), parts, flipped(signature, 40)), ep11.CodeSignatureInvalid)
		wantCode(t, flow.verify(t.Context(), c, mech(ep11.MechDSASHA1), pair.GetPubKeyBytes(), parts, signature[1:]), ep11.CodeSignatureLenRange)
	}
	_, err = signSingle(t.Context(), c, mech(ep11.MechECDSA), pair.GetPrivKeyBytes(), parts)
	wantCode(t, err, ep11.CodeKeyTypeInconsistent)
	_, err = b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: withIV(ep11.MechAESCBCPad, zeroIV), KeyBytes: pair.GetPrivKeyBytes(), KeKBytes: b.kek})
	wantCode(t, err, ep11.CodeKeyNotWrappable)
}

// The other side's key is one that the card does not have.
func TestDiffieHellman(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	params := b.params(ep11.MechDHPKCSParameterGen)
	pair, err := b.domainPair(ep11.MechDHPKCSKeyPairGen, params, ep11.AttrDerive, ep11.AttrDerive)
	if err != nil {
		t.Fatal(err)
	}
	var group struct{ P, G *big.Int }
	if _, err := asn1.Unmarshal(params, &group); err != nil {
		t.Fatal(err)
	}
	if !group.P.ProbablyPrime(10) || !new(big.Int).Rsh(group.P, 1).ProbablyPrime(10) || group.P.BitLen() != 2048 {
		t.Errorf("%x is no safe prime of 2048 bits", group.P)
	}
	var spki struct { // as IBM's helper reads it
		Parameter struct {
			Algorithm asn1.ObjectIdentifier
			PB        struct{ Prime, Base *big.Int }
		}
		PublicKey asn1.BitString
	}
	if _, err := asn1.Unmarshal(pair.GetPubKeyBytes(), &spki); err != nil {
		t.Fatal(err)
	}
	var y *big.Int
	if _, err := asn1.Unmarshal(spki.PublicKey.Bytes, &y); err != nil {
		t.Fatal(err)
	}
	x, err := rand.Int(rand.Reader, group.P)
	if err != nil {
		t.Fatal(err)
	}
	mine := new(big.Int).Exp(group.G, x, group.P)
	shared := y.Exp(y, x, group.P).FillBytes(make([]byte, 256))
	wanted := all().but(template{ep11.AttrClass: ep11.ClassSecretKey, ep11.AttrKeyType: ep11.KeyTypeAES, ep11.AttrValueLen: 16})
	made, err := b.derive(withIV(ep11.MechDHPKCSDerive, mine.Bytes()), pair.GetPrivKeyBytes(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.take(made.GetNewKeyBytes()); !bytes.Equal(got, shared[240:]) {
		t.Errorf("%x, want %x", got, shared[240:])
	}
	for name, other := range map[string][]byte{
		"none": nil, "0": {0}, "1": {1}, "p-1": new(big.Int).Sub(group.P, big.NewInt(1)).Bytes(), "p": group.P.Bytes(), "long": bytes.Repeat([]byte{1}, 300),
	} {
		_, err := b.derive(withIV(ep11.MechDHPKCSDerive, other), pair.GetPrivKeyBytes(), wanted)
		if got := codeOf(t, err); got != ep11.CodeMechanismParamInvalid {
			t.Errorf("%s: %v", name, got)
		}
	}
	_, err = b.derive(withIV(ep11.MechDHPKCSDerive, mine.Bytes()), b.kek, wanted)
	wantCode(t, err, ep11.CodeKeyTypeInconsistent)
}

func TestEachWrongDomainHasItsCode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dh := b.params(ep11.MechDHPKCSParameterGen)
	even := bytes.Clone(dh)
	even[len(even)-4] &^= 1 // the prime's last byte; the base, 02 01 02, follows it
	for _, test := range []struct {
		name   string
		mech   uint64
		params []byte
		want   ep11.Code
	}{
		{"none", ep11.MechDHPKCSKeyPairGen, nil, ep11.CodeTemplateIncomplete},
		{"garbage", ep11.MechDHPKCSKeyPairGen, []byte("parameters"), ep11.CodeDomainParamsInvalid},
		{"an even prime", ep11.MechDHPKCSKeyPairGen, even, ep11.CodeDomainParamsInvalid},
		{"those of the other kind", ep11.MechDSAKeyPairGen, dh, ep11.CodeDomainParamsInvalid},
		{"a short prime", ep11.MechDHPKCSKeyPairGen, []byte("\x30\x06\x02\x01\x17\x02\x01\x02"), ep11.CodeDomainParamsInvalid},
	} {
		usages := map[uint64][2]uint64{
			ep11.MechDHPKCSKeyPairGen: {ep11.AttrDerive, ep11.AttrDerive}, ep11.MechDSAKeyPairGen: {ep11.AttrVerify, ep11.AttrSign},
		}[test.mech]
		_, err := b.domainPair(test.mech, test.params, usages[0], usages[1])
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v (%v)", test.name, got, test.want, err)
		}
	}
	for name, test := range map[string]struct {
		t    template
		want ep11.Code
	}{
		"512 bits": {template{ep11.AttrPrimeBits: 512}, ep11.CodeKeySizeRange},
		"a usage":  {template{ep11.AttrPrimeBits: 2048, ep11.AttrSign: true}, ep11.CodeAttributeTypeInvalid},
	} {
		_, err := b.generate(ep11.MechDSAParameterGen, test.t)
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
