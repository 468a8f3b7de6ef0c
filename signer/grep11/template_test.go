package grep11_test

import (
	"context"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// heard is a connection that keeps the requests that were sent.
type heard struct {
	grpc.ClientConnInterface
	mu       sync.Mutex
	requests []proto.Message
}

func (h *heard) Invoke(ctx context.Context, method string, request, reply any, opts ...grpc.CallOption) error {
	h.mu.Lock()
	h.requests = append(h.requests, request.(proto.Message))
	h.mu.Unlock()
	return h.ClientConnInterface.Invoke(ctx, method, request, reply, opts...)
}

// A card makes a key extractable whose template does not mention CKA_EXTRACTABLE: every template that
// pawl sends does, but that of the public half of a pair.
func TestEveryTemplateNamesExtractable(t *testing.T) {
	t.Parallel()
	wire := &heard{ClientConnInterface: cardtest.Connect(t, cardtest.Serve(t, cardtest.New(t, 1), "").Address)}
	client := grep11.Over(pb.NewCryptoClient(wire))
	seed, err := client.GenerateSeed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.ImportSeed(t.Context(), make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	for _, kind := range importKinds {
		if _, err := client.Derive(t.Context(), kind, seed, []uint32{h0, h0 + 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Import(t.Context(), secretOf(t, kind)); err != nil {
			t.Fatal(err)
		}
		for _, extractable := range []bool{false, true} {
			if _, err := client.Generate(t.Context(), kind, extractable); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := make(map[protoreflect.FullName]int)
	for _, request := range wire.requests {
		for name, template := range templatesOf(request) {
			if template.Get(protoreflect.ValueOfUint64(ep11.AttrExtractable).MapKey()).IsValid() {
				found[name]++
			} else {
				t.Errorf("%s does not name CKA_EXTRACTABLE: %v", name, request)
			}
		}
	}
	for _, name := range []protoreflect.FullName{
		"grep11.GenerateKeyRequest.Template", "grep11.GenerateKeyPairRequest.PrivKeyTemplate",
		"grep11.UnwrapKeyRequest.Template", "grep11.DeriveKeyRequest.Template",
	} {
		if found[name] == 0 {
			t.Errorf("no %s among %v: the test tries too little", name, found)
		}
		delete(found, name)
	}
	if len(found) > 0 {
		t.Errorf("templates of other calls: %v", found)
	}
}

// templatesOf returns the templates of private and secret keys in a request.
func templatesOf(request proto.Message) map[protoreflect.FullName]protoreflect.Map {
	m, list := request.ProtoReflect(), make(map[protoreflect.FullName]protoreflect.Map)
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		attributes := field.IsMap() && field.MapValue().Message() != nil &&
			field.MapValue().Message().FullName() == "grep11.AttributeValue"
		if attributes && field.Name() != "PubKeyTemplate" {
			list[field.FullName()] = m.Get(field).Map()
		}
	}
	return list
}

// The keys are as the templates say, and so is what Generate makes on demand.
func TestKeysAreNotExtractableUnasked(t *testing.T) {
	t.Parallel()
	client := dialSoftcard(t, grep11.Both)
	for _, extractable := range []bool{false, true} {
		made, err := client.Generate(t.Context(), tezos.P256, extractable)
		if err != nil {
			t.Fatal(err)
		}
		if header, err := made.Blob.Header(); err != nil || header.Extractable != extractable {
			t.Errorf("extractable %v: %+v, %v", extractable, header, err)
		}
	}
}
