package softcard

import (
	"context"

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
)

// verifier opens a public key and asks whether it may verify with the mechanism.
func (c *Card) verifier(m mechanism, blob []byte) (publicKey, error) {
	key, err := c.openPublic(blob)
	if err != nil {
		return publicKey{}, err
	}
	if key.attributes&grep11.BlobVerify == 0 {
		return publicKey{}, refuse(grep11.CodeKeyFunctionNotPermitted, "the key lacks CKA_VERIFY")
	}
	return key, m.checkKey(key.curve)
}

// verify checks a signature of the message of a mechanism. High and low S are both good.
func (c *Card) verify(m mechanism, blob, message, signature []byte) error {
	key, err := c.verifier(m, blob)
	if err != nil {
		return err
	}
	if len(signature) != signatureSize {
		return refuse(grep11.CodeSignatureLenRange, "the signature has %d bytes, want %d", len(signature), signatureSize)
	}
	if !key.curve.verify(key.point, message, signature) {
		return refuse(grep11.CodeSignatureInvalid, "the signature does not verify")
	}
	return nil
}

// VerifySingle verifies in one call; an answer without error is a good signature.
func (s *service) VerifySingle(_ context.Context, request *pb.VerifySingleRequest) (*pb.VerifySingleResponse, error) {
	m, err := choose(request.GetMech(), grep11.CanVerify)
	if err != nil {
		return nil, err
	}
	blob, err := blobOf(request.GetPubKeyBytes(), request.GetPubKey())
	if err != nil {
		return nil, err
	}
	message, err := m.message(request.GetData())
	if err != nil {
		return nil, err
	}
	if err := s.card.verify(m, blob, message, request.GetSignature()); err != nil {
		return nil, err
	}
	return &pb.VerifySingleResponse{}, nil
}

// VerifyInit begins a verification; the key is checked now and again at the end.
func (s *service) VerifyInit(_ context.Context, request *pb.VerifyInitRequest) (*pb.VerifyInitResponse, error) {
	m, err := choose(request.GetMech(), grep11.CanVerify)
	if err != nil {
		return nil, err
	}
	blob, err := blobOf(request.GetPubKeyBytes(), request.GetPubKey())
	if err != nil {
		return nil, err
	}
	if _, err := s.card.verifier(m, blob); err != nil {
		return nil, err
	}
	state, err := s.card.begin(verifying, m, blob)
	if err != nil {
		return nil, err
	}
	return &pb.VerifyInitResponse{State: state}, nil
}

// VerifyUpdate takes more data in, under SignUpdate's limit.
func (s *service) VerifyUpdate(_ context.Context, request *pb.VerifyUpdateRequest) (*pb.VerifyUpdateResponse, error) {
	state, err := s.card.update(request.GetState(), request.GetData(), verifying)
	if err != nil {
		return nil, err
	}
	return &pb.VerifyUpdateResponse{State: state}, nil
}

// VerifyFinal verifies what the updates gave.
func (s *service) VerifyFinal(_ context.Context, request *pb.VerifyFinalRequest) (*pb.VerifyFinalResponse, error) {
	if err := s.card.verifyState(request.GetState(), nil, request.GetSignature()); err != nil {
		return nil, err
	}
	return &pb.VerifyFinalResponse{}, nil
}

// Verify verifies data in the one call after VerifyInit.
func (s *service) Verify(_ context.Context, request *pb.VerifyRequest) (*pb.VerifyResponse, error) {
	if err := s.card.verifyState(request.GetState(), request.GetData(), request.GetSignature()); err != nil {
		return nil, err
	}
	return &pb.VerifyResponse{}, nil
}

// verifyState ends a verification with the last of its data.
func (c *Card) verifyState(state, data, signature []byte) error {
	op, m, message, err := c.finish(state, data, verifying)
	if err != nil {
		return err
	}
	return c.verify(m, op.Key, message, signature)
}
