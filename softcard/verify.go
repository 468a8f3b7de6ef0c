package softcard

import (
	"context"
	"crypto/hmac"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// verifier is a key that verifies: a public key, or for HMAC a secret one.
type verifier struct {
	public publicKey
	secret []byte
}

// verifier opens a key and checks that it may verify with the mechanism.
func (c *Card) verifier(m mechanism, blob []byte) (verifier, error) {
	if m.keys == macKeys {
		k, err := c.openKey(blob)
		if err != nil {
			return verifier{}, err
		}
		if err := k.wants(ep11.BlobVerify); err != nil {
			return verifier{}, err
		}
		return verifier{secret: k.secret}, m.checkKey(k.kind)
	}
	k, err := c.openVerifying(blob)
	if err != nil {
		return verifier{}, err
	}
	if err := permitted(k.attributes, ep11.BlobVerify); err != nil {
		return verifier{}, err
	}
	return verifier{public: k}, m.checkKey(k.kind)
}

// openVerifying opens a public key to verify with. Only here it may be a bare
// SubjectPublicKeyInfo, e.g. from a certificate (IBM's GREP11 reference, VerifyInit).
func (c *Card) openVerifying(blob []byte) (publicKey, error) {
	k, trailer, ok := cutSPKI(blob)
	if !ok || len(trailer) > 0 {
		return c.openPublic(blob)
	}
	if on, isEC := k.kind.curve(); isEC && !on.valid(k.point) {
		return publicKey{}, refuse(ep11.CodeIBMBlobError, "the public key's point is none of its curve")
	}
	k.attributes = ep11.BlobVerify
	return k, nil
}

// signatureSize is the length in bytes of a signature of the mechanism.
func (v verifier) signatureSize(m mechanism) int {
	if m.keys == macKeys {
		return m.hash.Size()
	}
	if m.keys == rsaKeys {
		return v.public.rsa.Size()
	}
	if m.keys == dsaKeys {
		return 2 * v.public.domain.q.BitLen() / 8
	}
	return 2 * curve(v.public.kind).size()
}

// verify checks the signature of a message. It accepts a high and a low S.
func (c *Card) verify(m mechanism, blob, message, signature []byte) error {
	v, err := c.verifier(m, blob)
	if err != nil {
		return err
	}
	defer clear(v.secret)
	if want := v.signatureSize(m); len(signature) != want {
		return refuse(ep11.CodeSignatureLenRange, "the signature has %d bytes, want %d", len(signature), want)
	}
	if !v.good(m, message, signature) {
		return refuse(ep11.CodeSignatureInvalid, "the signature does not verify")
	}
	return nil
}

func (v verifier) good(m mechanism, message, signature []byte) bool {
	if m.keys == macKeys {
		return hmac.Equal(m.outer(v.secret, message), signature)
	}
	if m.keys == rsaKeys {
		return m.verifyRSA(v.public.rsa, message, signature)
	}
	if m.keys == dsaKeys {
		return v.public.verifyDSA(message, signature)
	}
	if m.takes == schnorrParameter {
		return m.verifySchnorr(v.public, message, signature)
	}
	return curve(v.public.kind).verify(v.public.point, message, signature)
}

// VerifySingle verifies in one call. An answer without error means a good signature.
func (s *service) VerifySingle(_ context.Context, request *pb.VerifySingleRequest) (*pb.VerifySingleResponse, error) {
	m, err := choose(request.GetMech(), ep11.CanVerify)
	if err != nil {
		return nil, err
	}
	blob, err := blobOf(request.GetPubKeyBytes(), request.GetPubKey())
	if err != nil {
		return nil, err
	}
	message, err := s.card.whole(m, request.GetMech(), blob, request.GetData())
	if err != nil {
		return nil, err
	}
	if err := s.card.verify(m, blob, message, request.GetSignature()); err != nil {
		return nil, err
	}
	return &pb.VerifySingleResponse{}, nil
}

// VerifyInit begins a verification. It checks the key now; the end checks it again.
func (s *service) VerifyInit(_ context.Context, request *pb.VerifyInitRequest) (*pb.VerifyInitResponse, error) {
	m, err := choose(request.GetMech(), ep11.CanVerify)
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
	op, err := s.card.start(verifying, m, request.GetMech(), blob)
	if err != nil {
		return nil, err
	}
	state, err := s.card.sealState(op)
	if err != nil {
		return nil, err
	}
	return &pb.VerifyInitResponse{State: state}, nil
}

// VerifyUpdate takes more data, as SignUpdate does.
func (s *service) VerifyUpdate(_ context.Context, request *pb.VerifyUpdateRequest) (*pb.VerifyUpdateResponse, error) {
	state, err := s.card.update(request.GetState(), request.GetData(), verifying)
	if err != nil {
		return nil, err
	}
	return &pb.VerifyUpdateResponse{State: state}, nil
}

// VerifyFinal verifies the data of the updates.
func (s *service) VerifyFinal(_ context.Context, request *pb.VerifyFinalRequest) (*pb.VerifyFinalResponse, error) {
	if err := s.card.verifyState(request.GetState(), nil, request.GetSignature(), inParts); err != nil {
		return nil, err
	}
	return &pb.VerifyFinalResponse{}, nil
}

// Verify verifies data in one call after VerifyInit.
func (s *service) Verify(_ context.Context, request *pb.VerifyRequest) (*pb.VerifyResponse, error) {
	if err := s.card.verifyState(request.GetState(), request.GetData(), request.GetSignature(), atOnce); err != nil {
		return nil, err
	}
	return &pb.VerifyResponse{}, nil
}

// verifyState ends a verification with its last data.
func (c *Card) verifyState(state, data, signature []byte, how ending) error {
	op, m, message, err := c.finish(state, data, verifying, how)
	if err != nil {
		return err
	}
	return c.verify(m, op.Key, message, signature)
}
