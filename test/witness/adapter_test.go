package witness

import (
	"context"
	"fmt"

	ibmep11 "github.com/IBM-Cloud/hpcs-grep11-go/ep11"
	ibm "github.com/IBM-Cloud/hpcs-grep11-go/grpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"pawl/signer/grep11/pb"
)

// ibmServer is a server of the first generation built on IBM's generated code. What
// its messages have no field for it never sees: fields that IBM's code keeps as
// unknown are dropped on the way in and on the way out. The card does the work.
type ibmServer struct {
	ibm.UnimplementedCryptoServer
	card pb.CryptoClient
}

// ibmMessage is what IBM's generator gives each message.
type ibmMessage interface {
	Marshal() ([]byte, error)
	Unmarshal(wire []byte) error
	XXX_DiscardUnknown()
}

// pass sends an IBM request to the card and reads its answer into IBM's response.
func pass[Request, Response proto.Message, IBM ibmMessage](
	ctx context.Context, in ibmMessage, request Request, out IBM,
	call func(context.Context, Request, ...grpc.CallOption) (Response, error),
) (IBM, error) {
	var none IBM
	in.XXX_DiscardUnknown()
	wire, err := in.Marshal()
	if err != nil {
		return none, err
	}
	if err := proto.Unmarshal(wire, request); err != nil {
		return none, err
	}
	response, err := call(ctx, request)
	if err != nil {
		return none, asIBM(err)
	}
	if wire, err = proto.Marshal(response); err != nil {
		return none, err
	}
	if err := out.Unmarshal(wire); err != nil {
		return none, err
	}
	out.XXX_DiscardUnknown()
	return out, nil
}

// asIBM makes the card's refusal one of IBM's own type.
func asIBM(err error) error {
	for _, detail := range status.Convert(err).Details() {
		refusal, ok := detail.(*pb.Grep11Error)
		if !ok {
			continue
		}
		own := &ibm.Grep11Error{Code: ibmep11.Return(refusal.GetCode()), Detail: refusal.GetDetail(), Retry: refusal.GetRetry()}
		st, err := status.New(codes.Internal, refusal.GetDetail()).WithDetails(own)
		if err != nil {
			return fmt.Errorf("IBM's Grep11Error as a detail: %w", err)
		}
		return st.Err()
	}
	return err
}

func (s *ibmServer) GetMechanismList(ctx context.Context, in *ibm.GetMechanismListRequest) (*ibm.GetMechanismListResponse, error) {
	return pass(ctx, in, &pb.GetMechanismListRequest{}, &ibm.GetMechanismListResponse{}, s.card.GetMechanismList)
}

func (s *ibmServer) GetMechanismInfo(ctx context.Context, in *ibm.GetMechanismInfoRequest) (*ibm.GetMechanismInfoResponse, error) {
	return pass(ctx, in, &pb.GetMechanismInfoRequest{}, &ibm.GetMechanismInfoResponse{}, s.card.GetMechanismInfo)
}

func (s *ibmServer) GenerateRandom(ctx context.Context, in *ibm.GenerateRandomRequest) (*ibm.GenerateRandomResponse, error) {
	return pass(ctx, in, &pb.GenerateRandomRequest{}, &ibm.GenerateRandomResponse{}, s.card.GenerateRandom)
}

func (s *ibmServer) GenerateKeyPair(ctx context.Context, in *ibm.GenerateKeyPairRequest) (*ibm.GenerateKeyPairResponse, error) {
	return pass(ctx, in, &pb.GenerateKeyPairRequest{}, &ibm.GenerateKeyPairResponse{}, s.card.GenerateKeyPair)
}

func (s *ibmServer) SignSingle(ctx context.Context, in *ibm.SignSingleRequest) (*ibm.SignSingleResponse, error) {
	return pass(ctx, in, &pb.SignSingleRequest{}, &ibm.SignSingleResponse{}, s.card.SignSingle)
}

func (s *ibmServer) SignInit(ctx context.Context, in *ibm.SignInitRequest) (*ibm.SignInitResponse, error) {
	return pass(ctx, in, &pb.SignInitRequest{}, &ibm.SignInitResponse{}, s.card.SignInit)
}

func (s *ibmServer) Sign(ctx context.Context, in *ibm.SignRequest) (*ibm.SignResponse, error) {
	return pass(ctx, in, &pb.SignRequest{}, &ibm.SignResponse{}, s.card.Sign)
}

func (s *ibmServer) SignUpdate(ctx context.Context, in *ibm.SignUpdateRequest) (*ibm.SignUpdateResponse, error) {
	return pass(ctx, in, &pb.SignUpdateRequest{}, &ibm.SignUpdateResponse{}, s.card.SignUpdate)
}

func (s *ibmServer) SignFinal(ctx context.Context, in *ibm.SignFinalRequest) (*ibm.SignFinalResponse, error) {
	return pass(ctx, in, &pb.SignFinalRequest{}, &ibm.SignFinalResponse{}, s.card.SignFinal)
}

func (s *ibmServer) VerifySingle(ctx context.Context, in *ibm.VerifySingleRequest) (*ibm.VerifySingleResponse, error) {
	return pass(ctx, in, &pb.VerifySingleRequest{}, &ibm.VerifySingleResponse{}, s.card.VerifySingle)
}

func (s *ibmServer) VerifyInit(ctx context.Context, in *ibm.VerifyInitRequest) (*ibm.VerifyInitResponse, error) {
	return pass(ctx, in, &pb.VerifyInitRequest{}, &ibm.VerifyInitResponse{}, s.card.VerifyInit)
}

func (s *ibmServer) Verify(ctx context.Context, in *ibm.VerifyRequest) (*ibm.VerifyResponse, error) {
	return pass(ctx, in, &pb.VerifyRequest{}, &ibm.VerifyResponse{}, s.card.Verify)
}

func (s *ibmServer) VerifyUpdate(ctx context.Context, in *ibm.VerifyUpdateRequest) (*ibm.VerifyUpdateResponse, error) {
	return pass(ctx, in, &pb.VerifyUpdateRequest{}, &ibm.VerifyUpdateResponse{}, s.card.VerifyUpdate)
}

func (s *ibmServer) VerifyFinal(ctx context.Context, in *ibm.VerifyFinalRequest) (*ibm.VerifyFinalResponse, error) {
	return pass(ctx, in, &pb.VerifyFinalRequest{}, &ibm.VerifyFinalResponse{}, s.card.VerifyFinal)
}
