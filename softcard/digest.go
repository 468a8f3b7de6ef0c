package softcard

import (
	"context"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// DigestSingle hashes in one call.
func (s *service) DigestSingle(_ context.Context, request *pb.DigestSingleRequest) (*pb.DigestSingleResponse, error) {
	m, err := choose(request.GetMech(), ep11.CanDigest)
	if err != nil {
		return nil, err
	}
	if len(request.GetData()) == 0 {
		return nil, errNoData
	}
	digest, err := m.message(request.GetData())
	if err != nil {
		return nil, err
	}
	return &pb.DigestSingleResponse{Digest: digest}, nil
}

// DigestInit begins a hash.
func (s *service) DigestInit(_ context.Context, request *pb.DigestInitRequest) (*pb.DigestInitResponse, error) {
	if _, err := choose(request.GetMech(), ep11.CanDigest); err != nil {
		return nil, err
	}
	op, err := begin(digesting, request.GetMech(), nil)
	if err != nil {
		return nil, err
	}
	state, err := s.card.sealState(op)
	if err != nil {
		return nil, err
	}
	return &pb.DigestInitResponse{State: state}, nil
}

// errNoData refuses empty data: a card does not hash it (IBM's GREP11 reference, Digest and
// DigestUpdate).
var errNoData = refuse(ep11.CodeArgumentsBad, "no data")

// DigestUpdate takes more data.
func (s *service) DigestUpdate(_ context.Context, request *pb.DigestUpdateRequest) (*pb.DigestUpdateResponse, error) {
	if len(request.GetData()) == 0 {
		return nil, errNoData
	}
	state, err := s.card.update(request.GetState(), request.GetData(), digesting)
	if err != nil {
		return nil, err
	}
	return &pb.DigestUpdateResponse{State: state}, nil
}

// DigestKey hashes the value of a secret key, which must be CKA_IBM_USE_AS_DATA. A private
// key fails with CKR_KEY_INDIGESTIBLE.
func (s *service) DigestKey(_ context.Context, request *pb.DigestKeyRequest) (*pb.DigestKeyResponse, error) {
	blob, err := blobOf(request.GetKeyBytes(), request.GetKey())
	if err != nil {
		return nil, err
	}
	k, err := s.card.openKey(blob)
	if err != nil {
		return nil, err
	}
	defer clear(k.secret)
	if !k.kind.isSecret() {
		return nil, refuse(ep11.CodeKeyIndigestible, "only the value of a secret key can be hashed")
	}
	if err := k.wants(ep11.BlobUseAsData); err != nil {
		return nil, err
	}
	state, err := s.card.update(request.GetState(), k.secret, digesting)
	if err != nil {
		return nil, err
	}
	return &pb.DigestKeyResponse{State: state}, nil
}

// DigestFinal returns the hash of the updates.
func (s *service) DigestFinal(_ context.Context, request *pb.DigestFinalRequest) (*pb.DigestFinalResponse, error) {
	_, _, digest, err := s.card.finish(request.GetState(), nil, digesting, inParts)
	if err != nil {
		return nil, err
	}
	return &pb.DigestFinalResponse{Digest: digest}, nil
}

// Digest hashes in one call after DigestInit.
func (s *service) Digest(_ context.Context, request *pb.DigestRequest) (*pb.DigestResponse, error) {
	if len(request.GetData()) == 0 {
		return nil, errNoData
	}
	_, _, digest, err := s.card.finish(request.GetState(), request.GetData(), digesting, atOnce)
	if err != nil {
		return nil, err
	}
	return &pb.DigestResponse{Digest: digest}, nil
}
