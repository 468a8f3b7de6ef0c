package grep11_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"pawl/internal/ep11"
	"pawl/internal/ep11/ep11test"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// deriver answers DeriveKey with blobs that tell the steps apart, changed by a test.
type deriver struct {
	pb.UnimplementedCryptoServer
	requests []*pb.DeriveKeyRequest
	change   func(step int, response *pb.DeriveKeyResponse) error
}

func (d *deriver) DeriveKey(_ context.Context, r *pb.DeriveKeyRequest) (*pb.DeriveKeyResponse, error) {
	step := len(d.requests)
	d.requests = append(d.requests, r)
	response := &pb.DeriveKeyResponse{NewKeyBytes: stepBlob(step), CheckSum: bytes.Repeat([]byte{byte(step) + 1}, 32)}
	if r.GetMech().GetBTCDeriveParameter().GetType() == pb.BTCDeriveParm_CkSLIP0010PRV2PUB {
		response.NewKeyBytes = append(append(head(headP256), head("04"+p256X+p256Y)...), trailer()...)
	}
	if d.change != nil {
		if err := d.change(step, response); err != nil {
			return nil, err
		}
	}
	return response, nil
}

// stepBlob is the blob of a step.
func stepBlob(step int) ep11.Blob {
	blob := ep11test.Blob()
	blob[100] = byte(step)
	return blob
}

func serveDeriver(t *testing.T, d *deriver, dialect grep11.Dialect) *grep11.Client {
	t.Helper()
	address, _ := serve(t, "127.0.0.1:0", func(s *grpc.Server) { pb.RegisterCryptoServer(s, d) })
	return dial(t, grep11.Config{Address: address, Dialect: dialect})
}

// Each step has the key and the chain code of the one before, and the public key comes
// from the parent of the last.
func TestDeriveWalksThePath(t *testing.T) {
	t.Parallel()
	for _, dialect := range []grep11.Dialect{grep11.Both, grep11.V1, grep11.V2} {
		d := &deriver{}
		seed := stepBlob(200)
		derived, err := serveDeriver(t, d, dialect).Derive(t.Context(), tezos.P256, seed, []uint32{44 + grep11.Hardened, 7})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []struct {
			step  pb.BTCDeriveParm_BTCDeriveType
			index uint64
			base  ep11.Blob
			chain int // the step whose chain code it has, or -1
		}{
			{pb.BTCDeriveParm_CkSLIP0010MASTERK, 0, seed, -1},
			{pb.BTCDeriveParm_CkSLIP0010PRV2PRV, 0x8000002c, stepBlob(0), 0},
			{pb.BTCDeriveParm_CkSLIP0010PRV2PRV, 7, stepBlob(1), 1},
			{pb.BTCDeriveParm_CkSLIP0010PRV2PUB, 7, stepBlob(1), 1},
		} {
			request := d.requests[i]
			parameter := request.GetMech().GetBTCDeriveParameter()
			chain := bytes.Repeat([]byte{byte(want.chain + 1)}, 32)
			if want.chain < 0 {
				chain = nil
			}
			if parameter.GetType() != want.step || parameter.GetChildKeyIndex() != want.index || parameter.GetVersion() != 1 ||
				!bytes.Equal(parameter.GetChainCode(), chain) {
				t.Errorf("%s step %d: %v, want %+v", dialect, i, parameter, want)
			}
			checkBase(t, fmt.Sprintf("%s step %d", dialect, i), request, want.base, dialect)
			checkDeriveTemplate(t, request)
		}
		if !bytes.Equal(derived.Blob, stepBlob(2)) || len(d.requests) != 4 || derived.PublicKey.Kind() != tezos.P256 ||
			string(derived.SPKI) != string(append(head(headP256), head("04"+p256X+p256Y)...)) {
			t.Errorf("%s: %d calls, key %v, SPKI %x", dialect, len(d.requests), derived.PublicKey, derived.SPKI)
		}
	}
}

func checkBase(t *testing.T, where string, r *pb.DeriveKeyRequest, want ep11.Blob, dialect grep11.Dialect) {
	t.Helper()
	if v1 := dialect != grep11.V2; v1 != bytes.Equal(r.GetBaseKeyBytes(), want) || !v1 && r.GetBaseKeyBytes() != nil {
		t.Errorf("%s: BaseKeyBytes of %d bytes", where, len(r.GetBaseKeyBytes()))
	}
	v2 := dialect != grep11.V1
	if v2 != (r.GetBaseKey() != nil) || v2 && !bytes.Equal(r.GetBaseKey().GetKeyBlobs()[0], want) {
		t.Errorf("%s: BaseKey with %d blobs", where, len(r.GetBaseKey().GetKeyBlobs()))
	}
}

func checkDeriveTemplate(t *testing.T, r *pb.DeriveKeyRequest) {
	t.Helper()
	template := r.GetTemplate()
	if string(template[ep11.AttrECParams].GetAttributeB()) != ep11.CurveP256 || template[ep11.AttrKeyType].GetAttributeI() != 3 ||
		template[ep11.AttrExtractable] == nil || template[ep11.AttrExtractable].GetAttributeTF() {
		t.Errorf("template %v", template)
	}
	signs := r.GetMech().GetBTCDeriveParameter().GetType() == pb.BTCDeriveParm_CkSLIP0010PRV2PRV
	if template[ep11.AttrSign].GetAttributeTF() != signs {
		t.Errorf("CKA_SIGN %t, want %t", !signs, signs)
	}
}

func TestDeriveRefusesAnUnsoundAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step   int // that is changed: 0 master, 1 child, 2 public key
		change func(*pb.DeriveKeyResponse) error
		want   string
	}{
		"master refused":     {0, func(*pb.DeriveKeyResponse) error { return refuse(t, codes.Unknown, 0x70, "no") }, "the seed's master key: DeriveKey: CKR_MECHANISM_INVALID"},
		"child refused":      {1, func(*pb.DeriveKeyResponse) error { return refuse(t, codes.Unknown, 0x68, "no") }, "level 1: DeriveKey: CKR_KEY_FUNCTION_NOT_PERMITTED"},
		"public refused":     {2, func(*pb.DeriveKeyResponse) error { return refuse(t, codes.Unknown, 0x80010001, "no") }, "the public key: DeriveKey: CKR_IBM_WKID_MISMATCH"},
		"no chain code":      {0, func(r *pb.DeriveKeyResponse) error { r.CheckSum = nil; return nil }, "no chain code"},
		"a short chain code": {1, func(r *pb.DeriveKeyResponse) error { r.CheckSum = r.CheckSum[:31]; return nil }, "no chain code"},
		"no blob":            {1, func(r *pb.DeriveKeyResponse) error { r.NewKeyBytes = nil; return nil }, "no blob"},
		"extractable":        {1, func(r *pb.DeriveKeyResponse) error { r.NewKeyBytes[55] |= 1; return nil }, "extractable unasked"},
		"session-bound":      {1, func(r *pb.DeriveKeyResponse) error { r.NewKeyBytes[31] = 1; return nil }, "bound the key to a login session"},
		"a truncated blob":   {1, func(r *pb.DeriveKeyResponse) error { r.NewKeyBytes = r.NewKeyBytes[:99]; return nil }, "99 bytes"},
		"no public key":      {2, func(r *pb.DeriveKeyResponse) error { r.NewKeyBytes = ep11test.Blob(); return nil }, "not a SubjectPublicKeyInfo"},
		"another kind": {2, func(r *pb.DeriveKeyResponse) error {
			r.NewKeyBytes = append(head(headEd25519), bytes.Repeat([]byte{1}, 32)...)
			return nil
		}, "asked for a tz3 key, got tz1"},
	} {
		d := &deriver{change: func(step int, r *pb.DeriveKeyResponse) error {
			if step == c.step {
				return c.change(r)
			}
			return nil
		}}
		derived, err := serveDeriver(t, d, grep11.Both).Derive(t.Context(), tezos.P256, ep11test.Blob(), []uint32{grep11.Hardened})
		if err == nil || !strings.Contains(err.Error(), c.want) || derived.Blob != nil {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if _, refused := errors.AsType[*grep11.Error](err); refused != strings.HasSuffix(name, "refused") {
			t.Errorf("%s: %T", name, err)
		}
	}
}

func TestCheckPath(t *testing.T) {
	t.Parallel()
	const h = grep11.Hardened
	for _, c := range []struct {
		kind tezos.KeyKind
		path []uint32
		want string
	}{
		{tezos.Ed25519, []uint32{h, h + 5}, ""},
		{tezos.Ed25519, []uint32{h, 5}, "level 2, 5: tz1 keys have hardened children only: write 5'"},
		{tezos.Secp256k1, []uint32{0, 1, h}, ""},
		{tezos.P256, []uint32{h - 1}, ""},
		{tezos.P256, nil, "this one has 0"},
		{tezos.P256, make([]uint32, 255), ""},
		{tezos.P256, make([]uint32, 256), "this one has 256"},
		{tezos.BLS12381, []uint32{h}, "tz4"},
	} {
		err := grep11.CheckPath(c.kind, c.path)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, %d levels: %v, want %q", c.kind, len(c.path), err, c.want)
		}
	}
	client := dial(t, grep11.Config{Address: deadAddress(t)})
	if _, err := client.Derive(t.Context(), tezos.Ed25519, ep11test.Blob(), []uint32{1}); err == nil || !strings.Contains(err.Error(), "hardened") {
		t.Errorf("Derive: %v", err)
	}
	for _, size := range []int{0, 15, 65} {
		if _, err := client.ImportSeed(t.Context(), make([]byte, size)); err == nil || !strings.Contains(err.Error(), "want 16 to 64") {
			t.Errorf("seed of %d bytes: %v", size, err)
		}
	}
}
