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

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
)

func (b *bench) params(mechanism uint64) []byte {
	b.tb.Helper()
	made, err := b.generate(mechanism, template{grep11.AttrPrimeBits: 2048})
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
		PubKeyTemplate:  template{public: true, grep11.AttrIBMStructParams: string(params)}.attributes(b.tb),
		PrivKeyTemplate: template{private: true, grep11.AttrPrivate: true, grep11.AttrSensitive: true, grep11.AttrExtractable: true}.attributes(b.tb),
	})
}

func TestDSA(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pair, err := b.domainPair(grep11.MechDSAKeyPairGen, b.params(grep11.MechDSAParameterGen), grep11.AttrVerify, grep11.AttrSign)
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
	c := client(t, b.card)
	parts := [][]byte{[]byte("This data "), []byte("needs to be signed")}
	for name, flow := range flows {
		signature, err := flow.sign(t.Context(), c, mech(grep11.MechDSASHA1), pair.GetPrivKeyBytes(), parts)
		if err != nil || len(signature) != 64 {
			t.Fatalf("%s: %d bytes, %v", name, len(signature), err)
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		if !dsa.Verify(public, digest(crypto.SHA1, bytes.Join(parts, nil)), r, s) {
			t.Errorf("%s: crypto/dsa does not verify", name)
		}
		if err := flow.verify(t.Context(), c, mech(grep11.MechDSASHA1), pair.GetPubKeyBytes(), parts, signature); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantCode(t, flow.verify(t.Context(), c, mech(grep11.MechDSASHA1), pair.GetPubKeyBytes(), parts, flipped(signature, 40)), grep11.CodeSignatureInvalid)
		wantCode(t, flow.verify(t.Context(), c, mech(grep11.MechDSASHA1), pair.GetPubKeyBytes(), parts, signature[1:]), grep11.CodeSignatureLenRange)
	}
	_, err = signSingle(t.Context(), c, mech(grep11.MechECDSA), pair.GetPrivKeyBytes(), parts)
	wantCode(t, err, grep11.CodeKeyTypeInconsistent)
	_, err = b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: withIV(grep11.MechAESCBCPad, zeroIV), KeyBytes: pair.GetPrivKeyBytes(), KeKBytes: b.kek})
	wantCode(t, err, grep11.CodeKeyNotWrappable)
}

// TestDiffieHellman agrees with a key that the card does not have.
func TestDiffieHellman(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	params := b.params(grep11.MechDHPKCSParameterGen)
	pair, err := b.domainPair(grep11.MechDHPKCSKeyPairGen, params, grep11.AttrDerive, grep11.AttrDerive)
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
	wanted := all().but(template{grep11.AttrClass: grep11.ClassSecretKey, grep11.AttrKeyType: grep11.KeyTypeAES, grep11.AttrValueLen: 16})
	made, err := b.derive(withIV(grep11.MechDHPKCSDerive, mine.Bytes()), pair.GetPrivKeyBytes(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.take(made.GetNewKeyBytes()); !bytes.Equal(got, shared[240:]) {
		t.Errorf("%x, want %x", got, shared[240:])
	}
	for name, other := range map[string][]byte{
		"none": nil, "0": {0}, "1": {1}, "p-1": new(big.Int).Sub(group.P, big.NewInt(1)).Bytes(), "p": group.P.Bytes(), "long": bytes.Repeat([]byte{1}, 300),
	} {
		_, err := b.derive(withIV(grep11.MechDHPKCSDerive, other), pair.GetPrivKeyBytes(), wanted)
		if got := codeOf(t, err); got != grep11.CodeMechanismParamInvalid {
			t.Errorf("%s: %v", name, got)
		}
	}
	_, err = b.derive(withIV(grep11.MechDHPKCSDerive, mine.Bytes()), b.kek, wanted)
	wantCode(t, err, grep11.CodeKeyTypeInconsistent)
}

func TestEachWrongDomainHasItsCode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dh := b.params(grep11.MechDHPKCSParameterGen)
	even := bytes.Clone(dh)
	even[len(even)-4] &^= 1 // the prime's last byte: behind it is the base, 02 01 02
	for _, test := range []struct {
		name   string
		mech   uint64
		params []byte
		want   grep11.Code
	}{
		{"none", grep11.MechDHPKCSKeyPairGen, nil, grep11.CodeTemplateIncomplete},
		{"garbage", grep11.MechDHPKCSKeyPairGen, []byte("parameters"), grep11.CodeDomainParamsInvalid},
		{"an even prime", grep11.MechDHPKCSKeyPairGen, even, grep11.CodeDomainParamsInvalid},
		{"those of the other kind", grep11.MechDSAKeyPairGen, dh, grep11.CodeDomainParamsInvalid},
		{"a short prime", grep11.MechDHPKCSKeyPairGen, []byte("\x30\x06\x02\x01\x17\x02\x01\x02"), grep11.CodeDomainParamsInvalid},
	} {
		usages := map[uint64][2]uint64{
			grep11.MechDHPKCSKeyPairGen: {grep11.AttrDerive, grep11.AttrDerive}, grep11.MechDSAKeyPairGen: {grep11.AttrVerify, grep11.AttrSign},
		}[test.mech]
		_, err := b.domainPair(test.mech, test.params, usages[0], usages[1])
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v (%v)", test.name, got, test.want, err)
		}
	}
	for name, test := range map[string]struct {
		t    template
		want grep11.Code
	}{
		"512 bits": {template{grep11.AttrPrimeBits: 512}, grep11.CodeKeySizeRange},
		"a usage":  {template{grep11.AttrPrimeBits: 2048, grep11.AttrSign: true}, grep11.CodeAttributeTypeInvalid},
	} {
		_, err := b.generate(grep11.MechDSAParameterGen, test.t)
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
