package softcard_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/proto"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
)

func TestPrivateBlobIsShapedAsACards(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 7)
	master := sha256.Sum256(bytes.Repeat([]byte{7}, 32))
	sizes := make(map[int]int)
	for _, curve := range testCurves {
		for range 40 {
			blob := curve.pair(t, direct(card)).GetPrivKeyBytes()
			sizes[len(blob)]++
			if (len(blob)-80-32)%16 != 0 {
				t.Errorf("%s: %d bytes", curve.name, len(blob))
			}
			if !bytes.Equal(blob[:32], make([]byte, 32)) {
				t.Errorf("session id %x", blob[:32])
			}
			if !bytes.Equal(blob[32:48], master[:16]) {
				t.Errorf("wrapping key's id %x, want %x", blob[32:48], master[:16])
			}
			if mode := binary.BigEndian.Uint64(blob[56:]); mode != 1 {
				t.Errorf("mode %d", mode)
			}
			if magic := binary.BigEndian.Uint16(blob[64:]); magic != 0x1234 {
				t.Errorf("magic number %x", magic)
			}
		}
	}
	for _, size := range []int{560, 576, 624, 640, 656} {
		if sizes[size] == 0 {
			t.Errorf("no blob of %d bytes among 120: %v", size, sizes)
		}
		delete(sizes, size)
	}
	if len(sizes) > 0 {
		t.Errorf("sizes no card has: %v", sizes)
	}
}

func TestAttributesInTheBlobsHeader(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	for _, test := range []struct {
		name    string
		private template
		want    uint64
	}{
		{"not extractable", private(), 0x400126}, // as seen on cards
		{"extractable", template{ep11.AttrSign: true, ep11.AttrExtractable: true}, 0x400125},
		{"extractability not mentioned", template{ep11.AttrSign: true, ep11.AttrPrivate: true, ep11.AttrSensitive: true}, 0x400125}, // as seen on cards
		{"without SIGN", nil, 0x400025},
		{"SIGN denied", template{ep11.AttrSign: false, ep11.AttrExtractable: false}, 0x400026},
		{"not modifiable", template{ep11.AttrSign: true, ep11.AttrModifiable: false, ep11.AttrExtractable: "\x00"}, 0x40012a},
		{"derivation", template{ep11.AttrSign: true, ep11.AttrDerive: true, ep11.AttrIBMUseAsData: true, ep11.AttrExtractable: false}, 0x4011a6},
		{"unknown attributes", private().but(template{0xdeadbeef: true, ep11.AttrPrimeBits: nil, 0x102: "id"}), 0x400126},
	} {
		pair, err := direct(card)(pairRequest(t, testCurves[0].public(), test.private))
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint64(pair.GetPrivKeyBytes()[48:]); got != test.want {
			t.Errorf("%s: attributes 0x%x, want 0x%x", test.name, got, test.want)
		}
	}
}

func TestPublicKeyIsSPKIAndTrailer(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 7)
	master := sha256.Sum256(bytes.Repeat([]byte{7}, 32))
	for _, curve := range testCurves {
		pair := curve.pair(t, direct(card))
		pub := pair.GetPubKeyBytes()
		if len(pub) != curve.spki+128 {
			t.Errorf("%s: %d bytes, want %d", curve.name, len(pub), curve.spki+128)
			continue
		}
		spki, trailer := pub[:curve.spki], pub[curve.spki:]
		for i, n := range []int{16, 32, 8, 8, 20, 32} {
			if trailer[0] != 4 || int(trailer[1]) != n {
				t.Fatalf("%s: field %d of the trailer is %x", curve.name, i, trailer[:2])
			}
			if field := trailer[2 : 2+n]; i == 0 && !bytes.Equal(field, master[:16]) {
				t.Errorf("%s: wrapping key's id %x", curve.name, field)
			}
			trailer = trailer[2+n:]
		}
		for _, half := range []*pb.KeyBlob{pair.GetPubKey(), pair.GetPrivKey()} {
			if info := half.GetAttributes()[ep11.AttrPublicKeyInfo].GetAttributeB(); !bytes.Equal(info, spki) {
				t.Errorf("%s: CKA_PUBLIC_KEY_INFO %x, want the bare SPKI %x", curve.name, info, spki)
			}
		}
	}
	ed := testCurves[0].pair(t, direct(card)).GetPubKeyBytes()
	if want := "\x30\x33\x30\x0e\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x03\x2b\x65\x70\x03\x21\x00"; string(ed[:len(ed)-128-ed25519.PublicKeySize]) != want {
		t.Errorf("Ed25519 SPKI begins %x, want %x", ed[:21], want)
	}
}

func TestAnswerFillsBothDialects(t *testing.T) {
	t.Parallel()
	for _, curve := range testCurves {
		pair := curve.pair(t, direct(cardtest.New(t, 1)))
		if !bytes.Equal(pair.GetPrivKey().GetKeyBlobs()[0], pair.GetPrivKeyBytes()) || len(pair.GetPrivKey().GetKeyBlobs()) != 1 {
			t.Errorf("%s: two private keys", curve.name)
		}
		if !bytes.Equal(pair.GetPubKey().GetKeyBlobs()[0], pair.GetPubKeyBytes()) || len(pair.GetPubKey().GetKeyBlobs()) != 1 {
			t.Errorf("%s: two public keys", curve.name)
		}
		attributes := pair.GetPrivKey().GetAttributes()
		if !attributes[ep11.AttrSign].GetAttributeTF() || attributes[ep11.AttrExtractable].GetAttributeTF() ||
			attributes[ep11.AttrClass].GetAttributeI() != ep11.ClassPrivateKey ||
			string(attributes[ep11.AttrECParams].GetAttributeB()) != curve.params {
			t.Errorf("%s: attributes %v", curve.name, attributes)
		}
	}
}

func TestNoBitOfABlobMayChange(t *testing.T) {
	t.Parallel()
	service := softcard.Service(cardtest.New(t, 1))
	for _, curve := range testCurves {
		pair := curve.pair(t, direct(cardtest.New(t, 1)))
		data := make([]byte, 32)
		priv, pub := pair.GetPrivKeyBytes(), pair.GetPubKeyBytes()
		for bit := range len(priv) * 8 {
			changed := bytes.Clone(priv)
			changed[bit/8] ^= 1 << (bit % 8)
			want := ep11.CodeIBMBlobError
			if bit/8 >= 32 && bit/8 < 48 {
				want = ep11.CodeIBMWKIDMismatch
			}
			_, err := service.SignSingle(context.Background(), &pb.SignSingleRequest{PrivKeyBytes: changed, Mech: mech(curve.mech), Data: data})
			if got := codeOf(t, err); got != want {
				t.Fatalf("%s, bit %d of the private blob: %v, want %v", curve.name, bit, got, want)
			}
		}
		signed, err := service.SignSingle(context.Background(), &pb.SignSingleRequest{PrivKeyBytes: priv, Mech: mech(curve.mech), Data: data})
		if err != nil {
			t.Fatal(err)
		}
		for bit := range len(pub) * 8 {
			changed := bytes.Clone(pub)
			changed[bit/8] ^= 1 << (bit % 8)
			want := ep11.CodeIBMBlobError
			if at := bit/8 - curve.spki; at >= 2 && at < 18 {
				want = ep11.CodeIBMWKIDMismatch
			}
			_, err := service.VerifySingle(context.Background(), &pb.VerifySingleRequest{
				PubKeyBytes: changed, Mech: mech(curve.mech), Data: data, Signature: signed.GetSignature(),
			})
			if got := codeOf(t, err); got != want {
				t.Fatalf("%s, bit %d of the public key: %v, want %v", curve.name, bit, got, want)
			}
		}
	}
}

func TestNoBlockOfCiphertextComesTwice(t *testing.T) {
	t.Parallel()
	card := cardtest.New(t, 1)
	seen := make(map[string]bool)
	for range 200 {
		blob := testCurves[1].pair(t, direct(card)).GetPrivKeyBytes()
		for at := 80; at+16 <= len(blob)-32; at += 16 {
			if block := string(blob[at : at+16]); seen[block] {
				t.Fatalf("a block of ciphertext came twice: %x", block)
			} else {
				seen[block] = true
			}
		}
	}
}

func TestMasterKeyHas32Bytes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 16, 31, 33, 64} {
		if _, err := softcard.New(make([]byte, n)); err == nil {
			t.Errorf("a master key of %d bytes is taken", n)
		}
	}
}

func FuzzBlob(f *testing.F) {
	service := softcard.Service(cardtest.New(f, 1))
	for _, curve := range testCurves {
		pair := curve.pair(f, direct(cardtest.New(f, 2)))
		f.Add(pair.GetPrivKeyBytes(), pair.GetPubKeyBytes(), []byte("data"), curve.mech)
	}
	f.Add([]byte{}, []byte{}, []byte{}, uint64(0))
	own := testCurves[2].pair(f, direct(cardtest.New(f, 1)))
	f.Fuzz(func(t *testing.T, blob, pub, data []byte, id uint64) {
		ctx := context.Background()
		for _, m := range []*pb.Mechanism{mech(id), mech(ep11.MechECDSA), nil} {
			r, err := service.SignSingle(ctx, &pb.SignSingleRequest{PrivKeyBytes: blob, Mech: m, Data: data})
			if codeOf(t, err) == 0 || r != nil {
				t.Fatalf("a made-up blob signs: %x", blob)
			}
			_, err = service.VerifySingle(ctx, &pb.VerifySingleRequest{PubKeyBytes: pub, Mech: m, Data: data, Signature: blob})
			codeOf(t, err)
			_, err = service.Sign(ctx, &pb.SignRequest{State: blob, Data: data})
			codeOf(t, err)
			_, err = service.VerifyFinal(ctx, &pb.VerifyFinalRequest{State: blob, Signature: data})
			codeOf(t, err)
		}
		signature := append(bytes.Clone(data), make([]byte, 64)...)[:64]
		_, err := service.VerifySingle(ctx, &pb.VerifySingleRequest{
			PubKeyBytes: own.GetPubKeyBytes(), Mech: mech(ep11.MechECDSA), Data: []byte("digest"), Signature: signature,
		})
		codeOf(t, err)
	})
}

func FuzzGenerateKeyPair(f *testing.F) {
	card := cardtest.New(f, 1)
	for _, curve := range testCurves {
		wire, err := proto.Marshal(pairRequest(f, curve.public(), private()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		request := &pb.GenerateKeyPairRequest{}
		if proto.Unmarshal(wire, request) != nil {
			return
		}
		pair, err := direct(card)(request)
		if err != nil {
			codeOf(t, err)
			return
		}
		if _, err := softcard.Service(card).SignSingle(t.Context(), &pb.SignSingleRequest{
			Mech: mech(ep11.MechECDSA), PrivKeyBytes: pair.GetPrivKeyBytes(), Data: []byte("digest"),
		}); err != nil { // an Ed25519 key, or one without SIGN
			if code := codeOf(t, err); code != ep11.CodeKeyTypeInconsistent && code != ep11.CodeKeyFunctionNotPermitted {
				t.Errorf("a key just made does not sign: %v", err)
			}
		}
	})
}

func TestNilRequestsAreRefusedWithoutPanic(t *testing.T) {
	t.Parallel()
	s := softcard.Service(cardtest.New(t, 1))
	ctx := t.Context()
	calls := map[string]error{}
	_, calls["SignSingle"] = s.SignSingle(ctx, nil)
	_, calls["SignInit"] = s.SignInit(ctx, nil)
	_, calls["Sign"] = s.Sign(ctx, nil)
	_, calls["SignUpdate"] = s.SignUpdate(ctx, nil)
	_, calls["SignFinal"] = s.SignFinal(ctx, nil)
	_, calls["VerifySingle"] = s.VerifySingle(ctx, nil)
	_, calls["VerifyInit"] = s.VerifyInit(ctx, nil)
	_, calls["Verify"] = s.Verify(ctx, nil)
	_, calls["VerifyUpdate"] = s.VerifyUpdate(ctx, nil)
	_, calls["VerifyFinal"] = s.VerifyFinal(ctx, nil)
	_, calls["GenerateKeyPair"] = s.GenerateKeyPair(ctx, nil)
	_, calls["GenerateRandom"] = s.GenerateRandom(ctx, nil)
	_, calls["GenerateKey"] = s.GenerateKey(ctx, nil)
	_, calls["WrapKey"] = s.WrapKey(ctx, nil)
	_, calls["UnwrapKey"] = s.UnwrapKey(ctx, nil)
	_, calls["DeriveKey"] = s.DeriveKey(ctx, nil)
	_, calls["EncryptSingle"] = s.EncryptSingle(ctx, nil)
	_, calls["EncryptInit"] = s.EncryptInit(ctx, nil)
	_, calls["Encrypt"] = s.Encrypt(ctx, nil)
	_, calls["EncryptUpdate"] = s.EncryptUpdate(ctx, nil)
	_, calls["EncryptFinal"] = s.EncryptFinal(ctx, nil)
	_, calls["DecryptSingle"] = s.DecryptSingle(ctx, nil)
	_, calls["DecryptInit"] = s.DecryptInit(ctx, nil)
	_, calls["Decrypt"] = s.Decrypt(ctx, nil)
	_, calls["DecryptUpdate"] = s.DecryptUpdate(ctx, nil)
	_, calls["DecryptFinal"] = s.DecryptFinal(ctx, nil)
	_, calls["ReencryptSingle"] = s.ReencryptSingle(ctx, nil)
	_, calls["DigestSingle"] = s.DigestSingle(ctx, nil)
	_, calls["DigestInit"] = s.DigestInit(ctx, nil)
	_, calls["Digest"] = s.Digest(ctx, nil)
	_, calls["DigestUpdate"] = s.DigestUpdate(ctx, nil)
	_, calls["DigestKey"] = s.DigestKey(ctx, nil)
	_, calls["DigestFinal"] = s.DigestFinal(ctx, nil)
	_, calls["RewrapKeyBlob"] = s.RewrapKeyBlob(ctx, nil)
	_, calls["GetAttributeValue"] = s.GetAttributeValue(ctx, nil)
	_, calls["SetAttributeValue"] = s.SetAttributeValue(ctx, nil)
	_, calls["UnwrapKey of a public key"] = s.UnwrapKey(ctx, &pb.UnwrapKeyRequest{Mech: mech(ep11.MechIBMTransportKey)})
	_, calls["DeriveKey without parameter"] = s.DeriveKey(ctx, &pb.DeriveKeyRequest{Mech: mech(ep11.MechIBMBTCDerive)})
	_, calls["DeriveKey without point"] = s.DeriveKey(ctx, &pb.DeriveKeyRequest{Mech: mech(ep11.MechECDH1Derive)})
	_, calls["nil template value"] = s.GenerateKey(ctx, &pb.GenerateKeyRequest{
		Mech: mech(ep11.MechAESKeyGen), Template: map[uint64]*pb.AttributeValue{ep11.AttrValueLen: nil},
	})
	_, calls["nil KeyBlob list"] = s.SignSingle(ctx, &pb.SignSingleRequest{
		Mech: mech(ep11.MechECDSA), PrivKey: &pb.KeyBlob{KeyBlobs: [][]byte{nil}},
	})
	_, calls["nil attribute"] = s.GenerateKeyPair(ctx, &pb.GenerateKeyPairRequest{
		Mech:           mech(ep11.MechECKeyPairGen),
		PubKeyTemplate: map[uint64]*pb.AttributeValue{ep11.AttrClass: nil, ep11.AttrECParams: nil},
	})
	for name, err := range calls {
		if codeOf(t, err) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.GetMechanismList(ctx, nil); err != nil {
		t.Error(err)
	}
}
