package softcard_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
)

// rsaKey reads the public key as a client does.
func rsaKey(tb testing.TB, pub []byte) *rsa.PublicKey {
	tb.Helper()
	var whole asn1.RawValue
	rest, err := asn1.Unmarshal(pub, &whole)
	if err != nil || len(rest) != 128 {
		tb.Fatalf("%d bytes behind the SPKI: %v", len(rest), err)
	}
	parsed, err := x509.ParsePKIXPublicKey(whole.FullBytes)
	if err != nil {
		tb.Fatal(err)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		tb.Fatalf("%T", parsed)
	}
	return key
}

func TestRSAKeyPairs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, test := range []struct {
		name     string
		exponent any
		want     int
	}{
		{"17 in a byte, as IBM's first examples", "\x11", 17},
		{"65537 in bytes, as Java's", "\x01\x00\x01", 65537},
		{"65537 as an integer, as IBM's later examples", 65537, 65537},
		{"19, with which one pair of primes in ten does not go", 19, 19},
	} {
		pair := b.rsaPair(1024, test.exponent, nil, nil)
		key := rsaKey(t, pair.GetPubKeyBytes())
		if key.E != test.want || key.N.BitLen() != 1024 {
			t.Errorf("%s: exponent %d, %d bits", test.name, key.E, key.N.BitLen())
		}
		sameBlob(t, pair.GetPrivKeyBytes(), pair.GetPrivKey())
		sameBlob(t, pair.GetPubKeyBytes(), pair.GetPubKey())
		parsed, err := x509.ParsePKCS8PrivateKey(b.take(pair.GetPrivKeyBytes()))
		if err != nil {
			t.Fatal(err)
		}
		private, ok := parsed.(*rsa.PrivateKey)
		if !ok || private.Validate() != nil || !private.PublicKey.Equal(key) {
			t.Errorf("%s: the private key that was taken out is %T, and not of the public one", test.name, parsed)
		}
	}
	for name, test := range map[string]struct {
		public template
		want   ep11.Code
	}{
		"no length":         {template{ep11.AttrPublicExponent: 3}, ep11.CodeTemplateIncomplete},
		"short":             {template{ep11.AttrModulusBits: 512}, ep11.CodeKeySizeRange},
		"long":              {template{ep11.AttrModulusBits: 8192}, ep11.CodeKeySizeRange},
		"part of a byte":    {template{ep11.AttrModulusBits: 1025}, ep11.CodeKeySizeRange},
		"between two sizes": {template{ep11.AttrModulusBits: 1152}, ep11.CodeKeySizeRange},
		"even exponent":     {template{ep11.AttrModulusBits: 1024, ep11.AttrPublicExponent: 18}, ep11.CodeAttributeValueInvalid},
		"exponent 15":       {template{ep11.AttrModulusBits: 1024, ep11.AttrPublicExponent: 15}, ep11.CodeAttributeValueInvalid},
		"exponent 1":        {template{ep11.AttrModulusBits: 1024, ep11.AttrPublicExponent: "\x01"}, ep11.CodeAttributeValueInvalid},
		"huge exponent":     {template{ep11.AttrModulusBits: 1024, ep11.AttrPublicExponent: "\x01\x00\x00\x00\x00\x00\x00\x00\x01"}, ep11.CodeAttributeValueInvalid},
		"public that signs": {template{ep11.AttrModulusBits: 1024, ep11.AttrSign: true}, ep11.CodeTemplateInconsistent},
		"a curve":           {template{ep11.AttrModulusBits: 1024, ep11.AttrECParams: ep11.CurveP256}, ep11.CodeAttributeTypeInvalid},
	} {
		_, err := b.GenerateKeyPair(t.Context(), &pb.GenerateKeyPairRequest{
			Mech: mech(ep11.MechRSAPKCSKeyPairGen), PubKeyTemplate: test.public.attributes(t),
		})
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func pss(id, hash uint64, mask pb.RSAPSSParm_Mask, salt uint64) *pb.Mechanism {
	return &pb.Mechanism{Mechanism: id, Parameter: &pb.Mechanism_RSAPSSParameter{
		RSAPSSParameter: &pb.RSAPSSParm{HashMech: hash, Mgf: mask, SaltByteCount: salt},
	}}
}

func TestRSASignatures(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pair := b.rsaPair(1024, 65537, nil, nil)
	public := rsaKey(t, pair.GetPubKeyBytes())
	c := cardtest.Client(t, b.card)
	data := []byte("This data needs to be signed")
	for _, test := range []struct {
		name string
		m    *pb.Mechanism
		hash crypto.Hash
		salt int // -1: PKCS #1 v1.5
	}{
		{"SHA1_RSA_PKCS", mech(ep11.MechSHA1RSAPKCS), crypto.SHA1, -1},
		{"SHA224_RSA_PKCS", mech(ep11.MechSHA224RSAPKCS), crypto.SHA224, -1},
		{"SHA256_RSA_PKCS", mech(ep11.MechSHA256RSAPKCS), crypto.SHA256, -1},
		{"SHA384_RSA_PKCS", mech(ep11.MechSHA384RSAPKCS), crypto.SHA384, -1},
		{"SHA512_RSA_PKCS", mech(ep11.MechSHA512RSAPKCS), crypto.SHA512, -1},
		{"SHA256_RSA_PKCS_PSS", pss(ep11.MechSHA256RSAPKCSPSS, ep11.MechSHA256, pb.RSAPSSParm_CkgMgf1Sha256, 20), crypto.SHA256, 20},
		{"SHA256_RSA_PKCS_PSS without salt", pss(ep11.MechSHA256RSAPKCSPSS, ep11.MechSHA256, pb.RSAPSSParm_CkgMgf1Sha256, 0), crypto.SHA256, 0},
		{"SHA1_RSA_PKCS_PSS without salt", pss(ep11.MechSHA1RSAPKCSPSS, ep11.MechSHA1, pb.RSAPSSParm_CkgMgf1Sha1, 0), crypto.SHA1, 0},
		{"RSA_PKCS", mech(ep11.MechRSAPKCS), 0, -1},
		{"RSA_PKCS_PSS", pss(ep11.MechRSAPKCSPSS, ep11.MechSHA256, pb.RSAPSSParm_CkgMgf1Sha256, 32), 0, 32},
	} {
		data, hashing := data, test.hash
		if test.name == "RSA_PKCS_PSS" {
			data = digest(crypto.SHA256, data)
			test.hash = 0
		}
		for name, flow := range flowsOf(hashing) {
			signature, err := flow.sign(t.Context(), c, test.m, pair.GetPrivKeyBytes(), [][]byte{data[:8], data[8:]})
			if err != nil {
				t.Errorf("%s, %s: %v", test.name, name, err)
				continue
			}
			if test.salt < 0 {
				err = rsa.VerifyPKCS1v15(public, test.hash, digest(test.hash, data), signature)
			} else {
				hash := max(test.hash, 0)
				if hash == 0 {
					hash = crypto.SHA256
				}
				// crypto/rsa takes 0 for any salt; that there is none is the card's own check below
				err = rsa.VerifyPSS(public, hash, digest(test.hash, data), signature, &rsa.PSSOptions{SaltLength: test.salt})
			}
			if err != nil {
				t.Errorf("%s, %s: crypto/rsa: %v", test.name, name, err)
			}
			parts := [][]byte{data[:8], data[8:]}
			if err := flow.verify(t.Context(), c, test.m, pair.GetPubKeyBytes(), parts, signature); err != nil {
				t.Errorf("%s, %s: %v", test.name, name, err)
			}
			wantCode(t, flow.verify(t.Context(), c, test.m, pair.GetPubKeyBytes(), parts, flipped(signature, 50)), ep11.CodeSignatureInvalid)
			wantCode(t, flow.verify(t.Context(), c, test.m, pair.GetPubKeyBytes(), parts, signature[1:]), ep11.CodeSignatureLenRange)
		}
	}
}

func TestPSSWithoutSaltHasNone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pair := b.rsaPair(1024, 65537, nil, nil)
	none := pss(ep11.MechSHA256RSAPKCSPSS, ep11.MechSHA256, pb.RSAPSSParm_CkgMgf1Sha256, 0)
	sign := func(m *pb.Mechanism) []byte {
		signature, err := b.sign(m, pair.GetPrivKeyBytes(), []byte("data"))
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	if !bytes.Equal(sign(none), sign(none)) {
		t.Error("two signatures without salt differ")
	}
	salted := sign(pss(ep11.MechSHA256RSAPKCSPSS, ep11.MechSHA256, pb.RSAPSSParm_CkgMgf1Sha256, 32))
	wantCode(t, b.verify(none, pair.GetPubKeyBytes(), []byte("data"), salted), ep11.CodeSignatureInvalid)
	for name, m := range map[string]*pb.Mechanism{
		"no parameter": mech(ep11.MechSHA256RSAPKCSPSS),
		"two hashes":   pss(ep11.MechSHA256RSAPKCSPSS, ep11.MechSHA256, pb.RSAPSSParm_CkgMgf1Sha1, 0),
		"another hash": pss(ep11.MechSHA256RSAPKCSPSS, ep11.MechSHA1, pb.RSAPSSParm_CkgMgf1Sha1, 0),
		"no hash":      pss(ep11.MechSHA256RSAPKCSPSS, 0, 0, 0),
		"long salt":    pss(ep11.MechSHA256RSAPKCSPSS, ep11.MechSHA256, pb.RSAPSSParm_CkgMgf1Sha256, 1<<40),
		"too long":     pss(ep11.MechSHA256RSAPKCSPSS, ep11.MechSHA256, pb.RSAPSSParm_CkgMgf1Sha256, 127),
	} {
		_, err := b.sign(m, pair.GetPrivKeyBytes(), []byte("data"))
		if got := codeOf(t, err); got != ep11.CodeMechanismParamInvalid {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func oaep(hash uint64, mask pb.RSAOAEPParm_Mask, label string) *pb.Mechanism {
	parm := &pb.RSAOAEPParm{HashMech: hash, Mgf: mask, EncodingParm: []byte(label)}
	if label != "" {
		parm.EncodingParmType = pb.RSAOAEPParm_CkzDataSpecified
	}
	return &pb.Mechanism{Mechanism: ep11.MechRSAPKCSOAEP, Parameter: &pb.Mechanism_RSAOAEPParameter{RSAOAEPParameter: parm}}
}

func TestRSAEncryption(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pair := b.rsaPair(1024, 65537, nil, nil)
	public := rsaKey(t, pair.GetPubKeyBytes())
	plain := []byte("Carpe Diem")
	for _, test := range []struct {
		name  string
		m     *pb.Mechanism
		ours  func() ([]byte, error)
		limit int
	}{
		{"RSA_PKCS", mech(ep11.MechRSAPKCS), func() ([]byte, error) {
			return rsa.EncryptPKCS1v15(rand.Reader, public, plain) //nolint:staticcheck // a card has it
		}, 117},
		{"OAEP SHA-1", oaep(ep11.MechSHA1, pb.RSAOAEPParm_CkgMgf1Sha1, ""), func() ([]byte, error) {
			return rsa.EncryptOAEP(crypto.SHA1.New(), rand.Reader, public, plain, nil)
		}, 86},
		{"OAEP SHA-256 with a label", oaep(ep11.MechSHA256, pb.RSAOAEPParm_CkgMgf1Sha256, "label"), func() ([]byte, error) {
			return rsa.EncryptOAEP(crypto.SHA256.New(), rand.Reader, public, plain, []byte("label"))
		}, 62},
	} {
		theirs, err := test.ours()
		if err != nil {
			t.Fatal(err)
		}
		if got := b.decrypt(test.m, pair.GetPrivKeyBytes(), theirs); !bytes.Equal(got, plain) {
			t.Errorf("%s, encrypted by crypto/rsa: %q", test.name, got)
		}
		longest := bytes.Repeat([]byte{7}, test.limit)
		if got := b.decrypt(test.m, pair.GetPrivKeyBytes(), b.encrypt(test.m, pair.GetPubKeyBytes(), longest)); !bytes.Equal(got, longest) {
			t.Errorf("%s: %x", test.name, got)
		}
		begun, err := b.EncryptInit(t.Context(), &pb.EncryptInitRequest{Mech: test.m, KeyBytes: pair.GetPubKeyBytes()})
		if err != nil {
			t.Fatal(err)
		}
		at, err := b.Encrypt(t.Context(), &pb.EncryptRequest{State: begun.GetState(), Plain: plain})
		if err != nil || !bytes.Equal(b.decrypt(test.m, pair.GetPrivKeyBytes(), at.GetCiphered()), plain) {
			t.Errorf("%s, EncryptInit and Encrypt: %v", test.name, err)
		}
		opened, err := b.DecryptInit(t.Context(), &pb.DecryptInitRequest{Mech: test.m, KeyBytes: pair.GetPrivKeyBytes()})
		if err != nil {
			t.Fatal(err)
		}
		back, err := b.Decrypt(t.Context(), &pb.DecryptRequest{State: opened.GetState(), Ciphered: theirs})
		if err != nil || !bytes.Equal(back.GetPlain(), plain) {
			t.Errorf("%s, DecryptInit and Decrypt: %v", test.name, err)
		}
		_, err = b.EncryptSingle(t.Context(), &pb.EncryptSingleRequest{Mech: test.m, KeyBytes: pair.GetPubKeyBytes(), Plain: append(longest, 0)})
		wantCode(t, err, ep11.CodeDataLenRange)
		_, err = b.EncryptUpdate(t.Context(), &pb.EncryptUpdateRequest{State: begun.GetState(), Plain: plain})
		wantCode(t, err, ep11.CodeMechanismInvalid)
		_, err = b.DecryptSingle(t.Context(), &pb.DecryptSingleRequest{Mech: test.m, KeyBytes: pair.GetPrivKeyBytes(), Ciphered: flipped(theirs, 60)})
		wantCode(t, err, ep11.CodeEncryptedDataInvalid)
		_, err = b.DecryptSingle(t.Context(), &pb.DecryptSingleRequest{Mech: test.m, KeyBytes: pair.GetPrivKeyBytes(), Ciphered: theirs[1:]})
		wantCode(t, err, ep11.CodeEncryptedDataLenRange)
		_, err = b.EncryptSingle(t.Context(), &pb.EncryptSingleRequest{Mech: test.m, KeyBytes: pair.GetPrivKeyBytes(), Plain: plain})
		wantCode(t, err, ep11.CodeKeyTypeInconsistent)
		_, err = b.DecryptSingle(t.Context(), &pb.DecryptSingleRequest{Mech: test.m, KeyBytes: b.kek, Ciphered: theirs})
		wantCode(t, err, ep11.CodeKeyTypeInconsistent)
	}
	mute := b.rsaPair(1024, 65537, template{ep11.AttrEncrypt: false}, template{ep11.AttrDecrypt: false})
	_, err := b.EncryptSingle(t.Context(), &pb.EncryptSingleRequest{Mech: mech(ep11.MechRSAPKCS), KeyBytes: mute.GetPubKeyBytes()})
	wantCode(t, err, ep11.CodeKeyFunctionNotPermitted)
	_, err = b.DecryptSingle(t.Context(), &pb.DecryptSingleRequest{Mech: mech(ep11.MechRSAPKCS), KeyBytes: mute.GetPrivKeyBytes(), Ciphered: make([]byte, 128)})
	wantCode(t, err, ep11.CodeKeyFunctionNotPermitted)
}
