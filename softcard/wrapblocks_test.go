package softcard_test

import (
	"bytes"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// The modes without padding fill the key up with zeros; CKA_VALUE_LEN or the key type says
// where it ends.
func TestWrappingInWholeBlocks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	des3 := b.bringSecret(ep11.KeyTypeDES3, bytes.Repeat([]byte{0x01, 0x02, 0x04}, 8))
	for _, m := range []*pb.Mechanism{
		mech(ep11.MechAESECB), withIV(ep11.MechAESCBC, zeroIV), mech(ep11.MechDES3ECB), withIV(ep11.MechDES3CBC, zeroIV[:8]),
	} {
		kek, block := b.kek, 16
		if m.GetMechanism() < ep11.MechAESKeyGen {
			kek, block = des3, 8
		}
		for _, test := range []struct {
			keyType int64
			size    int
			told    any // CKA_VALUE_LEN
		}{
			{ep11.KeyTypeAES, 16, 16},
			{ep11.KeyTypeAES, 24, 24},
			{ep11.KeyTypeAES, 32, nil},
			{ep11.KeyTypeAES, 32, 24}, // another length: that of the wrapped key counts
			{ep11.KeyTypeAES, 16, 32},
			{ep11.KeyTypeDES3, 24, nil},
			{ep11.KeyTypeGenericSecret, 5, 5},
			{ep11.KeyTypeGenericSecret, 48, nil},
		} {
			secret := bytes.Repeat([]byte{0x02}, test.size)
			wrapped, err := b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: m, KeyBytes: b.bringSecret(test.keyType, secret), KeKBytes: kek})
			if err != nil {
				t.Fatalf("0x%x, type 0x%x: %v", m.GetMechanism(), test.keyType, err)
			}
			filled := append(bytes.Clone(secret), make([]byte, (block-test.size%block)%block)...)
			if got := b.decrypt(m, kek, wrapped.GetWrapped()); !bytes.Equal(got, filled) {
				t.Errorf("0x%x, type 0x%x: wrapped is %x", m.GetMechanism(), test.keyType, got)
			}
			of := all().but(template{ep11.AttrKeyType: test.keyType, ep11.AttrValueLen: test.told})
			back, err := b.UnwrapKey(t.Context(), &pb.UnwrapKeyRequest{Mech: m, KeKBytes: kek, Wrapped: wrapped.GetWrapped(), Template: of.attributes(t)})
			if err != nil {
				t.Fatalf("0x%x, type 0x%x, %d bytes: %v", m.GetMechanism(), test.keyType, test.size, err)
			}
			if got := b.take(back.GetUnwrappedBytes()); !bytes.Equal(got, secret) {
				t.Errorf("0x%x, type 0x%x: %x came back", m.GetMechanism(), test.keyType, got)
			}
		}
		open := b.ecPair(testCurves[2], private().but(template{ep11.AttrExtractable: true}))
		_, err := b.WrapKey(t.Context(), &pb.WrapKeyRequest{Mech: m, KeyBytes: open.GetPrivKeyBytes(), KeKBytes: kek})
		wantCode(t, err, ep11.CodeKeyNotWrappable)
		_, err = b.UnwrapKey(t.Context(), &pb.UnwrapKeyRequest{
			Mech: m, KeKBytes: kek, Wrapped: make([]byte, block+1), Template: template{ep11.AttrKeyType: ep11.KeyTypeAES}.attributes(t),
		})
		wantCode(t, err, ep11.CodeWrappedKeyLenRange)
		_, err = b.UnwrapKey(t.Context(), &pb.UnwrapKeyRequest{
			Mech: m, KeKBytes: kek, Wrapped: make([]byte, 48), Template: template{ep11.AttrKeyType: ep11.KeyTypeAES, ep11.AttrValueLen: 16}.attributes(t),
		})
		wantCode(t, err, ep11.CodeWrappedKeyInvalid)
	}
}
