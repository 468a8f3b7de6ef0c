package softcard

import (
	"context"

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
)

// signer opens a private key and asks whether it may sign with the mechanism.
func (c *Card) signer(m mechanism, blob []byte) (privateKey, error) {
	key, err := c.openPrivate(blob)
	if err != nil {
		return privateKey{}, err
	}
	if key.attributes&grep11.BlobSign == 0 {
		return privateKey{}, refuse(grep11.CodeKeyFunctionNotPermitted, "the key lacks CKA_SIGN")
	}
	return key, m.checkKey(key.curve)
}

// sign signs the message of a mechanism: the digest, or Ed25519's data.
func (c *Card) sign(m mechanism, blob, message []byte) ([]byte, error) {
	key, err := c.signer(m, blob)
	if err != nil {
		return nil, err
	}
	signature, err := key.curve.sign(key.secret, message)
	if err != nil {
		return nil, err
	}
	c.signed(message, signature)
	return signature, nil
}

// SignSingle signs in one call.
func (s *service) SignSingle(_ context.Context, request *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
	m, err := choose(request.GetMech(), grep11.CanSign)
	if err != nil {
		return nil, err
	}
	blob, err := blobOf(request.GetPrivKeyBytes(), request.GetPrivKey())
	if err != nil {
		return nil, err
	}
	message, err := m.message(request.GetData())
	if err != nil {
		return nil, err
	}
	signature, err := s.card.sign(m, blob, message)
	if err != nil {
		return nil, err
	}
	return &pb.SignSingleResponse{Signature: signature}, nil
}

// SignInit begins a signature; the key is checked now and again at the end.
func (s *service) SignInit(_ context.Context, request *pb.SignInitRequest) (*pb.SignInitResponse, error) {
	m, err := choose(request.GetMech(), grep11.CanSign)
	if err != nil {
		return nil, err
	}
	blob, err := blobOf(request.GetPrivKeyBytes(), request.GetPrivKey())
	if err != nil {
		return nil, err
	}
	if _, err := s.card.signer(m, blob); err != nil {
		return nil, err
	}
	state, err := s.card.begin(signing, m, blob)
	if err != nil {
		return nil, err
	}
	return &pb.SignInitResponse{State: state}, nil
}

// SignUpdate takes more data in. A mechanism that does not hash keeps the data in
// the State: what does not fit is CKR_DATA_LEN_RANGE.
func (s *service) SignUpdate(_ context.Context, request *pb.SignUpdateRequest) (*pb.SignUpdateResponse, error) {
	state, err := s.card.update(request.GetState(), request.GetData(), signing)
	if err != nil {
		return nil, err
	}
	return &pb.SignUpdateResponse{State: state}, nil
}

// SignFinal signs what the updates gave.
func (s *service) SignFinal(_ context.Context, request *pb.SignFinalRequest) (*pb.SignFinalResponse, error) {
	signature, err := s.card.signState(request.GetState(), nil)
	if err != nil {
		return nil, err
	}
	return &pb.SignFinalResponse{Signature: signature}, nil
}

// Sign signs data in the one call after SignInit.
func (s *service) Sign(_ context.Context, request *pb.SignRequest) (*pb.SignResponse, error) {
	signature, err := s.card.signState(request.GetState(), request.GetData())
	if err != nil {
		return nil, err
	}
	return &pb.SignResponse{Signature: signature}, nil
}

// signState ends a signature with the last of its data.
func (c *Card) signState(state, data []byte) ([]byte, error) {
	op, m, message, err := c.finish(state, data, signing)
	if err != nil {
		return nil, err
	}
	return c.sign(m, op.Key, message)
}
