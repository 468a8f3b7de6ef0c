package softcard

import (
	"context"

	"pawl/signer/grep11/pb"
)

// EncryptSingle encrypts in one call.
func (s *service) EncryptSingle(
	_ context.Context, request *pb.EncryptSingleRequest,
) (*pb.EncryptSingleResponse, error) {
	out, err := s.card.crypt(encrypting, request.GetMech(), request.GetKeyBytes(), request.GetKey(), request.GetPlain())
	if err != nil {
		return nil, err
	}
	return &pb.EncryptSingleResponse{Ciphered: out}, nil
}

// EncryptInit begins an encryption.
func (s *service) EncryptInit(_ context.Context, request *pb.EncryptInitRequest) (*pb.EncryptInitResponse, error) {
	state, err := s.card.cryptInit(encrypting, request.GetMech(), request.GetKeyBytes(), request.GetKey())
	if err != nil {
		return nil, err
	}
	return &pb.EncryptInitResponse{State: state}, nil
}

// EncryptUpdate returns the whole blocks so far and keeps the rest, less than one block, in
// the State.
func (s *service) EncryptUpdate(
	_ context.Context, request *pb.EncryptUpdateRequest,
) (*pb.EncryptUpdateResponse, error) {
	state, out, err := s.card.cryptPart(encrypting, request.GetState(), request.GetPlain())
	if err != nil {
		return nil, err
	}
	return &pb.EncryptUpdateResponse{State: state, Ciphered: out}, nil
}

// EncryptFinal returns the last block.
func (s *service) EncryptFinal(_ context.Context, request *pb.EncryptFinalRequest) (*pb.EncryptFinalResponse, error) {
	out, err := s.card.cryptEnd(encrypting, request.GetState(), nil, inParts)
	if err != nil {
		return nil, err
	}
	return &pb.EncryptFinalResponse{Ciphered: out}, nil
}

// Encrypt encrypts in one call after EncryptInit.
func (s *service) Encrypt(_ context.Context, request *pb.EncryptRequest) (*pb.EncryptResponse, error) {
	out, err := s.card.cryptEnd(encrypting, request.GetState(), request.GetPlain(), atOnce)
	if err != nil {
		return nil, err
	}
	return &pb.EncryptResponse{Ciphered: out}, nil
}
