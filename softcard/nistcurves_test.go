package softcard_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
)

// otherCurves are the curves of other sizes than 256 bits.
var otherCurves = []struct {
	name, params string
	bits, size   int
}{
	{"P-224", ep11.CurveP224, 224, 28},
	{"P-384", ep11.CurveP384, 384, 48},
	{"P-521", ep11.CurveP521, 521, 66},
}

// otherPair makes a pair with every usage, and returns the public key as Go reads it.
func (b *bench) otherPair(params string) (*pb.GenerateKeyPairResponse, *ecdsa.PublicKey) {
	b.tb.Helper()
	usage := template{ep11.AttrDerive: true, ep11.AttrIBMUseAsData: true}
	pair, err := direct(b.card)(pairRequest(b.tb,
		usage.but(template{ep11.AttrECParams: params, ep11.AttrVerify: true}),
		usage.but(template{ep11.AttrSign: true, ep11.AttrExtractable: true})))
	if err != nil {
		b.tb.Fatal(err)
	}
	public := b.goKey(pair.GetPubKeyBytes())
	der, err := x509.MarshalPKIXPublicKey(public)
	if got := pair.GetPubKey().GetAttributes()[ep11.AttrPublicKeyInfo].GetAttributeB(); err != nil || !bytes.Equal(got, der) {
		b.tb.Errorf("the public key is %x, Go has %x, %v", got, der, err)
	}
	return pair, public
}

func (b *bench) goKey(public []byte) *ecdsa.PublicKey {
	b.tb.Helper()
	var spki asn1.RawValue
	if _, err := asn1.Unmarshal(public, &spki); err != nil {
		b.tb.Fatal(err)
	}
	parsed, err := x509.ParsePKIXPublicKey(spki.FullBytes)
	key, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok {
		b.tb.Fatalf("%T, %v", parsed, err)
	}
	return key
}

func TestOtherCurvesSign(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := cardtest.Client(t, b.card)
	for _, curve := range otherCurves {
		pair, public := b.otherPair(curve.params)
		parts := [][]byte{[]byte("This data "), []byte("needs to be signed")}
		for id, hash := range map[uint64]crypto.Hash{ep11.MechECDSA: 0, ep11.MechECDSASHA384: crypto.SHA384, ep11.MechECDSASHA512: crypto.SHA512} {
			for name, flow := range flowsOf(hash) {
				signature, err := flow.sign(t.Context(), c, mech(id), pair.GetPrivKeyBytes(), parts)
				if err != nil || len(signature) != 2*curve.size {
					t.Fatalf("%s, 0x%x, %s: %d bytes, %v", curve.name, id, name, len(signature), err)
				}
				r, s := new(big.Int).SetBytes(signature[:curve.size]), new(big.Int).SetBytes(signature[curve.size:])
				if !ecdsa.Verify(public, digest(hash, bytes.Join(parts, nil)), r, s) {
					t.Errorf("%s, 0x%x, %s: crypto/ecdsa does not verify", curve.name, id, name)
				}
				verify := func(signature []byte) error {
					return flow.verify(t.Context(), c, mech(id), pair.GetPubKeyBytes(), parts, signature)
				}
				if err := verify(signature); err != nil {
					t.Errorf("%s, 0x%x, %s: %v", curve.name, id, name, err)
				}
				wantCode(t, verify(flipped(signature, curve.size)), ep11.CodeSignatureInvalid)
				wantCode(t, verify(signature[1:]), ep11.CodeSignatureLenRange)
			}
		}
	}
}

func TestOtherCurvesLeaveAndComeBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, curve := range otherCurves {
		pair, public := b.otherPair(curve.params)
		der := b.take(pair.GetPrivKeyBytes())
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		if private, ok := parsed.(*ecdsa.PrivateKey); err != nil || !ok || !private.PublicKey.Equal(public) {
			t.Errorf("%s: %T came out: %v", curve.name, parsed, err)
		}
		back, err := b.bring(der, template{ep11.AttrKeyType: ep11.KeyTypeEC, ep11.AttrSign: true, ep11.AttrDerive: true})
		if err != nil {
			t.Fatalf("%s: %v", curve.name, err)
		}
		sum := back.GetCheckSum()
		if bits := binary.BigEndian.Uint32(sum[len(sum)-4:]); !b.goKey(sum).Equal(public) || bits != uint32(curve.bits) {
			t.Errorf("%s: the check sum tells another public key, or %d bits", curve.name, bits)
		}
	}
}

func TestOtherCurvesAgree(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, curve := range otherCurves {
		alice, alicePublic := b.otherPair(curve.params)
		bob, bobPublic := b.otherPair(curve.params)
		agree := func(private []byte, public *ecdsa.PublicKey) []byte {
			point, err := public.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			r, err := b.derive(withIV(ep11.MechECDH1Derive, point), private, all().but(template{
				ep11.AttrKeyType: ep11.KeyTypeGenericSecret, ep11.AttrValueLen: curve.size,
			}))
			if err != nil {
				t.Fatalf("%s: %v", curve.name, err)
			}
			return b.take(r.GetNewKeyBytes())
		}
		if one, two := agree(alice.GetPrivKeyBytes(), bobPublic), agree(bob.GetPrivKeyBytes(), alicePublic); !bytes.Equal(one, two) {
			t.Errorf("%s: %x and %x", curve.name, one, two)
		}
	}
}

// The first of NIST's vectors of ECC CDH on P-224 (CAVS 14.1).
func TestP224AgreesAsNIST(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	secret := unhex(t, "8346a60fc6f293ca5a0d2af68ba71d1dd389e5e40837942df3e43cbd")
	point := unhex(t, "04af33cd0629bc7e996320a3f40368f74de8704fa37b8fab69abaae280882092ccbba7930f419a8a4f9bb16978bbc3838729992559a6f2e2d7")
	base, err := b.bring(pkcs8(ep11.CurveP224, secret, nil), template{ep11.AttrKeyType: ep11.KeyTypeEC, ep11.AttrDerive: true})
	if err != nil {
		t.Fatal(err)
	}
	wanted := all().but(template{ep11.AttrKeyType: ep11.KeyTypeGenericSecret, ep11.AttrValueLen: 28})
	made, err := b.derive(withIV(ep11.MechECDH1Derive, point), base.GetUnwrappedBytes(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b.take(made.GetNewKeyBytes())); got != "7d96f9a3bd3c05cf5cc37feb8b9d5209d5c2597464dec3e9983743e8" {
		t.Errorf("shared secret %s", got)
	}
	_, err = b.derive(withIV(ep11.MechECDH1Derive, flipped(point, -1)), base.GetUnwrappedBytes(), wanted)
	wantCode(t, err, ep11.CodeMechanismParamInvalid)
}

func TestOtherCurvesWithHighS(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := cardtest.Client(t, b.card)
	b.card.SetFaults(&softcard.Fault{HighS: true})
	for _, curve := range otherCurves {
		pair, public := b.otherPair(curve.params)
		for range 8 {
			signature, err := signSingle(t.Context(), c, mech(ep11.MechECDSA), pair.GetPrivKeyBytes(), [][]byte{make([]byte, 48)})
			if err != nil {
				t.Fatal(err)
			}
			r, s := new(big.Int).SetBytes(signature[:curve.size]), new(big.Int).SetBytes(signature[curve.size:])
			half := new(big.Int).Rsh(public.Curve.Params().N, 1)
			if s.Cmp(half) <= 0 || !ecdsa.Verify(public, make([]byte, 48), r, s) {
				t.Errorf("%s: S is low, or does not verify", curve.name)
			}
		}
	}
}

// Derivation and Schnorr signatures are for curves of 256 bits only.
func TestOtherCurvesHaveNoChildrenAndNoSchnorr(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, curve := range otherCurves {
		pair, _ := b.otherPair(curve.params)
		_, err := b.derive(btc(pb.BTCDeriveParm_CkSLIP0010PRV2PRV, hardened, make([]byte, 32)), pair.GetPrivKeyBytes(), derivation(curve.params))
		wantCode(t, err, ep11.CodeCurveNotSupported)
		_, err = b.derive(btc(pb.BTCDeriveParm_CkSLIP0010PUB2PUB, 0, make([]byte, 32)), pair.GetPubKeyBytes(), derivation(curve.params))
		wantCode(t, err, ep11.CodeCurveNotSupported)
		_, err = b.sign(schnorr(schnorrKinds[0]), pair.GetPrivKeyBytes(), []byte("data"))
		wantCode(t, err, ep11.CodeKeyTypeInconsistent)
	}
}
