package softcard_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"slices"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
)

// weierstrass is a curve y² = x³ + ax + b over a prime field in textbook arithmetic, of
// which the card shares nothing. A nil x is the point at infinity.
type weierstrass struct{ p, n, a, gx, gy *big.Int }

type affine struct{ x, y *big.Int }

// The parameters are those of SEC 2 sections 2.4.1 and 2.4.2.
func textbook(t *testing.T, c testCurve) weierstrass {
	t.Helper()
	number := func(hex string) *big.Int {
		i, ok := new(big.Int).SetString(hex, 16)
		if !ok {
			t.Fatalf("not a number: %s", hex)
		}
		return i
	}
	if c.params == ep11.CurveSecp256k1 {
		return weierstrass{
			p: number("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"), a: new(big.Int),
			n:  number("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
			gx: number("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
			gy: number("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"),
		}
	}
	return weierstrass{
		p: number("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"), a: big.NewInt(-3),
		n:  number("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
		gx: number("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
		gy: number("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
	}
}

func (w weierstrass) add(a, b affine) affine {
	if a.x == nil {
		return b
	}
	if b.x == nil {
		return a
	}
	over, under := new(big.Int).Sub(b.y, a.y), new(big.Int).Sub(b.x, a.x)
	if under.Sign() == 0 {
		if a.y.Cmp(b.y) != 0 {
			return affine{}
		}
		over.Mul(a.x, a.x).Mul(over, big.NewInt(3)).Add(over, w.a)
		under.Lsh(a.y, 1)
	}
	slope := under.ModInverse(under.Mod(under, w.p), w.p)
	slope.Mul(slope, over).Mod(slope, w.p)
	x := new(big.Int).Mul(slope, slope)
	x.Sub(x, a.x).Sub(x, b.x).Mod(x, w.p)
	y := new(big.Int).Sub(a.x, x)
	y.Mul(y, slope).Sub(y, a.y).Mod(y, w.p)
	return affine{x, y}
}

func (w weierstrass) times(k *big.Int, a affine) (product affine) {
	for i := k.BitLen() - 1; i >= 0; i-- {
		product = w.add(product, product)
		if k.Bit(i) == 1 {
			product = w.add(product, a)
		}
	}
	return product
}

func (a affine) short() []byte {
	return append([]byte{2 + byte(a.y.Bit(0))}, a.x.FillBytes(make([]byte, 32))...)
}

// good verifies by the definitions: Q is sG − rP with TR-03111's sign, sG + rP with
// Zilliqa's.
func (w weierstrass) good(kind pb.ECSGParm_ECSGType, point, data, signature []byte) bool {
	public := affine{new(big.Int).SetBytes(point[1:33]), new(big.Int).SetBytes(point[33:])}
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	by := new(big.Int).Sub(w.n, r)
	if kind == pb.ECSGParm_CkEcsgIbmEcsdsaComprMulti {
		by = r
	}
	q := w.add(w.times(s, affine{w.gx, w.gy}), w.times(by, public))
	hashed := slices.Concat(q.x.FillBytes(make([]byte, 32)), q.y.FillBytes(make([]byte, 32)), data)
	if kind == pb.ECSGParm_CkEcsgIbmEcsdsaComprMulti {
		hashed = slices.Concat(q.short(), public.short(), data)
	}
	want := sha256.Sum256(hashed)
	return bytes.Equal(want[:], signature[:32])
}

func schnorr(kind pb.ECSGParm_ECSGType) *pb.Mechanism {
	return &pb.Mechanism{
		Mechanism: ep11.MechIBMECDSAOther, Parameter: &pb.Mechanism_ECSGParameter{ECSGParameter: &pb.ECSGParm{Type: kind}},
	}
}

var schnorrKinds = []pb.ECSGParm_ECSGType{pb.ECSGParm_CkEcsgIbmEcsdsaS256, pb.ECSGParm_CkEcsgIbmEcsdsaComprMulti}

func TestSchnorrSignaturesAreAsDefined(t *testing.T) {
	t.Parallel()
	c := cardtest.Client(t, cardtest.New(t, 1))
	long := make([]byte, 6<<10)
	if _, err := rand.Read(long); err != nil {
		t.Fatal(err)
	}
	for _, curve := range testCurves[1:] {
		pair, w := curve.pair(t, over(c)), textbook(t, curve)
		point := pair.GetPubKeyBytes()[curve.spki-65 : curve.spki]
		for _, kind := range schnorrKinds {
			for _, data := range [][]byte{nil, []byte("This data needs to be signed"), long} {
				parts := [][]byte{data}
				signature, err := signSingle(t.Context(), c, schnorr(kind), pair.GetPrivKeyBytes(), parts)
				if err != nil || len(signature) != 64 || !w.good(kind, point, data, signature) {
					t.Errorf("%s, %v, %d bytes: %x: %v", curve.name, kind, len(data), signature, err)
					continue
				}
				verify := func(kind pb.ECSGParm_ECSGType, data, signature []byte) error {
					return verifySingle(t.Context(), c, schnorr(kind), pair.GetPubKeyBytes(), [][]byte{data}, signature)
				}
				if err := verify(kind, data, signature); err != nil {
					t.Errorf("%s, %v: %v", curve.name, kind, err)
				}
				first := bytes.Clone(signature)
				first[0] ^= 0xff
				for name, wrong := range map[string][]byte{
					"byte 0": first, "byte 32": flipped(signature, 32), "last byte": flipped(signature, -1), "zeros": make([]byte, 64),
					"no s": append(bytes.Clone(signature[:32]), make([]byte, 32)...), "ones": bytes.Repeat([]byte{0xff}, 64),
				} {
					if got := codeOf(t, verify(kind, data, wrong)); got != ep11.CodeSignatureInvalid {
						t.Errorf("%s, %v, %s: %v", curve.name, kind, name, got)
					}
				}
				wantCode(t, verify(kind, append(bytes.Clone(data), 0), signature), ep11.CodeSignatureInvalid)
				wantCode(t, verify(schnorrKinds[0]+schnorrKinds[1]-kind, data, signature), ep11.CodeSignatureInvalid)
				wantCode(t, verify(kind, data, signature[:63]), ep11.CodeSignatureLenRange)
			}
		}
	}
}

func TestWhatSchnorrDoesNotTake(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := cardtest.Client(t, b.card)
	pair, good := testCurves[1].pair(t, over(c)), schnorr(schnorrKinds[0])
	edwards := testCurves[0].pair(t, over(c))
	room := 12<<10 - 4
	for _, test := range []struct {
		name string
		mech *pb.Mechanism
		pair *pb.GenerateKeyPairResponse
		data int // bytes, without the key's length
		want ep11.Code
	}{
		{"BLS", schnorr(pb.ECSGParm_CkEcsgIbmBls), pair, 1000, ep11.CodeMechanismParamInvalid},
		{"type 0", schnorr(0), pair, 1000, ep11.CodeMechanismParamInvalid},
		{"type 4", schnorr(4), pair, 1000, ep11.CodeMechanismParamInvalid},
		{"no parameter", mech(ep11.MechIBMECDSAOther), pair, 1000, ep11.CodeMechanismParamInvalid},
		{"an initialisation vector", withIV(ep11.MechIBMECDSAOther, zeroIV), pair, 1000, ep11.CodeMechanismParamInvalid},
		{"Ed25519", good, edwards, 1000, ep11.CodeKeyTypeInconsistent},
		{"as much as goes", good, pair, room, 0},
		{"a byte more", good, pair, room + 1, ep11.CodeMechanismInvalid},
		{"ECDSA with the parameter", &pb.Mechanism{Mechanism: ep11.MechECDSA, Parameter: good.GetParameter()}, pair, 1000, ep11.CodeMechanismParamInvalid},
	} {
		data := make([]byte, test.data-len(test.pair.GetPrivKeyBytes()))
		signature, err := signSingle(t.Context(), c, test.mech, test.pair.GetPrivKeyBytes(), [][]byte{data})
		if test.want != 0 {
			wantCode(t, err, test.want)
			signature = make([]byte, 64)
		} else if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		data = make([]byte, test.data-len(test.pair.GetPubKeyBytes()))
		err = verifySingle(t.Context(), c, test.mech, test.pair.GetPubKeyBytes(), [][]byte{data}, signature)
		if test.want == 0 { // a signature of fewer zeros
			test.want = ep11.CodeSignatureInvalid
		}
		if got := codeOf(t, err); got != test.want {
			t.Errorf("verify, %s: %v, want %v", test.name, got, test.want)
		}
	}
	_, err := signSingle(t.Context(), c, good, b.aes(32, all()), nil)
	wantCode(t, err, ep11.CodeKeyTypeInconsistent)
	_, err = c.SignInit(t.Context(), &pb.SignInitRequest{Mech: good, PrivKeyBytes: pair.GetPrivKeyBytes()})
	wantCode(t, err, ep11.CodeMechanismInvalid)
	_, err = c.VerifyInit(t.Context(), &pb.VerifyInitRequest{Mech: good, PubKeyBytes: pair.GetPubKeyBytes()})
	wantCode(t, err, ep11.CodeMechanismInvalid)
}
