package softcard

import (
	"context"

	"pawl/signer/grep11/pb"
)

// ReencryptSingle decrypts under one key and encrypts under another without letting the
// data out. Only the second generation of the wire has it.
func (s *service) ReencryptSingle(
	_ context.Context, request *pb.ReencryptSingleRequest,
) (*pb.ReencryptSingleResponse, error) {
	plain, err := s.card.crypt(decrypting, request.GetDecMech(), nil, request.GetDecKey(), request.GetCiphered())
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	out, err := s.card.crypt(encrypting, request.GetEncMech(), nil, request.GetEncKey(), plain)
	if err != nil {
		return nil, err
	}
	return &pb.ReencryptSingleResponse{Reciphered: out}, nil
}
