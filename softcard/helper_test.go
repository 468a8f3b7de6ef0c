package softcard_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"math/big"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard"
)

// testCurve is a curve as a client sees it.
type testCurve struct {
	name   string
	params string
	mech   uint64
	order  string // in hex; empty for Ed25519
	spki   int    // bytes of the bare SPKI
}

var testCurves = []testCurve{
	{name: "Ed25519", params: ep11.CurveEd25519, mech: ep11.MechIBMEd25519SHA512, spki: 53},
	{
		name: "secp256k1", params: ep11.CurveSecp256k1, mech: ep11.MechECDSA, spki: 88,
		order: "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", // SEC 2 section 2.4.1
	},
	{
		name: "P-256", params: ep11.CurveP256, mech: ep11.MechECDSA, spki: 91,
		order: "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", // SEC 2 section 2.4.2
	},
}

var ecdsaCurves = testCurves[1:]

// template is a map of attributes, as short as a test can write it.
type template map[uint64]any

func (m template) attributes(tb testing.TB) map[uint64]*pb.AttributeValue {
	tb.Helper()
	list := make(map[uint64]*pb.AttributeValue, len(m))
	for id, value := range m {
		switch v := value.(type) {
		case bool:
			list[id] = &pb.AttributeValue{OneAttr: &pb.AttributeValue_AttributeTF{AttributeTF: v}}
		case int64:
			list[id] = &pb.AttributeValue{OneAttr: &pb.AttributeValue_AttributeI{AttributeI: v}}
		case int:
			list[id] = &pb.AttributeValue{OneAttr: &pb.AttributeValue_AttributeI{AttributeI: int64(v)}}
		case string:
			list[id] = &pb.AttributeValue{OneAttr: &pb.AttributeValue_AttributeB{AttributeB: []byte(v)}}
		case nil:
			list[id] = nil
		default:
			tb.Fatalf("attribute 0x%x: %T", id, value)
		}
	}
	return list
}

func (c testCurve) public() template {
	return template{ep11.AttrECParams: c.params, ep11.AttrVerify: true}
}

func private() template {
	return template{
		ep11.AttrSign: true, ep11.AttrPrivate: true, ep11.AttrSensitive: true, ep11.AttrExtractable: false,
	}
}

func pairRequest(tb testing.TB, public, private template) *pb.GenerateKeyPairRequest {
	tb.Helper()
	return &pb.GenerateKeyPairRequest{
		Mech:            mech(ep11.MechECKeyPairGen),
		PubKeyTemplate:  public.attributes(tb),
		PrivKeyTemplate: private.attributes(tb),
	}
}

func mech(id uint64) *pb.Mechanism { return &pb.Mechanism{Mechanism: id} }

// generator makes a key pair, through a client or straight on the service.
type generator func(*pb.GenerateKeyPairRequest) (*pb.GenerateKeyPairResponse, error)

func over(c pb.CryptoClient) generator {
	return func(r *pb.GenerateKeyPairRequest) (*pb.GenerateKeyPairResponse, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return c.GenerateKeyPair(ctx, r)
	}
}

func direct(card *softcard.Card) generator {
	return func(r *pb.GenerateKeyPairRequest) (*pb.GenerateKeyPairResponse, error) {
		return softcard.Service(card).GenerateKeyPair(context.Background(), r)
	}
}

func (c testCurve) pair(tb testing.TB, generate generator) *pb.GenerateKeyPairResponse {
	tb.Helper()
	pair, err := generate(pairRequest(tb, c.public(), private()))
	if err != nil {
		tb.Fatalf("GenerateKeyPair on %s: %v", c.name, err)
	}
	return pair
}

// verifies checks a signature without the card, with the point in the public key's SPKI.
func (c testCurve) verifies(tb testing.TB, pub, data, signature []byte) bool {
	tb.Helper()
	spki := pub[:c.spki]
	if len(signature) != 64 {
		tb.Fatalf("%s signature has %d bytes", c.name, len(signature))
	}
	r, s := signature[:32], signature[32:]
	digest := data[:min(32, len(data))]
	switch c.params {
	case ep11.CurveEd25519:
		return ed25519.Verify(spki[c.spki-32:], data, signature)
	case ep11.CurveSecp256k1:
		key, err := secp256k1.ParsePubKey(spki[c.spki-65:])
		if err != nil {
			tb.Fatal(err)
		}
		var rs, ss secp256k1.ModNScalar
		if rs.SetByteSlice(r) || ss.SetByteSlice(s) {
			return false
		}
		return secpecdsa.NewSignature(&rs, &ss).Verify(digest, key)
	default:
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), spki[c.spki-65:])
		if err != nil {
			tb.Fatal(err)
		}
		return ecdsa.Verify(key, digest, new(big.Int).SetBytes(r), new(big.Int).SetBytes(s))
	}
}

// highS reports whether S is over half the order.
func (c testCurve) highS(tb testing.TB, signature []byte) bool {
	tb.Helper()
	order, ok := new(big.Int).SetString(c.order, 16)
	if !ok {
		tb.Fatalf("order of %s", c.name)
	}
	return new(big.Int).SetBytes(signature[32:]).Cmp(order.Rsh(order, 1)) > 0
}

// digest hashes data, or returns it as it is without a hash.
func digest(h crypto.Hash, data []byte) []byte {
	if h == 0 {
		return data
	}
	sum := h.New()
	sum.Write(data)
	return sum.Sum(nil)
}

// codeOf returns the code of the one Grep11Error of a failure.
func codeOf(tb testing.TB, err error) ep11.Code {
	tb.Helper()
	if err == nil {
		tb.Error("no error")
		return 0
	}
	details := status.Convert(err).Details()
	if len(details) != 1 {
		tb.Errorf("%v has %d details, want exactly one", err, len(details))
		return 0
	}
	refusal, ok := details[0].(*pb.Grep11Error)
	if !ok {
		tb.Errorf("%v has a detail of %T, want a Grep11Error", err, details[0])
		return 0
	}
	if refusal.GetDetail() == "" || refusal.GetRetry() {
		tb.Errorf("%v: detail %q, retry %v", err, refusal.GetDetail(), refusal.GetRetry())
	}
	return ep11.Code(refusal.GetCode())
}

func wantCode(tb testing.TB, err error, want ep11.Code) {
	tb.Helper()
	if got := codeOf(tb, err); got != want {
		tb.Errorf("code %v, want %v: %v", got, want, err)
	}
}
