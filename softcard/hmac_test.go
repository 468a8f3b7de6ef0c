package softcard_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"encoding/hex"
	"testing"

	"pawl/internal/ep11"
	"pawl/softcard/cardtest"
)

// RFC 4231 sections 4.2, 4.3 and 4.7, and RFC 2202 section 3 case 1; the last key is longer than a block.
var hmacVectors = []struct {
	name string
	mech uint64
	key  string
	data string
	want string
}{
	{"RFC 2202 3.1", ep11.MechSHA1HMAC, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"},
	{"RFC 4231 4.2", ep11.MechSHA224HMAC, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "Hi There", "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22"},
	{"RFC 4231 4.2", ep11.MechSHA256HMAC, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
	{"RFC 4231 4.2", ep11.MechSHA512HMAC, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "Hi There", "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"},
	{"RFC 4231 4.3", ep11.MechSHA384HMAC, "4a656665", "what do ya want for nothing?", "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"},
	{"RFC 4231 4.7", ep11.MechSHA256HMAC, "", "Test Using Larger Than Block-Size Key - Hash Key First", "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
	{"RFC 4231 4.7", ep11.MechSHA512HMAC, "", "Test Using Larger Than Block-Size Key - Hash Key First", "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"},
}

func TestHMACVectors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := cardtest.Client(t, b.card)
	for _, test := range hmacVectors {
		secret := unhex(t, test.key)
		if len(secret) == 0 {
			secret = bytes.Repeat([]byte{0xaa}, 131)
		}
		key := b.bringSecret(ep11.KeyTypeGenericSecret, secret)
		parts := [][]byte{[]byte(test.data[:3]), []byte(test.data[3:])}
		for name, flow := range flows {
			got, err := flow.sign(t.Context(), c, mech(test.mech), key, parts)
			if err != nil || hex.EncodeToString(got) != test.want {
				t.Errorf("%s, 0x%x, %s: %x, want %s: %v", test.name, test.mech, name, got, test.want, err)
				continue
			}
			if err := flow.verify(t.Context(), c, mech(test.mech), key, parts, got); err != nil {
				t.Errorf("%s, 0x%x, %s: %v", test.name, test.mech, name, err)
			}
			wantCode(t, flow.verify(t.Context(), c, mech(test.mech), key, parts, flipped(got, 0)), ep11.CodeSignatureInvalid)
			wantCode(t, flow.verify(t.Context(), c, mech(test.mech), key, parts, got[1:]), ep11.CodeSignatureLenRange)
		}
	}
}

// The reference is crypto/hmac. The card has an HMAC of its own, which can continue from a
// State.
func TestHMACOfEachHash(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := cardtest.Client(t, b.card)
	parts := [][]byte{[]byte("This data "), bytes.Repeat([]byte("needs to be signed"), 20)}
	for _, secret := range [][]byte{bytes.Repeat([]byte{3}, 32), bytes.Repeat([]byte{4}, 200)} {
		key := b.bringSecret(ep11.KeyTypeGenericSecret, secret)
		for id, hash := range map[uint64]crypto.Hash{
			ep11.MechSHA512T224HMAC: crypto.SHA512_224, ep11.MechSHA512T256HMAC: crypto.SHA512_256,
			ep11.MechIBMSHA512T224HMAC: crypto.SHA512_224, ep11.MechIBMSHA512T256HMAC: crypto.SHA512_256,
			ep11.MechIBMSHA3T224HMAC: crypto.SHA3_224, ep11.MechIBMSHA3T256HMAC: crypto.SHA3_256,
			ep11.MechIBMSHA3T384HMAC: crypto.SHA3_384, ep11.MechIBMSHA3T512HMAC: crypto.SHA3_512,
		} {
			h := hmac.New(hash.New, secret)
			h.Write(bytes.Join(parts, nil))
			want := h.Sum(nil)
			for name, flow := range flows {
				got, err := flow.sign(t.Context(), c, mech(id), key, parts)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("0x%x, %s: %x, want %x: %v", id, name, got, want, err)
				}
				if err := flow.verify(t.Context(), c, mech(id), key, parts, want); err != nil {
					t.Errorf("0x%x, %s: %v", id, name, err)
				}
			}
		}
	}
}

func TestHMACWithAESKeysAndUsages(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	signs := b.aes(32, template{ep11.AttrVerify: false})
	verifies := b.aes(32, template{ep11.AttrSign: false})
	des3, err := b.generate(ep11.MechDES3KeyGen, all())
	if err != nil {
		t.Fatal(err)
	}
	sign := func(key []byte) error {
		_, err := b.sign(mech(ep11.MechSHA256HMAC), key, []byte("data"))
		return err
	}
	verify := func(key []byte) error {
		return b.verify(mech(ep11.MechSHA256HMAC), key, []byte("data"), make([]byte, 32))
	}
	if err := sign(signs); err != nil {
		t.Error(err)
	}
	wantCode(t, verify(signs), ep11.CodeKeyFunctionNotPermitted)
	wantCode(t, sign(verifies), ep11.CodeKeyFunctionNotPermitted)
	wantCode(t, verify(verifies), ep11.CodeSignatureInvalid)
	wantCode(t, sign(des3.GetKeyBytes()), ep11.CodeKeyTypeInconsistent)
	wantCode(t, verify(des3.GetKeyBytes()), ep11.CodeKeyTypeInconsistent)
	pair := testCurves[2].pair(t, direct(b.card))
	wantCode(t, sign(pair.GetPrivKeyBytes()), ep11.CodeKeyTypeInconsistent)
	wantCode(t, verify(pair.GetPubKeyBytes()), ep11.CodeKeyTypeInconsistent)
	_, err = b.sign(mech(ep11.MechECDSA), signs, make([]byte, 32))
	wantCode(t, err, ep11.CodeKeyTypeInconsistent)
}
