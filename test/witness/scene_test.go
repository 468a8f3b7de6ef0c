// Package witness has IBM's own generated code (hpcs-grep11-go v1.2.2) testify that
// our wire is theirs: its client against the software card, our client against a
// server built on it. IBM's code knows the first generation of the wire only.
package witness

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"fmt"
	"math/big"
	"testing"

	ibm "github.com/IBM-Cloud/hpcs-grep11-go/grpc"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

type curve struct {
	name   string
	kind   tezos.KeyKind
	params string
	mech   uint64
	spki   int // bytes of the SubjectPublicKeyInfo before the trailer
}

var curves = []curve{
	{name: "Ed25519", kind: tezos.Ed25519, params: ep11.CurveEd25519, mech: ep11.MechIBMEd25519SHA512, spki: 53},
	{name: "secp256k1", kind: tezos.Secp256k1, params: ep11.CurveSecp256k1, mech: ep11.MechECDSA, spki: 88},
	{name: "P-256", kind: tezos.P256, params: ep11.CurveP256, mech: ep11.MechECDSA, spki: 91},
}

// verifies checks a signature with the public key alone, by code that no card shares.
func (c curve) verifies(pub, data, signature []byte) error {
	if len(signature) != 64 || len(pub) < c.spki {
		return fmt.Errorf("signature of %d bytes, public key of %d", len(signature), len(pub))
	}
	spki, r, s := pub[:c.spki], signature[:32], signature[32:]
	ok := false
	switch c.kind {
	case tezos.Ed25519:
		ok = ed25519.Verify(spki[c.spki-ed25519.PublicKeySize:], data, signature)
	case tezos.Secp256k1:
		key, err := secp256k1.ParsePubKey(spki[c.spki-65:])
		if err != nil {
			return err
		}
		var rs, ss secp256k1.ModNScalar
		ok = !rs.SetByteSlice(r) && !ss.SetByteSlice(s) && secpecdsa.NewSignature(&rs, &ss).Verify(data, key)
	case tezos.P256:
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), spki[c.spki-65:])
		if err != nil {
			return err
		}
		ok = ecdsa.Verify(key, data, new(big.Int).SetBytes(r), new(big.Int).SetBytes(s))
	case tezos.BLS12381, tezos.MLDSA44:
	}
	if !ok {
		return errors.New("the signature does not verify with the public key")
	}
	return nil
}

// scene is a card and the two servers in front of it.
type scene struct{ card, ibm string }

func newScene(t *testing.T) scene {
	t.Helper()
	card := cardtest.Serve(t, cardtest.New(t, 3), "")
	behind := pb.NewCryptoClient(cardtest.Connect(t, card.Address))
	front := cardtest.Listen(t, "127.0.0.1:0")
	server := grpc.NewServer()
	ibm.RegisterCryptoServer(server, &ibmServer{card: behind})
	served := make(chan error, 1)
	go func() { served <- server.Serve(front) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("IBM's server: %v", err)
		}
	})
	return scene{card: card.Address, ibm: front.Addr().String()}
}

// codeOf finds the return code of a failure, of our client or of a bare call.
func codeOf(err error) (ep11.Code, bool) {
	if named, ok := errors.AsType[*grep11.Error](err); ok {
		return named.Code, true
	}
	details := status.Convert(err).Details()
	if len(details) != 1 {
		return 0, false
	}
	refusal, ok := details[0].(*pb.Grep11Error)
	return ep11.Code(refusal.GetCode()), ok
}
