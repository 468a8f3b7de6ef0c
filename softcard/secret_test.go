package softcard_test

import (
	"bytes"
	"crypto/aes"
	"crypto/sha1"
	"encoding/binary"
	"math/bits"
	"testing"

	"pawl/signer/grep11"
)

func TestGenerateKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, test := range []struct {
		name string
		mech uint64
		t    template
		want grep11.Code // 0: made
		size int         // of the blob
	}{
		{"AES-128", grep11.MechAESKeyGen, template{grep11.AttrValueLen: 16, grep11.AttrEncrypt: true}, 0, 256},
		{"AES-192", grep11.MechAESKeyGen, template{grep11.AttrValueLen: 24}, 0, 256},
		{"AES-256 with class and type", grep11.MechAESKeyGen, template{
			grep11.AttrValueLen: 32, grep11.AttrClass: grep11.ClassSecretKey, grep11.AttrKeyType: grep11.KeyTypeAES, grep11.AttrToken: true,
		}, 0, 256},
		{"generic secret", grep11.MechGenericSecretKeyGen, template{grep11.AttrValueLen: 32, grep11.AttrKeyType: grep11.KeyTypeGenericSecret}, 0, 448},
		{"long generic secret", grep11.MechGenericSecretKeyGen, template{grep11.AttrValueLen: 256}, 0, 448},
		{"triple DES of any length", grep11.MechDES3KeyGen, template{grep11.AttrValueLen: 32}, 0, 256},
		{"triple DES", grep11.MechDES3KeyGen, template{}, 0, 256},
		{"no length", grep11.MechAESKeyGen, template{grep11.AttrEncrypt: true}, grep11.CodeTemplateIncomplete, 0},
		{"no length of a generic secret", grep11.MechGenericSecretKeyGen, template{}, grep11.CodeTemplateIncomplete, 0},
		{"AES of 20 bytes", grep11.MechAESKeyGen, template{grep11.AttrValueLen: 20}, grep11.CodeKeySizeRange, 0},
		{"empty generic secret", grep11.MechGenericSecretKeyGen, template{grep11.AttrValueLen: 0}, grep11.CodeKeySizeRange, 0},
		{"huge generic secret", grep11.MechGenericSecretKeyGen, template{grep11.AttrValueLen: 257}, grep11.CodeKeySizeRange, 0},
		{"another class", grep11.MechAESKeyGen, template{grep11.AttrValueLen: 32, grep11.AttrClass: grep11.ClassPrivateKey}, grep11.CodeTemplateInconsistent, 0},
		{"another type", grep11.MechAESKeyGen, template{grep11.AttrValueLen: 32, grep11.AttrKeyType: grep11.KeyTypeEC}, grep11.CodeTemplateInconsistent, 0},
		{"not sensitive", grep11.MechAESKeyGen, template{grep11.AttrValueLen: 32, grep11.AttrSensitive: false}, grep11.CodeTemplateInconsistent, 0},
		{"a curve", grep11.MechAESKeyGen, template{grep11.AttrValueLen: 32, grep11.AttrECParams: grep11.CurveP256}, grep11.CodeAttributeTypeInvalid, 0},
		{"negative length", grep11.MechAESKeyGen, template{grep11.AttrValueLen: -1}, grep11.CodeAttributeValueInvalid, 0},
		{"a length in bytes", grep11.MechAESKeyGen, template{grep11.AttrValueLen: "\x20"}, grep11.CodeAttributeValueInvalid, 0},
		{"a value", grep11.MechAESKeyGen, template{grep11.AttrValueLen: 16, grep11.AttrValue: "0123456789abcdef"}, grep11.CodeAttributeReadOnly, 0},
		{"a mechanism that makes none", grep11.MechAESCBC, template{grep11.AttrValueLen: 32}, grep11.CodeMechanismInvalid, 0},
		{"DSA parameters without length", grep11.MechDSAParameterGen, template{}, grep11.CodeTemplateIncomplete, 0},
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

// TestCheckSumIsCheckValueAndBits compares with the key itself, taken out of the card.
func TestCheckSumIsCheckValueAndBits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	made, err := b.generate(grep11.MechAESKeyGen, all().but(template{grep11.AttrValueLen: 24}))
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
	r, err := b.bring(secret, template{grep11.AttrClass: grep11.ClassSecretKey, grep11.AttrKeyType: grep11.KeyTypeGenericSecret})
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
	made, err := b.generate(grep11.MechDES3KeyGen, all())
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string][]byte{"made": made.GetKeyBytes(), "imported": b.bringSecret(grep11.KeyTypeDES3, []byte("a key of 24 bytes, clear"))} {
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
	made, err := b.generate(grep11.MechAESKeyGen, template{grep11.AttrValueLen: 32, grep11.AttrWrap: true})
	if err != nil || header(made.GetKeyBytes()) != 0x404026 {
		t.Errorf("generated: 0x%x, want 0x404026: %v", header(made.GetKeyBytes()), err)
	}
	brought, err := b.bring(make([]byte, 32), template{grep11.AttrClass: grep11.ClassSecretKey, grep11.AttrKeyType: grep11.KeyTypeAES, grep11.AttrSign: true})
	if err != nil || header(brought.GetUnwrappedBytes()) != 0x104 {
		t.Errorf("imported: 0x%x, want 0x104 as on cards: %v", header(brought.GetUnwrappedBytes()), err)
	}
}
