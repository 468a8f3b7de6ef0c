package grep11_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"pawl/signer/grep11"
	"pawl/tezos"
)

// The constant heads of SubjectPublicKeyInfos as EP11 writes them for each curve, taken from
// public keys of real cards. The first is not the form of RFC 8410.
const (
	headEd25519   = "3033300e06072a8648ce3d020106032b6570032100"
	headSecp256k1 = "3056301006072a8648ce3d020106052b8104000a034200"
	headP256      = "3059301306072a8648ce3d020106082a8648ce3d030107034200"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// trailer returns what follows the SubjectPublicKeyInfo in a public key blob: six OCTET
// STRINGs of 16, 32, 8, 8, 20 and 32 bytes, which are 128 bytes with their heads.
func trailer() []byte {
	var out []byte
	for _, size := range []int{16, 32, 8, 8, 20, 32} {
		out = append(append(out, 4, byte(size)), bytes.Repeat([]byte{0xa5}, size)...)
	}
	return out
}

func spki(t *testing.T, head string, point []byte) []byte {
	t.Helper()
	return append(unhex(t, head), point...)
}

// A P-256 point with its compressed form, from RFC 6979 section A.2.5.
const (
	p256X = "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
	p256Y = "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)

// The generator of secp256k1, SEC 2 section 2.4.1, and its negative.
const (
	secpX    = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
	secpY    = "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
	secpNegY = "b7c52588d95c3b9aa25b0403f1eef75702e84bb7597aabe663b82f6f04ef2777"
)

// The public key of RFC 8032 section 7.1, test 1.
const ed25519Public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

func TestPublicKeyFormats(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		der, raw string
		kind     tezos.KeyKind
	}{
		"Ed25519":         {headEd25519 + ed25519Public, ed25519Public, tezos.Ed25519},
		"Ed25519 RFC8410": {"302a300506032b6570032100" + ed25519Public, ed25519Public, tezos.Ed25519},
		"secp256k1 even":  {headSecp256k1 + "04" + secpX + secpY, "02" + secpX, tezos.Secp256k1},
		"secp256k1 odd":   {headSecp256k1 + "04" + secpX + secpNegY, "03" + secpX, tezos.Secp256k1},
		"P-256 odd":       {headP256 + "04" + p256X + p256Y, "03" + p256X, tezos.P256},
	}
	for name, test := range tests {
		der := unhex(t, test.der)
		for form, input := range map[string][]byte{"alone": der, "with trailer": append(bytes.Clone(der), trailer()...)} {
			key, got, err := grep11.ParseSPKI(input)
			if err != nil {
				t.Errorf("%s, %s: %v", name, form, err)
				continue
			}
			if key.Kind() != test.kind || hex.EncodeToString(key.Bytes()) != test.raw {
				t.Errorf("%s, %s: %v key %x, want %v %s", name, form, key.Kind(), key.Bytes(), test.kind, test.raw)
			}
			if !bytes.Equal(got, der) {
				t.Errorf("%s, %s: SubjectPublicKeyInfo %x, want %x", name, form, got, der)
			}
		}
	}
}

// The sizes of public key blobs of real cards.
func TestSizesOfPublicKeyBlobs(t *testing.T) {
	t.Parallel()
	for head, want := range map[string]int{headEd25519: 181, headSecp256k1: 216} {
		point := 65
		if head == headEd25519 {
			point = 32
		}
		if got := len(head)/2 + point + len(trailer()); got != want {
			t.Errorf("%s: %d bytes, cards give %d", head, got, want)
		}
	}
}

func TestRandomPublicKeysAgreeWithGo(t *testing.T) {
	t.Parallel()
	for range 20 {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(private.Public())
		if err != nil {
			t.Fatal(err)
		}
		key, _, err := grep11.ParseSPKI(der)
		want := elliptic.MarshalCompressed(elliptic.P256(), private.X, private.Y)
		if err != nil || !bytes.Equal(key.Bytes(), want) {
			t.Errorf("%x: got %x, want %x, %v", der, key.Bytes(), want, err)
		}
		secp, err := secp256k1.GeneratePrivateKey()
		if err != nil {
			t.Fatal(err)
		}
		der = spki(t, headSecp256k1, secp.PubKey().SerializeUncompressed())
		key, _, err = grep11.ParseSPKI(der)
		if err != nil || !bytes.Equal(key.Bytes(), secp.PubKey().SerializeCompressed()) {
			t.Errorf("%x: got %x, %v", der, key.Bytes(), err)
		}
		public, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		key, _, err = grep11.ParseSPKI(spki(t, headEd25519, public))
		if err != nil || !bytes.Equal(key.Bytes(), public) {
			t.Errorf("%x: got %x, %v", public, key.Bytes(), err)
		}
	}
}

func TestBadPublicKeyIsRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"empty":                   "",
		"cut":                     headEd25519 + ed25519Public[:62],
		"trailing byte":           headEd25519 + ed25519Public + "00",
		"trailing integer":        headEd25519 + ed25519Public + "020101",
		"trailer cut":             headEd25519 + ed25519Public + "0410aabb",
		"unknown curve":           "3059301306072a8648ce3d020106082a8648ce3d030101034200" + "04" + p256X + p256Y,
		"curve of another size":   headSecp256k1 + "04" + p256X + p256Y,
		"off the curve P-256":     headP256 + "04" + p256X + p256X,
		"off the curve secp256k1": headSecp256k1 + "04" + secpX + secpX,
		"wrong Y P-256":           headP256 + "04" + p256X + p256Y[:63] + "8",
		"compressed point":        "303930130607" + "2a8648ce3d020106082a8648ce3d030107032200" + "03" + p256X,
		"hybrid point P-256":      headP256 + "07" + p256X + p256Y,
		"hybrid point secp256k1":  headSecp256k1 + "06" + secpX + secpY,
		"Ed25519 of 31 bytes":     "3032300e06072a8648ce3d020106032b6570032000" + ed25519Public[:62],
		"unused bits":             "3033300e06072a8648ce3d020106032b6570032101" + ed25519Public,
		"second key inside": "3057300e06072a8648ce3d020106032b6570032100" + ed25519Public + "032200" + "02" +
			ed25519Public,
		"indefinite length":       "3080300e06072a8648ce3d020106032b6570032100" + ed25519Public + "0000",
		"long form of the length": "308133300e06072a8648ce3d020106032b6570032100" + ed25519Public,
		"an octet string":         "0433300e06072a8648ce3d020106032b6570032100" + ed25519Public,
		"RSA":                     "301d300d06092a864886f70d0101010500030c003009020401000001020103",
	}
	for name, text := range tests {
		key, rest, err := grep11.ParseSPKI(unhex(t, text))
		if err == nil || rest != nil || key != (tezos.PublicKey{}) {
			t.Errorf("%s: %s gave %v, %x, %v", name, text, key, rest, err)
			continue
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error of several lines: %q", name, err)
		}
	}
}

func FuzzParseSPKI(f *testing.F) {
	for _, seed := range []string{
		headEd25519 + ed25519Public, headSecp256k1 + "04" + secpX + secpY, headP256 + "04" + p256X + p256Y,
		"302a300506032b6570032100" + ed25519Public, headP256 + "04" + p256X + p256X,
	} {
		f.Add(unhex(f, seed))
		f.Add(append(unhex(f, seed), trailer()...))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		key, info, err := grep11.ParseSPKI(der)
		if err != nil {
			if info != nil || key != (tezos.PublicKey{}) {
				t.Fatalf("%x: %v, but also %v, %x", der, err, key, info)
			}
			return
		}
		if !bytes.HasPrefix(der, info) {
			t.Fatalf("%x: %x is not its head", der, info)
		}
		again, same, err := grep11.ParseSPKI(info)
		if err != nil || again != key || !bytes.Equal(same, info) {
			t.Fatalf("%x: read again: %v, %x, %v", info, again, same, err)
		}
		if _, err := tezos.NewPublicKey(key.Kind(), key.Bytes()); err != nil {
			t.Fatalf("%x: %v", der, err)
		}
	})
}
