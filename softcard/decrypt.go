package softcard

import (
	"context"

	"pawl/signer/grep11/pb"
)

// DecryptSingle decrypts in one call.
func (s *service) DecryptSingle(
	_ context.Context, request *pb.DecryptSingleRequest,
) (*pb.DecryptSingleResponse, error) {
	out, err := s.card.crypt(decrypting, request.GetMech(), request.GetKeyBytes(), request.GetKey(), request.GetCiphered())
	if err != nil {
		return nil, err
	}
	return &pb.DecryptSingleResponse{Plain: out}, nil
}

// DecryptInit begins a decryption.
func (s *service) DecryptInit(_ context.Context, request *pb.DecryptInitRequest) (*pb.DecryptInitResponse, error) {
	state, err := s.card.cryptInit(decrypting, request.GetMech(), request.GetKeyBytes(), request.GetKey())
	if err != nil {
		return nil, err
	}
	return &pb.DecryptInitResponse{State: state}, nil
}

// DecryptUpdate returns the plaintext that is certain so far and keeps the rest, at most
// one block, in the State.
func (s *service) DecryptUpdate(
	_ context.Context, request *pb.DecryptUpdateRequest,
) (*pb.DecryptUpdateResponse, error) {
	state, out, err := s.card.cryptPart(decrypting, request.GetState(), request.GetCiphered())
	if err != nil {
		return nil, err
	}
	return &pb.DecryptUpdateResponse{State: state, Plain: out}, nil
}

// DecryptFinal returns the last plaintext, without the padding.
func (s *service) DecryptFinal(_ context.Context, request *pb.DecryptFinalRequest) (*pb.DecryptFinalResponse, error) {
	out, err := s.card.cryptEnd(decrypting, request.GetState(), nil, inParts)
	if err != nil {
		return nil, err
	}
	return &pb.DecryptFinalResponse{Plain: out}, nil
}

// Decrypt decrypts in one call after DecryptInit.
func (s *service) Decrypt(_ context.Context, request *pb.DecryptRequest) (*pb.DecryptResponse, error) {
	out, err := s.card.cryptEnd(decrypting, request.GetState(), request.GetCiphered(), atOnce)
	if err != nil {
		return nil, err
	}
	return &pb.DecryptResponse{Plain: out}, nil
}
