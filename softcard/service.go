package softcard

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// maxRandom is the most bytes that one GenerateRandom gives (hs-crypto documentation,
// GREP11 API: 1 MB).
const maxRandom = 1 << 20

// service is the card on the wire. Calls that it does not define are those of the embedded
// type; answered turns their errors into CKR_FUNCTION_NOT_SUPPORTED.
type service struct {
	pb.UnimplementedCryptoServer
	card *Card
}

// newServer makes the gRPC server of the card. Every failure of a call is a Grep11Error,
// also for unreadable messages and unknown calls.
func newServer(card *Card, options ...grpc.ServerOption) *grpc.Server {
	codec := rawRequests{encoding.GetCodecV2(protocodec.Name)}
	options = append(options, grpc.ForceServerCodecV2(codec), grpc.UnknownServiceHandler(unknownCall))
	server := grpc.NewServer(options...)
	described := pb.Crypto_ServiceDesc
	described.Methods = slices.Clone(described.Methods)
	for i, method := range described.Methods {
		described.Methods[i].Handler = handler(card, method.MethodName, method.Handler)
	}
	server.RegisterService(&described, &service{card: card})
	return server
}

// handler wraps one call of the service.
func handler(card *Card, name string, next grpc.MethodHandler) grpc.MethodHandler {
	return func(
		srv any, ctx context.Context, receive func(any) error, interceptor grpc.UnaryServerInterceptor,
	) (any, error) {
		if err := card.admits(ctx); err != nil {
			return nil, err
		}
		before := card.master.load()
		var fault hit
		read := func(request any) error {
			var raw []byte
			if err := receive(&raw); err != nil {
				return err // an error of the transport, which has answered already
			}
			message, ok := request.(proto.Message)
			if !ok || proto.Unmarshal(raw, message) != nil {
				return refuse(codeCannotUnmarshal, "the request is not a readable message")
			}
			fault = card.hitBy(name, request)
			return fault.before(ctx, request)
		}
		if err := wait(ctx, card.Delay); err != nil {
			return nil, err
		}
		response, err := next(srv, ctx, read, interceptor)
		if err == nil {
			err = card.stillUnder(before, response)
		}
		response, err = fault.after(ctx, response, err)
		return response, answered(err)
	}
}

// rawRequests is a proto codec that leaves the decoding of requests to handler. With its
// own codec gRPC would answer an unreadable message before any of our code runs.
type rawRequests struct{ encoding.CodecV2 }

// Unmarshal copies the bytes of a request to a *[]byte.
func (rawRequests) Unmarshal(data mem.BufferSlice, into any) error {
	raw, ok := into.(*[]byte)
	if !ok {
		return fmt.Errorf("softcard: a request was to be read into %T", into)
	}
	*raw = data.Materialize()
	return nil
}

// unknownCall answers calls that the service does not define at all.
func unknownCall(any, grpc.ServerStream) error {
	return refuse(ep11.CodeFunctionNotSupported, "the software card does not have this function")
}

// GetMechanismList lists what the card can do; CKM_RSA_PKCS stands first.
func (s *service) GetMechanismList(context.Context, *pb.GetMechanismListRequest) (*pb.GetMechanismListResponse, error) {
	var list []uint64
	for _, m := range mechanisms {
		if !m.unlisted {
			list = append(list, m.id)
		}
	}
	return &pb.GetMechanismListResponse{Mechs: list}, nil
}

// GetMechanismInfo returns the key sizes and abilities of a listed mechanism.
func (s *service) GetMechanismInfo(
	_ context.Context, request *pb.GetMechanismInfoRequest,
) (*pb.GetMechanismInfoResponse, error) {
	m, err := lookUp(request.GetMech(), 0)
	if err != nil {
		return nil, err
	}
	if m.unlisted {
		return nil, refuse(ep11.CodeMechanismInvalid, "mechanism 0x%x is not listed", m.id)
	}
	return &pb.GetMechanismInfoResponse{MechInfo: m.info()}, nil
}

// GenerateRandom returns 1 byte to 1 MiB from the operating system's random source.
func (s *service) GenerateRandom(
	_ context.Context, request *pb.GenerateRandomRequest,
) (*pb.GenerateRandomResponse, error) {
	n := request.GetLen()
	if n == 0 || n > maxRandom {
		return nil, refuse(ep11.CodeArgumentsBad, "%d random bytes wanted, can give 1 to %d", n, maxRandom)
	}
	random := make([]byte, n)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	return &pb.GenerateRandomResponse{Rnd: random}, nil
}

var errNoKey = refuse(ep11.CodeArgumentsBad, "the request bears no key")

// blobOf returns the blob from the field of either generation of the wire. A client may
// fill both fields with the same blob.
func blobOf(raw []byte, message *pb.KeyBlob) ([]byte, error) {
	var wrapped []byte
	if list := message.GetKeyBlobs(); len(list) > 0 {
		wrapped = list[0]
	}
	switch {
	case len(raw) == 0 && len(wrapped) == 0:
		return nil, errNoKey
	case len(raw) == 0:
		return wrapped, nil
	case len(wrapped) > 0 && string(raw) != string(wrapped):
		return nil, refuse(ep11.CodeArgumentsBad, "the request bears two different keys")
	}
	return raw, nil
}
