package softcard_test

import (
	"bytes"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
)

// NIST SP 800-38A appendix F: the plaintext, and the keys of F.1 and F.2.
const (
	nistPlain = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
	nistIV    = "000102030405060708090a0b0c0d0e0f"
	nist128   = "2b7e151628aed2a6abf7158809cf4f3c"
	nist192   = "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b"
	nist256   = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
)

var nistVectors = []struct {
	name     string
	mech     uint64
	key      string
	ciphered string
}{
	{"F.1.1 ECB-AES128", ep11.MechAESECB, nist128, "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4"},
	{"F.2.1 CBC-AES128", ep11.MechAESCBC, nist128, "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"},
	{"F.2.3 CBC-AES192", ep11.MechAESCBC, nist192, "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd"},
	{"F.2.5 CBC-AES256", ep11.MechAESCBC, nist256, "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"},
}

func TestAESVectors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	plain := unhex(t, nistPlain)
	for _, test := range nistVectors {
		key := b.bringSecret(ep11.KeyTypeAES, unhex(t, test.key))
		m := mech(test.mech)
		if test.mech == ep11.MechAESCBC {
			m = withIV(test.mech, unhex(t, nistIV))
		}
		want := unhex(t, test.ciphered)
		if got := b.encrypt(m, key, plain); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", test.name, got, want)
		}
		if got := b.decrypt(m, key, want); !bytes.Equal(got, plain) {
			t.Errorf("%s, decryption: %x", test.name, got)
		}
	}
}

// cryptInParts runs data through an operation in two updates.
func (b *bench) cryptInParts(m *pb.Mechanism, key, data []byte, at int, decrypt bool) ([]byte, error) {
	b.tb.Helper()
	var out []byte
	if !decrypt {
		begun, err := b.EncryptInit(b.tb.Context(), &pb.EncryptInitRequest{Mech: m, KeyBytes: key})
		state := begun.GetState()
		for _, part := range [][]byte{data[:at], data[at:]} {
			if err != nil {
				return nil, err
			}
			var r *pb.EncryptUpdateResponse
			r, err = b.EncryptUpdate(b.tb.Context(), &pb.EncryptUpdateRequest{State: state, Plain: part})
			state, out = r.GetState(), append(out, r.GetCiphered()...)
			if len(state) > 8192 {
				b.tb.Errorf("a state of %d bytes", len(state))
			}
		}
		if err != nil {
			return nil, err
		}
		r, err := b.EncryptFinal(b.tb.Context(), &pb.EncryptFinalRequest{State: state})
		return append(out, r.GetCiphered()...), err
	}
	begun, err := b.DecryptInit(b.tb.Context(), &pb.DecryptInitRequest{Mech: m, KeyBytes: key})
	state := begun.GetState()
	for _, part := range [][]byte{data[:at], data[at:]} {
		if err != nil {
			return nil, err
		}
		var r *pb.DecryptUpdateResponse
		r, err = b.DecryptUpdate(b.tb.Context(), &pb.DecryptUpdateRequest{State: state, Ciphered: part})
		state, out = r.GetState(), append(out, r.GetPlain()...)
	}
	if err != nil {
		return nil, err
	}
	r, err := b.DecryptFinal(b.tb.Context(), &pb.DecryptFinalRequest{State: state})
	return append(out, r.GetPlain()...), err
}

// Data of each length is cut at each place.
func TestPartsAreTheWhole(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	des3, err := b.generate(ep11.MechDES3KeyGen, all())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		m     *pb.Mechanism
		key   []byte
		whole int // every length is a multiple of this
	}{
		{"AES_CBC_PAD", withIV(ep11.MechAESCBCPad, zeroIV), b.kek, 1},
		{"AES_CBC", withIV(ep11.MechAESCBC, zeroIV), b.kek, 16},
		{"AES_ECB", mech(ep11.MechAESECB), b.kek, 16},
		{"DES3_CBC_PAD", withIV(ep11.MechDES3CBCPad, make([]byte, 8)), des3.GetKeyBytes(), 1},
		{"DES3_ECB", mech(ep11.MechDES3ECB), des3.GetKeyBytes(), 8},
	} {
		for n := 0; n <= 48; n += test.whole {
			plain := bytes.Repeat([]byte{byte(n)}, n)
			ciphered := b.encrypt(test.m, test.key, plain)
			for at := range n + 1 {
				got, err := b.cryptInParts(test.m, test.key, plain, at, false)
				if err != nil || !bytes.Equal(got, ciphered) {
					t.Fatalf("%s, %d bytes cut at %d: %x, want %x: %v", test.name, n, at, got, ciphered, err)
				}
			}
			for at := range len(ciphered) + 1 {
				got, err := b.cryptInParts(test.m, test.key, ciphered, at, true)
				if err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("%s, decryption of %d bytes cut at %d: %x: %v", test.name, n, at, got, err)
				}
			}
		}
	}
}

// 20 and 27 bytes go in; 16, 16 and 16 come out. Decryption holds the first block back.
func TestIBMsPartsComeWhenIBMsExampleWantsThem(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	m := withIV(ep11.MechAESCBCPad, zeroIV)
	begun, err := b.EncryptInit(t.Context(), &pb.EncryptInitRequest{Mech: m, KeyBytes: b.kek})
	if err != nil {
		t.Fatal(err)
	}
	one, err := b.EncryptUpdate(t.Context(), &pb.EncryptUpdateRequest{State: begun.GetState(), Plain: make([]byte, 20)})
	if err != nil || len(one.GetCiphered()) != 16 {
		t.Errorf("%d bytes: %v", len(one.GetCiphered()), err)
	}
	two, err := b.EncryptUpdate(t.Context(), &pb.EncryptUpdateRequest{State: one.GetState(), Plain: make([]byte, 27)})
	if err != nil || len(two.GetCiphered()) != 16 {
		t.Errorf("%d bytes: %v", len(two.GetCiphered()), err)
	}
	last, err := b.EncryptFinal(t.Context(), &pb.EncryptFinalRequest{State: two.GetState()})
	if err != nil || len(last.GetCiphered()) != 16 {
		t.Errorf("%d bytes: %v", len(last.GetCiphered()), err)
	}
	opened, err := b.DecryptInit(t.Context(), &pb.DecryptInitRequest{Mech: m, KeyBytes: b.kek})
	if err != nil {
		t.Fatal(err)
	}
	first, err := b.DecryptUpdate(t.Context(), &pb.DecryptUpdateRequest{State: opened.GetState(), Ciphered: one.GetCiphered()})
	if err != nil || len(first.GetPlain()) != 0 {
		t.Errorf("%d bytes of a block that may be the last: %v", len(first.GetPlain()), err)
	}
	whole, err := b.Encrypt(t.Context(), &pb.EncryptRequest{State: begun.GetState(), Plain: make([]byte, 47)})
	if err != nil || len(whole.GetCiphered()) != 48 {
		t.Errorf("Encrypt after EncryptInit: %d bytes, %v", len(whole.GetCiphered()), err)
	}
	plain, err := b.Decrypt(t.Context(), &pb.DecryptRequest{State: opened.GetState(), Ciphered: whole.GetCiphered()})
	if err != nil || !bytes.Equal(plain.GetPlain(), make([]byte, 47)) {
		t.Errorf("Decrypt after DecryptInit: %x, %v", plain.GetPlain(), err)
	}
}

func TestEachWrongEncryptionHasItsCode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	mute := b.aes(32, template{ep11.AttrEncrypt: false, ep11.AttrDecrypt: false})
	generic := b.bringSecret(ep11.KeyTypeGenericSecret, make([]byte, 32))
	ec := testCurves[2].pair(t, direct(b.card))
	foreign := newBench2(t)
	pad := withIV(ep11.MechAESCBCPad, zeroIV)
	for _, test := range []struct {
		name          string
		m             *pb.Mechanism
		key, data     []byte
		encryption    ep11.Code // 0: not tried
		decryption    ep11.Code
		onlyAtTheData bool // Init cannot notice it
	}{
		{"no mechanism", nil, b.kek, zeroIV, ep11.CodeMechanismInvalid, ep11.CodeMechanismInvalid, false},
		{"a mechanism that signs", mech(ep11.MechECDSA), b.kek, zeroIV, ep11.CodeMechanismInvalid, ep11.CodeMechanismInvalid, false},
		{"no vector", mech(ep11.MechAESCBCPad), b.kek, zeroIV, ep11.CodeMechanismParamInvalid, ep11.CodeMechanismParamInvalid, false},
		{"a short vector", withIV(ep11.MechAESCBC, zeroIV[:15]), b.kek, zeroIV, ep11.CodeMechanismParamInvalid, ep11.CodeMechanismParamInvalid, false},
		{"a vector for ECB", withIV(ep11.MechAESECB, zeroIV), b.kek, zeroIV, ep11.CodeMechanismParamInvalid, ep11.CodeMechanismParamInvalid, false},
		{"no key", pad, nil, zeroIV, ep11.CodeArgumentsBad, ep11.CodeArgumentsBad, false},
		{"no blob", pad, []byte("key"), zeroIV, ep11.CodeIBMBlobError, ep11.CodeIBMBlobError, false},
		{"a flipped bit", pad, flipped(b.kek, 100), zeroIV, ep11.CodeIBMBlobError, ep11.CodeIBMBlobError, false},
		{"another card's key", pad, foreign, zeroIV, ep11.CodeIBMWKIDMismatch, ep11.CodeIBMWKIDMismatch, false},
		{"a key for nothing", pad, mute, zeroIV, ep11.CodeKeyFunctionNotPermitted, ep11.CodeKeyFunctionNotPermitted, false},
		{"a generic secret", pad, generic, zeroIV, ep11.CodeKeyTypeInconsistent, ep11.CodeKeyTypeInconsistent, false},
		{"an EC public key", pad, ec.GetPubKeyBytes(), zeroIV, ep11.CodeKeyTypeInconsistent, ep11.CodeKeyTypeInconsistent, false},
		{"triple DES with an AES key", withIV(ep11.MechDES3CBCPad, make([]byte, 8)), b.kek, zeroIV, ep11.CodeKeyTypeInconsistent, ep11.CodeKeyTypeInconsistent, false},
		{"part of a block", withIV(ep11.MechAESCBC, zeroIV), b.kek, make([]byte, 17), ep11.CodeDataLenRange, ep11.CodeEncryptedDataLenRange, true},
		{"part of a padded block", pad, b.kek, make([]byte, 17), 0, ep11.CodeEncryptedDataLenRange, true},
		{"nothing padded", pad, b.kek, nil, 0, ep11.CodeEncryptedDataLenRange, true},
		{"no padding", pad, b.kek, b.encrypt(withIV(ep11.MechAESCBC, zeroIV), b.kek, zeroIV), 0, ep11.CodeEncryptedDataInvalid, true},
		{"padding over a block", pad, b.kek, b.encrypt(withIV(ep11.MechAESCBC, zeroIV), b.kek, bytes.Repeat([]byte{17}, 16)), 0, ep11.CodeEncryptedDataInvalid, true},
		{"uneven padding", pad, b.kek, b.encrypt(withIV(ep11.MechAESCBC, zeroIV), b.kek, append(make([]byte, 14), 1, 2)), 0, ep11.CodeEncryptedDataInvalid, true},
	} {
		errs := map[string]error{}
		if test.encryption != 0 {
			_, errs["encryption"] = b.EncryptSingle(t.Context(), &pb.EncryptSingleRequest{Mech: test.m, KeyBytes: test.key, Plain: test.data})
			_, errs["encryption in parts"] = b.cryptInParts(test.m, test.key, test.data, 0, false)
		}
		_, errs["decryption"] = b.DecryptSingle(t.Context(), &pb.DecryptSingleRequest{Mech: test.m, KeyBytes: test.key, Ciphered: test.data})
		_, errs["decryption in parts"] = b.cryptInParts(test.m, test.key, test.data, 0, true)
		if !test.onlyAtTheData {
			_, errs["encryption, Init"] = b.EncryptInit(t.Context(), &pb.EncryptInitRequest{Mech: test.m, KeyBytes: test.key})
			_, errs["decryption, Init"] = b.DecryptInit(t.Context(), &pb.DecryptInitRequest{Mech: test.m, KeyBytes: test.key})
		}
		for name, err := range errs {
			want := test.encryption
			if name[0] == 'd' {
				want = test.decryption
			}
			if got := codeOf(t, err); got != want {
				t.Errorf("%s, %s: %v, want %v", test.name, name, got, want)
			}
		}
	}
}

// newBench2 makes an AES key on another card.
func newBench2(t *testing.T) []byte {
	t.Helper()
	other := cardtest.New(t, 2)
	b := &bench{CryptoServer: softcard.Service(other), tb: t, card: other}
	return b.aes(32, all())
}

// A state of the other direction or of another card, or one that was changed, is refused.
func TestStatesOfCiphersAreBound(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	begun, err := b.EncryptInit(t.Context(), &pb.EncryptInitRequest{Mech: withIV(ep11.MechAESCBCPad, zeroIV), KeyBytes: b.kek})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := b.DigestInit(t.Context(), &pb.DigestInitRequest{Mech: mech(ep11.MechSHA256)})
	if err != nil {
		t.Fatal(err)
	}
	for name, state := range map[string][]byte{
		"none": nil, "changed": flipped(begun.GetState(), 30), "cut": begun.GetState()[1:], "of a digest": digest.GetState(), "9000 bytes": make([]byte, 9000),
	} {
		errs := map[string]error{}
		_, errs["EncryptUpdate"] = b.EncryptUpdate(t.Context(), &pb.EncryptUpdateRequest{State: state})
		_, errs["EncryptFinal"] = b.EncryptFinal(t.Context(), &pb.EncryptFinalRequest{State: state})
		_, errs["Encrypt"] = b.Encrypt(t.Context(), &pb.EncryptRequest{State: state})
		_, errs["DecryptUpdate"] = b.DecryptUpdate(t.Context(), &pb.DecryptUpdateRequest{State: state})
		_, errs["DecryptFinal"] = b.DecryptFinal(t.Context(), &pb.DecryptFinalRequest{State: state})
		_, errs["Decrypt"] = b.Decrypt(t.Context(), &pb.DecryptRequest{State: state})
		for call, err := range errs {
			if got := codeOf(t, err); got != ep11.CodeSavedStateInvalid {
				t.Errorf("%s, %s: %v", name, call, got)
			}
		}
	}
	_, err = b.DecryptFinal(t.Context(), &pb.DecryptFinalRequest{State: begun.GetState()})
	wantCode(t, err, ep11.CodeSavedStateInvalid)
	_, err = b.DigestFinal(t.Context(), &pb.DigestFinalRequest{State: begun.GetState()})
	wantCode(t, err, ep11.CodeSavedStateInvalid)
}

func TestReencryptSingle(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other := b.aes(16, template{ep11.AttrEncrypt: true, ep11.AttrDecrypt: true})
	mute := b.aes(16, template{ep11.AttrEncrypt: false})
	iv := bytes.Repeat([]byte{9}, 16)
	plain := []byte("Hello, this is a very long and creative message")
	request := &pb.ReencryptSingleRequest{
		DecMech: withIV(ep11.MechAESCBCPad, zeroIV), EncMech: withIV(ep11.MechAESCBCPad, iv),
		DecKey: keyBlob(b.kek), EncKey: keyBlob(other),
		Ciphered: b.encrypt(withIV(ep11.MechAESCBCPad, zeroIV), b.kek, plain),
	}
	r, err := b.ReencryptSingle(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.decrypt(withIV(ep11.MechAESCBCPad, iv), other, r.GetReciphered()); !bytes.Equal(got, plain) {
		t.Errorf("%q", got)
	}
	request.EncKey = keyBlob(mute)
	_, err = b.ReencryptSingle(t.Context(), request)
	wantCode(t, err, ep11.CodeKeyFunctionNotPermitted)
	request.EncKey = nil
	_, err = b.ReencryptSingle(t.Context(), request)
	wantCode(t, err, ep11.CodeArgumentsBad)
}
