package grep11_test

// This file holds a card on IBM's generated server code, a witness for the wire format.

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"math/big"
	"sync"
	"testing"

	ibmep11 "github.com/IBM-Cloud/hpcs-grep11-go/ep11"
	ibm "github.com/IBM-Cloud/hpcs-grep11-go/grpc"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/anypb"

	"pawl/internal/ep11"
	"pawl/internal/ep11/ep11test"
)

// ibmCard is a card of three curves on IBM's generated server code, which speaks v1. Its
// signatures always have a high S; those of real cards do half of the time.
type ibmCard struct {
	ibm.UnimplementedCryptoServer

	mu       sync.Mutex
	keys     map[string]any                         // private keys by blob
	requests map[string]*ibm.GenerateKeyPairRequest // by blob: the request that made it
}

func newIBMCard() *ibmCard {
	return &ibmCard{keys: make(map[string]any), requests: make(map[string]*ibm.GenerateKeyPairRequest)}
}

// ibmError returns an error as IBM's servers send it, with IBM's message type.
func ibmError(ret ibmep11.Return, detail string) error {
	raw, err := proto.Marshal(protoadapt.MessageV2Of(&ibm.Grep11Error{Code: ret, Detail: detail}))
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return status.FromProto(&spb.Status{
		Code: int32(codes.Unknown), Message: "refused",
		Details: []*anypb.Any{{TypeUrl: "type.googleapis.com/grep11.Grep11Error", Value: raw}},
	}).Err()
}

func (*ibmCard) GetMechanismList(context.Context, *ibm.GetMechanismListRequest) (*ibm.GetMechanismListResponse, error) {
	return &ibm.GetMechanismListResponse{Mechs: []ibmep11.Mechanism{ibmep11.CKM_RSA_PKCS, ibmep11.CKM_ECDSA}}, nil
}

func (c *ibmCard) GenerateKeyPair(
	_ context.Context, r *ibm.GenerateKeyPairRequest,
) (*ibm.GenerateKeyPairResponse, error) {
	if r.GetMech().GetMechanism() != ibmep11.CKM_EC_KEY_PAIR_GEN {
		return nil, ibmError(ibmep11.CKR_MECHANISM_INVALID, "mechanism")
	}
	private, info, err := makeKey(string(r.GetPubKeyTemplate()[ibmep11.CKA_EC_PARAMS].GetAttributeB()))
	if err != nil {
		return nil, err
	}
	blob := make([]byte, 576)
	if _, err := rand.Read(blob); err != nil {
		return nil, err
	}
	copy(blob, ep11test.Blob()[:66])
	if r.GetPrivKeyTemplate()[ibmep11.CKA_EXTRACTABLE].GetAttributeTF() {
		blob[55] = 0x25 // EXTRACTABLE instead of NEVER_EXTRACTABLE
	}
	c.mu.Lock()
	c.keys[string(blob)], c.requests[string(blob)] = private, r
	c.mu.Unlock()
	public := append(bytes.Clone(info), trailer()...)
	return &ibm.GenerateKeyPairResponse{
		PrivKeyBytes: blob,
		PubKeyBytes:  public,
		PrivKey:      &ibm.KeyBlob{KeyBlobs: [][]byte{blob}},
		PubKey: &ibm.KeyBlob{
			KeyBlobs: [][]byte{public},
			Attributes: map[ibmep11.Attribute]*ibm.AttributeValue{
				ibmep11.CKA_PUBLIC_KEY_INFO: {OneAttr: &ibm.AttributeValue_AttributeB{AttributeB: info}},
			},
		},
	}, nil
}

func makeKey(curve string) (private any, info []byte, err error) {
	switch curve {
	case ep11.CurveEd25519:
		public, private, err := ed25519.GenerateKey(rand.Reader)
		return private, append(head(headEd25519), public...), err
	case ep11.CurveSecp256k1:
		private, err := secp256k1.GeneratePrivateKey()
		if err != nil {
			return nil, nil, err
		}
		return private, append(head(headSecp256k1), private.PubKey().SerializeUncompressed()...), nil
	case ep11.CurveP256:
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		point, err := private.PublicKey.Bytes()
		return private, append(head(headP256), point...), err
	}
	return nil, nil, ibmError(ibmep11.CKR_CURVE_NOT_SUPPORTED, "curve")
}

func (c *ibmCard) SignSingle(_ context.Context, r *ibm.SignSingleRequest) (*ibm.SignSingleResponse, error) {
	c.mu.Lock()
	private := c.keys[string(r.GetPrivKey())]
	c.mu.Unlock()
	mechanism := r.GetMech().GetMechanism()
	if r.GetMech().GetParameter() != nil || len(r.GetData()) != 32 {
		return nil, ibmError(ibmep11.CKR_MECHANISM_PARAM_INVALID, "parameter or data")
	}
	switch key := private.(type) {
	case ed25519.PrivateKey:
		if mechanism != ibmep11.CKM_IBM_ED25519_SHA512 {
			return nil, ibmError(ibmep11.CKR_MECHANISM_INVALID, "mechanism")
		}
		signature, err := key.Sign(rand.Reader, r.GetData(), crypto.Hash(0))
		return &ibm.SignSingleResponse{Signature: signature}, err
	case *secp256k1.PrivateKey, *ecdsa.PrivateKey:
		if mechanism != ibmep11.CKM_ECDSA {
			return nil, ibmError(ibmep11.CKR_MECHANISM_INVALID, "mechanism")
		}
		signature, err := signHigh(key, r.GetData())
		return &ibm.SignSingleResponse{Signature: signature}, err
	}
	return nil, ibmError(ibmep11.CKR_IBM_BLOB_ERROR, "no such key")
}

// signHigh returns r‖s with s above half of the group order.
func signHigh(private any, digest []byte) ([]byte, error) {
	var r, s, n *big.Int
	switch key := private.(type) {
	case *secp256k1.PrivateKey:
		signature := secpecdsa.Sign(key, digest)
		rScalar, sScalar := signature.R(), signature.S()
		rBytes, sBytes := rScalar.Bytes(), sScalar.Bytes()
		r, s = new(big.Int).SetBytes(rBytes[:]), new(big.Int).SetBytes(sBytes[:])
		n = secp256k1.Params().N
	case *ecdsa.PrivateKey:
		var err error
		if r, s, err = ecdsa.Sign(rand.Reader, key, digest); err != nil {
			return nil, err
		}
		n = elliptic.P256().Params().N
	}
	if s.Cmp(new(big.Int).Rsh(n, 1)) <= 0 {
		s = new(big.Int).Sub(n, s)
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

// template returns the request that made the key of blob.
func (c *ibmCard) template(t *testing.T, blob ep11.Blob) *ibm.GenerateKeyPairRequest {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	request := c.requests[string(blob)]
	if request == nil {
		t.Fatal("the card did not make this key")
	}
	return request
}

// head decodes the constant head of a SubjectPublicKeyInfo from hex.
func head(hexadecimal string) []byte {
	b, _ := hex.DecodeString(hexadecimal)
	return b
}
