package softcard_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
)

// pkcs8 encodes an EC key as clients send it for every curve: RFC 5915 inside RFC 5208,
// id-ecPublicKey, the public key after the secret.
func pkcs8(params string, secret, point []byte) []byte {
	der := func(tag byte, parts ...[]byte) []byte {
		body := bytes.Join(parts, nil)
		return append([]byte{tag, byte(len(body))}, body...) // every length is below 128
	}
	version := func(n byte) []byte { return []byte{2, 1, n} }
	inner := [][]byte{version(1), der(4, secret)}
	if point != nil {
		inner = append(inner, der(0xa1, der(3, []byte{0}, point)))
	}
	identifier := der(0x30, []byte("\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"), []byte(params))
	body := bytes.Join([][]byte{version(0), identifier, der(4, der(0x30, inner...))}, nil)
	if len(body) < 128 {
		return append([]byte{0x30, byte(len(body))}, body...)
	}
	return append([]byte{0x30, 0x81, byte(len(body))}, body...)
}

// outside makes a key pair that the card does not know.
func (c testCurve) outside(tb testing.TB) (secret, point []byte) {
	tb.Helper()
	switch c.params {
	case ep11.CurveEd25519:
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		return private.Seed(), public
	case ep11.CurveSecp256k1:
		key, err := secp256k1.GeneratePrivateKey()
		if err != nil {
			tb.Fatal(err)
		}
		return key.Serialize(), key.PubKey().SerializeUncompressed()
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	secret, err = key.Bytes()
	if err != nil {
		tb.Fatal(err)
	}
	point, err = key.PublicKey.Bytes()
	if err != nil {
		tb.Fatal(err)
	}
	return secret, point
}

func ecImport() template {
	return template{
		ep11.AttrClass: ep11.ClassPrivateKey, ep11.AttrKeyType: ep11.KeyTypeEC, ep11.AttrSign: true,
		ep11.AttrPrivate: true, ep11.AttrSensitive: true, ep11.AttrExtractable: false,
	}
}

func TestImportOfECKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, curve := range testCurves {
		secret, point := curve.outside(t)
		for name, der := range map[string][]byte{"with the public key": pkcs8(curve.params, secret, point), "without": pkcs8(curve.params, secret, nil)} {
			r, err := b.bring(der, ecImport())
			if err != nil {
				t.Fatalf("%s, %s: %v", curve.name, name, err)
			}
			sameBlob(t, r.GetUnwrappedBytes(), r.GetUnwrapped())
			if got := binary.BigEndian.Uint64(r.GetUnwrappedBytes()[48:]); got != 0x104 { // as on cards
				t.Errorf("%s: attributes 0x%x, want 0x104", curve.name, got)
			}
			sum := r.GetCheckSum()
			bits := map[string]uint32{"Ed25519": 255, "secp256k1": 256, "P-256": 256}[curve.name]
			if len(sum) != curve.spki+128+4 || !bytes.Equal(sum[curve.spki-len(point):curve.spki], point) || binary.BigEndian.Uint32(sum[len(sum)-4:]) != bits {
				t.Errorf("%s: check sum %x, want the MACed public key and %d", curve.name, sum, bits)
			}
			data := make([]byte, 32)
			signature, err := b.sign(mech(curve.mech), r.GetUnwrappedBytes(), data)
			if err != nil || !curve.verifies(t, sum[:len(sum)-4], data, signature) {
				t.Errorf("%s: the imported key does not sign for its public key: %v", curve.name, err)
			}
			if err := b.verify(mech(curve.mech), sum[:len(sum)-4], data, signature); err != nil {
				t.Errorf("%s: the public key of the check sum is no key of the card: %v", curve.name, err)
			}
		}
	}
}

// One client asks for every usage of an EC key, and sends the length of the PKCS #8.
func TestImportTemplatesOfOtherClients(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, curve := range testCurves {
		secret, point := curve.outside(t)
		der := pkcs8(curve.params, secret, point)
		r, err := b.bring(der, template{
			ep11.AttrClass: ep11.ClassPrivateKey, ep11.AttrKeyType: ep11.KeyTypeEC, ep11.AttrValueLen: len(der),
			ep11.AttrWrap: false, ep11.AttrUnwrap: true, ep11.AttrSign: true, ep11.AttrVerify: false, ep11.AttrDerive: true,
			ep11.AttrExtractable: true, ep11.AttrECParams: curve.params,
		})
		if err != nil {
			t.Errorf("%s: %v", curve.name, err)
			continue
		}
		if got := b.take(r.GetUnwrappedBytes()); !bytes.Equal(got, der) {
			t.Errorf("%s: out comes %x, in went %x", curve.name, got, der)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.bring(der, ecImport().but(template{ep11.AttrClass: nil})); err != nil {
		t.Errorf("a key of Go's, and no class: %v", err)
	}
}

func TestEachWrongImportHasItsCode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	curve := testCurves[1]
	secret, point := curve.outside(t)
	_, another := curve.outside(t)
	good := pkcs8(curve.params, secret, point)
	secretTemplate := template{ep11.AttrClass: ep11.ClassSecretKey, ep11.AttrKeyType: ep11.KeyTypeAES}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rfc8410, err := x509.MarshalPKCS8PrivateKey(ed)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		plain []byte
		t     template
		want  ep11.Code
	}{
		{"no type", good, ecImport().but(template{ep11.AttrKeyType: nil}), ep11.CodeTemplateIncomplete},
		{"a type that is not imported", good, ecImport().but(template{ep11.AttrKeyType: ep11.KeyTypeDH}), ep11.CodeTemplateInconsistent},
		{"a private AES key", good, ecImport().but(template{ep11.AttrKeyType: ep11.KeyTypeAES}), ep11.CodeTemplateInconsistent},
		{"a secret EC key", good, ecImport().but(template{ep11.AttrClass: ep11.ClassSecretKey}), ep11.CodeTemplateInconsistent},
		{"another curve in the template", good, ecImport().but(template{ep11.AttrECParams: ep11.CurveP256}), ep11.CodeTemplateInconsistent},
		{"not sensitive", good, ecImport().but(template{ep11.AttrSensitive: false}), ep11.CodeTemplateInconsistent},
		{"P-192", pkcs8("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x01", secret, nil), ecImport(), ep11.CodeCurveNotSupported},
		{"another public key", pkcs8(curve.params, secret, another), ecImport(), ep11.CodeWrappedKeyInvalid},
		{"the secret zero", pkcs8(curve.params, make([]byte, 32), nil), ecImport(), ep11.CodeWrappedKeyInvalid},
		{"a secret over the order", pkcs8(curve.params, bytes.Repeat([]byte{0xff}, 32), nil), ecImport(), ep11.CodeWrappedKeyInvalid},
		{"a short secret", pkcs8(curve.params, secret[1:], nil), ecImport(), ep11.CodeWrappedKeyInvalid},
		{"cut", good[:len(good)-1], ecImport(), ep11.CodeWrappedKeyInvalid},
		{"a byte more", append(bytes.Clone(good), 0), ecImport(), ep11.CodeWrappedKeyInvalid},
		{"the bare secret", secret, ecImport(), ep11.CodeWrappedKeyInvalid},
		{"Ed25519 of RFC 8410", rfc8410, ecImport(), ep11.CodeWrappedKeyInvalid},
		{"an EC key for an RSA key", good, ecImport().but(template{ep11.AttrKeyType: ep11.KeyTypeRSA}), ep11.CodeWrappedKeyInvalid},
		{"an AES key of 20 bytes", make([]byte, 20), secretTemplate, ep11.CodeWrappedKeyInvalid},
		{"an empty generic secret", nil, secretTemplate.but(template{ep11.AttrKeyType: ep11.KeyTypeGenericSecret}), ep11.CodeWrappedKeyInvalid},
	} {
		_, err := b.bring(test.plain, test.t)
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v (%v)", test.name, got, test.want, err)
		}
	}
	b.wrongUnwrappings(good)
}

func (b *bench) wrongUnwrappings(good []byte) {
	t := b.tb
	t.Helper()
	pad := withIV(ep11.MechAESCBCPad, zeroIV)
	wrapped := b.encrypt(pad, b.kek, good)
	wraps := b.aes(32, all().but(template{ep11.AttrUnwrap: nil}))
	for _, test := range []struct {
		name    string
		m       *pb.Mechanism
		kek     []byte
		wrapped []byte
		want    ep11.Code
	}{
		{"another vector", withIV(ep11.MechAESCBCPad, bytes.Repeat([]byte{1}, 16)), b.kek, wrapped, ep11.CodeWrappedKeyInvalid},
		{"another key", pad, b.aes(32, all()), wrapped, ep11.CodeWrappedKeyInvalid},
		{"changed", pad, b.kek, flipped(wrapped, -1), ep11.CodeWrappedKeyInvalid},
		{"cut by a block", pad, b.kek, wrapped[:len(wrapped)-16], ep11.CodeWrappedKeyInvalid},
		{"cut by a byte", pad, b.kek, wrapped[1:], ep11.CodeWrappedKeyLenRange},
		{"nothing", pad, b.kek, nil, ep11.CodeWrappedKeyLenRange},
		{"no vector", mech(ep11.MechAESCBCPad), b.kek, wrapped, ep11.CodeMechanismParamInvalid},
		{"a mechanism that does not unwrap", mech(ep11.MechSHA256), b.kek, wrapped, ep11.CodeMechanismInvalid},
		{"a key that may not", pad, wraps, wrapped, ep11.CodeKeyFunctionNotPermitted},
		{"no key", pad, nil, wrapped, ep11.CodeArgumentsBad},
		{"no blob", pad, make([]byte, 256), wrapped, ep11.CodeIBMBlobError},
	} {
		_, err := b.UnwrapKey(t.Context(), &pb.UnwrapKeyRequest{Mech: test.m, KeKBytes: test.kek, Wrapped: test.wrapped, Template: ecImport().attributes(t)})
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v (%v)", test.name, got, test.want, err)
		}
	}
}

// IBM's example: both halves of a key that Go made.
func TestImportOfRSAKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := b.bring(der, template{
		ep11.AttrClass: ep11.ClassPrivateKey, ep11.AttrKeyType: ep11.KeyTypeRSA, ep11.AttrUnwrap: true, ep11.AttrDecrypt: true,
		ep11.AttrPrivate: true, ep11.AttrSensitive: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if sum := private.GetCheckSum(); !bytes.HasPrefix(sum, spki) || binary.BigEndian.Uint32(sum[len(sum)-4:]) != 1024 {
		t.Errorf("check sum %x", sum)
	}
	public, err := b.UnwrapKey(t.Context(), &pb.UnwrapKeyRequest{
		Mech: mech(ep11.MechIBMTransportKey), Wrapped: spki, KeKBytes: b.kek,
		Template: template{ep11.AttrWrap: true, ep11.AttrEncrypt: true}.attributes(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	sameBlob(t, public.GetUnwrappedBytes(), public.GetUnwrapped())
	ciphered := b.encrypt(mech(ep11.MechRSAPKCS), public.GetUnwrappedBytes(), []byte("Carpe Diem"))
	if got := b.decrypt(mech(ep11.MechRSAPKCS), private.GetUnwrappedBytes(), ciphered); string(got) != "Carpe Diem" {
		t.Errorf("%q", got)
	}
}

func TestImportOfPublicKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other := cardtest.Client(t, cardtest.New(t, 9))
	for _, curve := range testCurves {
		pair := curve.pair(t, over(other))
		spki := pair.GetPubKeyBytes()[:curve.spki]
		request := &pb.UnwrapKeyRequest{
			Mech: mech(ep11.MechIBMTransportKey), Wrapped: spki, Template: template{ep11.AttrVerify: true}.attributes(t),
		}
		r, err := b.UnwrapKey(t.Context(), request)
		if err != nil {
			t.Fatalf("%s: %v", curve.name, err)
		}
		if len(r.GetUnwrappedBytes()) != curve.spki+128 || !bytes.HasPrefix(r.GetUnwrappedBytes(), spki) {
			t.Errorf("%s: %x", curve.name, r.GetUnwrappedBytes())
		}
		signature, err := signSingle(t.Context(), other, mech(curve.mech), pair.GetPrivKeyBytes(), [][]byte{make([]byte, 32)})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.verify(mech(curve.mech), r.GetUnwrappedBytes(), make([]byte, 32), signature); err != nil {
			t.Errorf("%s: the imported public key does not verify: %v", curve.name, err)
		}
		for name, wrong := range map[string][]byte{
			"nothing": nil, "cut": spki[:len(spki)-1], "a byte more": append(bytes.Clone(spki), 0), "MACed": pair.GetPubKeyBytes(), "a blob": b.kek,
		} {
			request.Wrapped = wrong
			_, err := b.UnwrapKey(t.Context(), request)
			if got := codeOf(t, err); got != ep11.CodeWrappedKeyInvalid {
				t.Errorf("%s, %s: %v", curve.name, name, got)
			}
		}
		if curve.order == "" {
			continue
		}
		request.Wrapped = flipped(spki, -1)
		_, err = b.UnwrapKey(t.Context(), request)
		wantCode(t, err, ep11.CodeWrappedKeyInvalid)
		request.Wrapped, request.Template = spki, template{ep11.AttrECParams: ep11.CurveEd25519}.attributes(t)
		_, err = b.UnwrapKey(t.Context(), request)
		wantCode(t, err, ep11.CodeTemplateInconsistent)
	}
}

// Go's own parser knows one of the curves.
func TestTakenKeysAreParsedByGo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pair := b.ecPair(testCurves[2], private().but(template{ep11.AttrExtractable: true}))
	if _, err := x509.ParsePKCS8PrivateKey(b.take(pair.GetPrivKeyBytes())); err != nil {
		t.Error(err)
	}
}
