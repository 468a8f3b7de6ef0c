package softcard_test

import (
	"bytes"
	"crypto/aes"
	"crypto/sha1"
	"encoding/binary"
	"math/bits"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

func TestGenerateKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, test := range []struct {
		name string
		mech uint64
		t    template
		want ep11.Code // 0: the key is made
		size int       // of the blob
	}{
		{"AES-128", ep11.MechAESKeyGen, template{ep11.AttrValueLen: 16, ep11.AttrEncrypt: true}, 0, 256},
		{"AES-192", ep11.MechAESKeyGen, template{ep11.AttrValueLen: 24}, 0, 256},
		{"AES-256 with class and type", ep11.MechAESKeyGen, template{
			ep11.AttrValueLen: 32, ep11.AttrClass: ep11.ClassSecretKey, ep11.AttrKeyType: ep11.KeyTypeAES, ep11.AttrToken: true,
		}, 0, 256},
		{"generic secret", ep11.MechGenericSecretKeyGen, template{ep11.AttrValueLen: 32, ep11.AttrKeyType: ep11.KeyTypeGenericSecret}, 0, 448},
		{"long generic secret", ep11.MechGenericSecretKeyGen, template{ep11.AttrValueLen: 256}, 0, 448},
		{"triple DES of any length", ep11.MechDES3KeyGen, template{ep11.AttrValueLen: 32}, 0, 256},
		{"triple DES", ep11.MechDES3KeyGen, template{}, 0, 256},
		{"no length", ep11.MechAESKeyGen, template{ep11.AttrEncrypt: true}, ep11.CodeTemplateIncomplete, 0},
		{"no length of a generic secret", ep11.MechGenericSecretKeyGen, template{}, ep11.CodeTemplateIncomplete, 0},
		{"AES of 20 bytes", ep11.MechAESKeyGen, template{ep11.AttrValueLen: 20}, ep11.CodeKeySizeRange, 0},
		{"empty generic secret", ep11.MechGenericSecretKeyGen, template{ep11.AttrValueLen: 0}, ep11.CodeKeySizeRange, 0},
		{"huge generic secret", ep11.MechGenericSecretKeyGen, template{ep11.AttrValueLen: 257}, ep11.CodeKeySizeRange, 0},
		{"another class", ep11.MechAESKeyGen, template{ep11.AttrValueLen: 32, ep11.AttrClass: ep11.ClassPrivateKey}, ep11.CodeTemplateInconsistent, 0},
		{"another type", ep11.MechAESKeyGen, template{ep11.AttrValueLen: 32, ep11.AttrKeyType: ep11.KeyTypeEC}, ep11.CodeTemplateInconsistent, 0},
		{"not sensitive", ep11.MechAESKeyGen, template{ep11.AttrValueLen: 32, ep11.AttrSensitive: false}, ep11.CodeTemplateInconsistent, 0},
		{"a curve", ep11.MechAESKeyGen, template{ep11.AttrValueLen: 32, ep11.AttrECParams: ep11.CurveP256}, ep11.CodeAttributeTypeInvalid, 0},
		{"negative length", ep11.MechAESKeyGen, template{ep11.AttrValueLen: -1}, ep11.CodeAttributeValueInvalid, 0},
		{"a length in bytes", ep11.MechAESKeyGen, template{ep11.AttrValueLen: "\x20"}, ep11.CodeAttributeValueInvalid, 0},
		{"a value", ep11.MechAESKeyGen, template{ep11.AttrValueLen: 16, ep11.AttrValue: "0123456789abcdef"}, ep11.CodeAttributeReadOnly, 0},
		{"a mechanism that makes none", ep11.MechAESCBC, template{ep11.AttrValueLen: 32}, ep11.CodeMechanismInvalid, 0},
		{"DSA parameters without length", ep11.MechDSAParameterGen, template{}, ep11.CodeTemplateIncomplete, 0},
	} {
		made, err := b.generate(test.mech, test.t)
		if test.want != 0 {
			if got := codeOf(t, err); got != test.want {
				t.Errorf("%s: %v, want %v", test.name, got, test.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		sameBlob(t, made.GetKeyBytes(), made.GetKey())
		if len(made.GetKeyBytes()) != test.size || len(made.GetCheckSum()) != 7 {
			t.Errorf("%s: a blob of %d bytes, want %d; a check sum of %d", test.name, len(made.GetKeyBytes()), test.size, len(made.GetCheckSum()))
		}
	}
}

// The key itself is taken out of the card to compare.
func TestCheckSumIsCheckValueAndBits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	made, err := b.generate(ep11.MechAESKeyGen, all().but(template{ep11.AttrValueLen: 24}))
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(b.take(made.GetKeyBytes()))
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 16)
	block.Encrypt(zeros, zeros)
	if want := append(zeros[:3], 0, 0, 0, 192); !bytes.Equal(made.GetCheckSum(), want) {
		t.Errorf("AES: %x, want %x", made.GetCheckSum(), want)
	}
	secret := []byte("sixteen bytes or")
	r, err := b.bring(secret, template{ep11.AttrClass: ep11.ClassSecretKey, ep11.AttrKeyType: ep11.KeyTypeGenericSecret})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(secret)
	if want := append(sum[:3:3], 0, 0, 0, 128); !bytes.Equal(r.GetCheckSum(), want) {
		t.Errorf("generic secret: %x, want %x", r.GetCheckSum(), want)
	}
}

func TestTripleDESKeysHaveOddParity(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	made, err := b.generate(ep11.MechDES3KeyGen, all())
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string][]byte{"made": made.GetKeyBytes(), "imported": b.bringSecret(ep11.KeyTypeDES3, []byte("a key of 24 bytes, clear"))} {
		for _, octet := range b.take(key) {
			if bits.OnesCount8(octet)%2 != 1 {
				t.Errorf("%s: 0x%02x", name, octet)
			}
		}
	}
}

// The attribute words of published blobs of cards, each with the template that was given.
func TestAttributesAsOnCards(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	made := func(mechanism uint64, of template) []byte {
		r, err := b.generate(mechanism, of)
		if err != nil {
			t.Fatal(err)
		}
		return r.GetKeyBytes()
	}
	brought := func(keyType int64, of template) []byte {
		plain := make([]byte, 32)
		if keyType == ep11.KeyTypeEC {
			plain, _ = testCurves[2].outside(t)
			plain = pkcs8(ep11.CurveP256, plain, nil)
		}
		r, err := b.bring(plain, of.but(template{ep11.AttrKeyType: keyType}))
		if err != nil {
			t.Fatal(err)
		}
		return r.GetUnwrappedBytes()
	}
	derived := func(of template) []byte {
		of = of.but(template{ep11.AttrKeyType: ep11.KeyTypeEC, ep11.AttrValueLen: 0, ep11.AttrECParams: ep11.CurveSecp256k1})
		r, err := b.derive(btc(pb.BTCDeriveParm_CkSLIP0010MASTERK, 0, nil), b.bringSecret(ep11.KeyTypeGenericSecret, make([]byte, 32)), of)
		if err != nil {
			t.Fatal(err)
		}
		return r.GetNewKeyBytes()
	}
	crypts := template{ep11.AttrValueLen: 32, ep11.AttrEncrypt: true, ep11.AttrDecrypt: true, ep11.AttrWrap: true, ep11.AttrUnwrap: true}
	seed := template{ep11.AttrSign: true, ep11.AttrVerify: true, ep11.AttrDerive: true, ep11.AttrIBMUseAsData: true}
	child := template{ep11.AttrVerify: true, ep11.AttrDerive: true, ep11.AttrIBMUseAsData: true}
	kept := template{ep11.AttrExtractable: false}
	wraps := template{ep11.AttrWrap: true, ep11.AttrUnwrap: true}
	for _, test := range []struct {
		name string
		blob []byte
		want uint64
	}{
		{"AES, UNWRAP denied", made(ep11.MechAESKeyGen, template{ep11.AttrValueLen: 32, ep11.AttrUnwrap: false, ep11.AttrEncrypt: true}), 0x408d25},
		{"AES", made(ep11.MechAESKeyGen, crypts), 0x40ed25},
		{"AES, not extractable", made(ep11.MechAESKeyGen, crypts.but(kept)), 0x00ed26},
		{"generic secret, unwrapped", brought(ep11.KeyTypeGenericSecret, seed), 0x009185},
		{"generic secret, unwrapped, that wraps", brought(ep11.KeyTypeGenericSecret, seed.but(wraps)), 0x009185},
		{"derived", derived(child), 0x009d85},
		{"EC, unwrapped", brought(ep11.KeyTypeEC, template{ep11.AttrSign: true}.but(kept)), 0x104},

		// Not published; what follows from the rules.
		{"AES, ENCRYPT and SIGN denied", made(ep11.MechAESKeyGen, template{ep11.AttrValueLen: 16, ep11.AttrEncrypt: false, ep11.AttrSign: false}), 0x408425},
		{"generic secret", made(ep11.MechGenericSecretKeyGen, seed.but(wraps).but(template{ep11.AttrValueLen: 32})), 0x4091a5},
		{"triple DES", made(ep11.MechDES3KeyGen, wraps), 0x406025},
		{"generic secret, unwrapped, not extractable", brought(ep11.KeyTypeGenericSecret, seed.but(kept)), 0x009184},
		{"EC, unwrapped, extractable", brought(ep11.KeyTypeEC, template{ep11.AttrSign: true}), 0x105},
		{"AES, unwrapped", brought(ep11.KeyTypeAES, wraps), 0x6005},
		{"derived, not extractable", derived(child.but(kept)), 0x009d84},
	} {
		if got := binary.BigEndian.Uint64(test.blob[48:]); got != test.want {
			t.Errorf("%s: 0x%06x, want 0x%06x", test.name, got, test.want)
		}
	}
}

// A generic secret never wraps, not even when it is asked to later.
func TestGenericSecretsDoNotWrap(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	secret := b.bringSecret(ep11.KeyTypeGenericSecret, make([]byte, 32))
	r, err := b.SetAttributeValue(t.Context(), &pb.SetAttributeValueRequest{
		Object: secret, Attributes: template{ep11.AttrWrap: true, ep11.AttrUnwrap: true, ep11.AttrVerify: false}.attributes(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if was, is := binary.BigEndian.Uint64(secret[48:]), binary.BigEndian.Uint64(r.GetObject()[48:]); is != was&^ep11.BlobVerify {
		t.Errorf("0x%06x, it was 0x%06x", is, was)
	}
}
