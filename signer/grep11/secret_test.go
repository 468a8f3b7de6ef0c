package grep11_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/internal/ep11/ep11test"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// keeper answers calls in this process. It keeps each secret that it sees: the slice itself,
// and no copy. It refuses one of the calls, and quotes the secrets in the refusal.
type keeper struct {
	pb.CryptoClient // nil: the tests make no other calls
	t               *testing.T
	public          []byte // the SPKI in the answers
	calls, refuse   int    // refuse is the number of the call to refuse, from 1 on
	byStatus        bool   // refuse with a plain gRPC status
	kept            [][]byte
}

func (k *keeper) pass(secrets ...[]byte) error {
	k.calls++
	for _, secret := range secrets {
		if len(secret) > 0 && bytes.Equal(secret, make([]byte, len(secret))) {
			k.t.Errorf("call %d: the secret is gone already", k.calls)
		}
	}
	k.kept = append(k.kept, secrets...)
	words := fmt.Sprintf("cannot take % x", secrets)
	switch {
	case k.calls != k.refuse:
		return nil
	case k.byStatus:
		return status.Error(codes.InvalidArgument, words)
	}
	return refuse(k.t, codes.Unknown, ep11.CodeMechanismInvalid, words)
}

// secretBytes returns new secret bytes, and keeps them.
func (k *keeper) secretBytes() []byte {
	secret := bytes.Repeat([]byte{0xa5}, 32)
	k.kept = append(k.kept, secret)
	return secret
}

func (k *keeper) GenerateKey(
	context.Context, *pb.GenerateKeyRequest, ...grpc.CallOption,
) (*pb.GenerateKeyResponse, error) {
	if err := k.pass(); err != nil {
		return nil, err
	}
	return &pb.GenerateKeyResponse{KeyBytes: ep11test.Blob()}, nil
}

func (k *keeper) EncryptSingle(
	_ context.Context, r *pb.EncryptSingleRequest, _ ...grpc.CallOption,
) (*pb.EncryptSingleResponse, error) {
	if err := k.pass(r.GetPlain()); err != nil {
		return nil, err
	}
	return &pb.EncryptSingleResponse{Ciphered: k.secretBytes()}, nil
}

func (k *keeper) UnwrapKey(
	_ context.Context, r *pb.UnwrapKeyRequest, _ ...grpc.CallOption,
) (*pb.UnwrapKeyResponse, error) {
	if err := k.pass(r.GetWrapped()); err != nil {
		return nil, err
	}
	return &pb.UnwrapKeyResponse{UnwrappedBytes: ep11test.Blob(), CheckSum: k.public}, nil
}

func (k *keeper) DeriveKey(
	_ context.Context, r *pb.DeriveKeyRequest, _ ...grpc.CallOption,
) (*pb.DeriveKeyResponse, error) {
	parameter := r.GetMech().GetBTCDeriveParameter()
	if err := k.pass(parameter.GetChainCode()); err != nil {
		return nil, err
	}
	if parameter.GetType() == pb.BTCDeriveParm_CkSLIP0010PRV2PUB {
		return &pb.DeriveKeyResponse{NewKeyBytes: append(bytes.Clone(k.public), trailer()...), CheckSum: k.secretBytes()}, nil
	}
	return &pb.DeriveKeyResponse{NewKeyBytes: ep11test.Blob(), CheckSum: k.secretBytes()}, nil
}

// check checks the number of calls, or the error of the refused call. The error has the code,
// and the server's message unless the call carried a secret. All secrets must be zeroed.
func (k *keeper) check(err error, calls int, carried bool) {
	k.t.Helper()
	if k.refuse != 0 {
		calls = k.refuse
	}
	if k.calls != calls || (err != nil) != (k.refuse != 0) {
		k.t.Fatalf("refusing call %d: %d calls, error %v", k.refuse, k.calls, err)
	}
	for i, secret := range k.kept {
		if !bytes.Equal(secret, make([]byte, len(secret))) {
			k.t.Errorf("refusing call %d: secret %d of %d is left: %x", k.refuse, i+1, len(k.kept), secret)
		}
	}
	if err == nil {
		return
	}
	want := "CKR_MECHANISM_INVALID (0x70): "
	if k.byStatus {
		want = "InvalidArgument: "
	}
	if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, "cannot take") == carried {
		k.t.Errorf("call %d: %s", k.refuse, text)
	}
}

// eachRefusal runs a test without a refusal, and with a refusal of each call in both ways.
func eachRefusal(t *testing.T, calls int, public []byte, run func(k *keeper)) {
	t.Helper()
	for refuse := range calls + 1 {
		for _, byStatus := range []bool{false, true} {
			run(&keeper{t: t, public: public, refuse: refuse, byStatus: byStatus})
		}
	}
}

func TestImportLeavesNoSecret(t *testing.T) {
	t.Parallel()
	secret := secretOf(t, tezos.P256)
	info := append(head(headP256), secret.PublicKey().Point()...)
	eachRefusal(t, 3, info, func(k *keeper) {
		_, err := grep11.Over(k).Import(t.Context(), secret)
		k.check(err, 3, k.refuse == 2)
	})
	if bytes.Equal(secret.Bytes(), make([]byte, 32)) {
		t.Error("the key of the caller is zeroed")
	}
}

func TestDeriveLeavesNoChainCode(t *testing.T) {
	t.Parallel()
	info := append(head(headP256), head("04"+p256X+p256Y)...)
	eachRefusal(t, 4, info, func(k *keeper) {
		_, err := grep11.Over(k).Derive(t.Context(), tezos.P256, ep11test.Blob(), []uint32{grep11.Hardened, 1})
		k.check(err, 4, k.refuse > 1)
	})
}
