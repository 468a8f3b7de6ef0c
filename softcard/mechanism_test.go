package softcard_test

import (
	"bytes"
	"slices"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
)

func TestMechanismList(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	list, err := c.GetMechanismList(t.Context(), &pb.GetMechanismListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := []uint64{
		0x1, 0x9, 0x0, 0x6, 0x46, 0x40, 0x41, 0x42, 0xd, 0xe, 0x47, 0x43, 0x44, 0x45, // RSA
		0x2000, 0x10, 0x11, 0x12, 0x2001, 0x20, 0x21, // DSA and Diffie-Hellman
		0x1080, 0x1081, 0x1082, 0x1085, 0x131, 0x132, 0x133, 0x136, 0x350, // AES, triple DES, generic secrets
		0x220, 0x255, 0x250, 0x260, 0x270, 0x48, 0x4c, 0x80010013, 0x80010012, 0x80010001, 0x80010002, 0x80010003, 0x80010004, // digests
		0x221, 0x256, 0x251, 0x261, 0x271, 0x49, 0x4d, 0x80010015, 0x80010014, 0x80010025, 0x80010026, 0x80010027, 0x80010028, // HMAC
		0x1040, 0x1041, 0x1042, 0x1043, 0x1044, 0x1045, 0x1046, 0x80010008, 0x80010009, 0x8001000a, 0x8001000b, 0x1050, 0x8001001c, 0x80010031, // EC
		0x80020004, 0x80070001,
	}
	if !slices.Equal(list.GetMechs(), want) {
		t.Errorf("mechanisms %x, want %x", list.GetMechs(), want)
	}
	for _, test := range []struct{ mech, low, high, flags uint64 }{
		{ep11.MechRSAPKCS, 512, 4096, 0x62b00},
		{ep11.MechAESCBCPad, 16, 32, 0x60300},
		{ep11.MechAESKeyGen, 16, 32, 0x8000},
		{ep11.MechDES3CBC, 24, 24, 0x60300},
		{ep11.MechSHA256, 0, 0, 0x400},
		{ep11.MechSHA512HMAC, 8, 2048, 0x2800},
		{ep11.MechECKeyPairGen, 224, 521, 0x1910000},
		{ep11.MechECDSA, 224, 521, 0x1902800},
		{ep11.MechIBMEd25519SHA512, 256, 256, 0x1902800},
		{ep11.MechIBMECDSAOther, 256, 256, 0x1902800},
		{ep11.MechIBMBTCDerive, 256, 256, 0x1980000},
		{ep11.MechIBMAttrBoundWrap, 0, 0, 0x60000},
	} {
		r, err := c.GetMechanismInfo(t.Context(), &pb.GetMechanismInfoRequest{Mech: test.mech})
		info := r.GetMechInfo()
		if err != nil || info.GetMinKeySize() != test.low || info.GetMaxKeySize() != test.high || info.GetFlags() != test.flags {
			t.Errorf("mechanism 0x%x: %v, %v", test.mech, info, err)
		}
	}
	_, err = c.GetMechanismInfo(t.Context(), &pb.GetMechanismInfoRequest{Mech: ep11.MechIBMTransportKey}) // served, but not listed
	wantCode(t, err, ep11.CodeMechanismInvalid)
}

// What the card does not have, each call says with the code that IBM's clients look for.
func TestPostQuantumMechanismsAreInvalid(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pair := b.ecPair(testCurves[2], private())
	for name, id := range map[string]uint64{
		"CKM_IBM_DILITHIUM": 0x80010023, "CKM_IBM_KYBER": 0x80010024, "CKM_IBM_ML_DSA_KEY_PAIR_GEN": 0x80010035,
		"CKM_IBM_ML_DSA": 0x80010036, "CKM_IBM_ML_KEM_KEY_PAIR_GEN": 0x80010037, "CKM_IBM_ML_KEM": 0x80010038,
	} {
		m, errs := mech(id), map[string]error{}
		_, errs["GetMechanismInfo"] = b.GetMechanismInfo(t.Context(), &pb.GetMechanismInfoRequest{Mech: id})
		_, errs["GenerateKeyPair"] = b.GenerateKeyPair(t.Context(), &pb.GenerateKeyPairRequest{
			Mech: m, PubKeyTemplate: template{0x80010010: 1, ep11.AttrVerify: true}.attributes(t), // CKA_IBM_PARAMETER_SET
		})
		_, errs["SignSingle"] = b.sign(m, pair.GetPrivKeyBytes(), []byte("data"))
		_, errs["SignInit"] = b.SignInit(t.Context(), &pb.SignInitRequest{Mech: m, PrivKeyBytes: pair.GetPrivKeyBytes()})
		errs["VerifySingle"] = b.verify(m, pair.GetPubKeyBytes(), []byte("data"), nil)
		_, errs["DeriveKey"] = b.derive(m, pair.GetPrivKeyBytes(), nil)
		_, errs["EncryptSingle"] = b.EncryptSingle(t.Context(), &pb.EncryptSingleRequest{Mech: m, KeyBytes: b.kek})
		for call, err := range errs {
			if got := codeOf(t, err); got != ep11.CodeMechanismInvalid {
				t.Errorf("%s, %s: %v", name, call, got)
			}
		}
	}
}

func TestGenerateRandom(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	for _, n := range []uint64{1, 32, 1 << 20} {
		r, err := c.GenerateRandom(t.Context(), &pb.GenerateRandomRequest{Len: n})
		if err != nil || uint64(len(r.GetRnd())) != n {
			t.Errorf("%d bytes: got %d, %v", n, len(r.GetRnd()), err)
		}
	}
	one, err := c.GenerateRandom(t.Context(), &pb.GenerateRandomRequest{Len: 32})
	two, err2 := c.GenerateRandom(t.Context(), &pb.GenerateRandomRequest{Len: 32})
	if err != nil || err2 != nil || bytes.Equal(one.GetRnd(), two.GetRnd()) {
		t.Errorf("twice the same: %x", one.GetRnd())
	}
	for _, n := range []uint64{0, 1<<20 + 1, 1 << 63} {
		_, err := c.GenerateRandom(t.Context(), &pb.GenerateRandomRequest{Len: n})
		wantCode(t, err, ep11.CodeArgumentsBad)
	}
}
