package softcard_test

import (
	"bytes"
	"crypto/aes"
	"crypto/sha1"
	"encoding/binary"
	"math/bits"
	"testing"

	"pawl/internal/ep11"
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

func TestHeadersTellWhereAKeyIsFrom(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	header := func(blob []byte) uint64 { return binary.BigEndian.Uint64(blob[48:]) }
	made, err := b.generate(ep11.MechAESKeyGen, template{ep11.AttrValueLen: 32, ep11.AttrWrap: true})
	if err != nil || header(made.GetKeyBytes()) != 0x404026 {
		t.Errorf("generated: 0x%x, want 0x404026: %v", header(made.GetKeyBytes()), err)
	}
	brought, err := b.bring(make([]byte, 32), template{ep11.AttrClass: ep11.ClassSecretKey, ep11.AttrKeyType: ep11.KeyTypeAES, ep11.AttrSign: true})
	if err != nil || header(brought.GetUnwrappedBytes()) != 0x104 {
		t.Errorf("imported: 0x%x, want 0x104 as on cards: %v", header(brought.GetUnwrappedBytes()), err)
	}
}
