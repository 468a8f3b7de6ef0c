package softcard_test

import (
	"bytes"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// What was begun in parts ends with Final. The call that takes all data at once is refused, and the
// State can go on.
func TestPartsAreNotEndedAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx, data := t.Context(), bytes.Repeat([]byte{7}, 32)
	pair, m, pad := b.ecPair(testCurves[2], private()), mech(ep11.MechECDSASHA256), withIV(ep11.MechAESCBCPad, zeroIV)
	signing, err := b.SignInit(ctx, &pb.SignInitRequest{Mech: m, PrivKeyBytes: pair.GetPrivKeyBytes()})
	if err != nil {
		t.Fatal(err)
	}
	verifying, err := b.VerifyInit(ctx, &pb.VerifyInitRequest{Mech: m, PubKeyBytes: pair.GetPubKeyBytes()})
	if err != nil {
		t.Fatal(err)
	}
	digesting, err := b.DigestInit(ctx, &pb.DigestInitRequest{Mech: mech(ep11.MechSHA256)})
	if err != nil {
		t.Fatal(err)
	}
	encrypting, err := b.EncryptInit(ctx, &pb.EncryptInitRequest{Mech: pad, KeyBytes: b.kek})
	if err != nil {
		t.Fatal(err)
	}
	decrypting, err := b.DecryptInit(ctx, &pb.DecryptInitRequest{Mech: pad, KeyBytes: b.kek})
	if err != nil {
		t.Fatal(err)
	}
	signed, err1 := b.SignUpdate(ctx, &pb.SignUpdateRequest{State: signing.GetState(), Data: data})
	verified, err2 := b.VerifyUpdate(ctx, &pb.VerifyUpdateRequest{State: verifying.GetState(), Data: data})
	digested, err3 := b.DigestUpdate(ctx, &pb.DigestUpdateRequest{State: digesting.GetState(), Data: data})
	keyed, err4 := b.DigestKey(ctx, &pb.DigestKeyRequest{State: digesting.GetState(), KeyBytes: b.kek})
	encrypted, err5 := b.EncryptUpdate(ctx, &pb.EncryptUpdateRequest{State: encrypting.GetState(), Plain: data})
	decrypted, err6 := b.DecryptUpdate(ctx, &pb.DecryptUpdateRequest{State: decrypting.GetState(), Ciphered: b.encrypt(pad, b.kek, data)})
	for i, err := range []error{err1, err2, err3, err4, err5, err6} {
		if err != nil {
			t.Fatalf("update no. %d: %v", i+1, err)
		}
	}
	errs := map[string]error{}
	_, errs["Sign"] = b.Sign(ctx, &pb.SignRequest{State: signed.GetState(), Data: data})
	_, errs["Verify"] = b.Verify(ctx, &pb.VerifyRequest{State: verified.GetState(), Data: data, Signature: make([]byte, 64)})
	_, errs["Digest"] = b.Digest(ctx, &pb.DigestRequest{State: digested.GetState(), Data: data})
	_, errs["Digest after DigestKey"] = b.Digest(ctx, &pb.DigestRequest{State: keyed.GetState(), Data: data})
	_, errs["Encrypt"] = b.Encrypt(ctx, &pb.EncryptRequest{State: encrypted.GetState(), Plain: data})
	_, errs["Decrypt"] = b.Decrypt(ctx, &pb.DecryptRequest{State: decrypted.GetState(), Ciphered: data})
	for call, err := range errs {
		if got := codeOf(t, err); got != ep11.CodeOperationActive {
			t.Errorf("%s: %v, want CKR_OPERATION_ACTIVE", call, got)
		}
	}
	last, err := b.SignFinal(ctx, &pb.SignFinalRequest{State: signed.GetState()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.VerifyFinal(ctx, &pb.VerifyFinalRequest{State: verified.GetState(), Signature: last.GetSignature()}); err != nil {
		t.Error(err)
	}
	if _, err := b.DigestFinal(ctx, &pb.DigestFinalRequest{State: digested.GetState()}); err != nil {
		t.Error(err)
	}
	if _, err := b.EncryptFinal(ctx, &pb.EncryptFinalRequest{State: encrypted.GetState()}); err != nil {
		t.Error(err)
	}
	if _, err := b.DecryptFinal(ctx, &pb.DecryptFinalRequest{State: decrypted.GetState()}); err != nil {
		t.Error(err)
	}
}

// The length of an unwrapped secret is its own, whatever the template says.
func TestUnwrappedLengthCounts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, keyType := range []int64{ep11.KeyTypeAES, ep11.KeyTypeGenericSecret} {
		for _, told := range []any{nil, 0, 16, 24, 32, 64} {
			secret := bytes.Repeat([]byte{3}, 24)
			r, err := b.bring(secret, all().but(template{ep11.AttrKeyType: keyType, ep11.AttrValueLen: told}))
			if err != nil {
				t.Errorf("type 0x%x, CKA_VALUE_LEN %v: %v", keyType, told, err)
				continue
			}
			length := r.GetUnwrapped().GetAttributes()[ep11.AttrValueLen].GetAttributeI()
			if got := b.take(r.GetUnwrappedBytes()); !bytes.Equal(got, secret) || length != 24 {
				t.Errorf("type 0x%x, CKA_VALUE_LEN %v: %x of length %d", keyType, told, got, length)
			}
		}
	}
}
