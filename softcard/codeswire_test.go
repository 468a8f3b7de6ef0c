package softcard_test

import (
	"bytes"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
)

// A client of the second generation provokes, over a connection, the refusals that clients
// tell apart. CKR_IBM_BLOBKEY_CONFLICT, CKR_IBM_WK_NOT_INITIALIZED and
// CKR_FUNCTION_NOT_SUPPORTED need more than one request and have tests of their own.
func TestCodesOverTheWire(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	c := cardtest.Client(t, card)
	pair := testCurves[2].pair(t, over(c))
	foreign := testCurves[2].pair(t, direct(cardtest.New(t, 2)))
	mute, err := over(c)(pairRequest(t, testCurves[2].public(), template{ep11.AttrDerive: true}))
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.GenerateKey(t.Context(), &pb.GenerateKeyRequest{
		Mech: mech(ep11.MechAESKeyGen), Template: all().but(template{ep11.AttrValueLen: 32, ep11.AttrExtractable: false}).attributes(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	aes, data := made.GetKey(), bytes.Repeat([]byte{5}, 32)
	sign := func(m *pb.Mechanism, key *pb.KeyBlob) error {
		_, err := c.SignSingle(t.Context(), &pb.SignSingleRequest{Mech: m, PrivKey: key, Data: data})
		return err
	}
	verify := func(signature []byte) error {
		_, err := c.VerifySingle(t.Context(), &pb.VerifySingleRequest{Mech: mech(ep11.MechECDSA), PubKey: pair.GetPubKey(), Data: data, Signature: signature})
		return err
	}
	generate := func(public template) error {
		_, err := over(c)(pairRequest(t, public, private()))
		return err
	}
	encrypted := func(iv []byte) error {
		_, err := c.EncryptSingle(t.Context(), &pb.EncryptSingleRequest{Mech: withIV(ep11.MechAESCBCPad, iv), Key: aes, Plain: data})
		return err
	}
	wrapped := func(key *pb.KeyBlob) error {
		_, err := c.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: withIV(ep11.MechAESCBCPad, zeroIV), KeK: aes, Key: key})
		return err
	}
	unwrapped := func(bytes []byte) error {
		_, err := c.UnwrapKey(t.Context(), &pb.UnwrapKeyRequest{
			Mech: withIV(ep11.MechAESCBCPad, zeroIV), KeK: aes, Wrapped: bytes,
			Template: template{ep11.AttrKeyType: ep11.KeyTypeEC, ep11.AttrSign: true}.attributes(t),
		})
		return err
	}
	_, state := c.Sign(t.Context(), &pb.SignRequest{State: []byte("no state"), Data: data})
	for _, test := range []struct {
		code ep11.Code
		when string
		err  error
	}{
		{0x80010004, "a blob is damaged", sign(mech(ep11.MechECDSA), keyBlob(flipped(pair.GetPrivKeyBytes(), 100)))},
		{0x80010001, "a blob is another master key's", sign(mech(ep11.MechECDSA), foreign.GetPrivKey())},
		{0x70, "the card has not the mechanism", sign(mech(0x80010023), pair.GetPrivKey())},
		{0x71, "an initialisation vector is short", encrypted(zeroIV[:8])},
		{0x140, "the curve is Brainpool's", generate(template{ep11.AttrECParams: "\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x07"})},
		{0xc0, "the signature is another's", verify(bytes.Repeat([]byte{7}, 64))},
		{0xc1, "the signature is short", verify(make([]byte, 63))},
		{0xd0, "no curve is given", generate(template{ep11.AttrVerify: true})},
		{0xd1, "the class is the private key's", generate(testCurves[2].public().but(template{ep11.AttrClass: ep11.ClassPrivateKey}))},
		{0x68, "the key is not for it", sign(mech(ep11.MechECDSA), mute.GetPrivKey())},
		{0x6a, "the key must not leave", wrapped(aes)},
		{0x110, "what is unwrapped is no key", unwrapped(make([]byte, 48))},
		{0x160, "the state is none", state},
	} {
		if got := codeOf(t, test.err); got != test.code {
			t.Errorf("%s: %v, want %v (%v)", test.when, got, test.code, test.err)
		}
	}
}
