package softcard

import (
	"context"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// signer opens a key and checks that it may sign with the mechanism.
func (c *Card) signer(m mechanism, blob []byte) (key, error) {
	k, err := c.openKey(blob)
	if err != nil {
		return key{}, err
	}
	if err := k.wants(ep11.BlobSign); err != nil {
		return key{}, err
	}
	return k, m.checkKey(k.kind)
}

// sign signs the message of a mechanism: the digest, the data for a mechanism that does not
// hash, or HMAC's inner hash.
func (c *Card) sign(m mechanism, blob, message []byte) ([]byte, error) {
	k, err := c.signer(m, blob)
	if err != nil {
		return nil, err
	}
	defer clear(k.secret)
	if m.keys == macKeys {
		return m.outer(k.secret, message), nil
	}
	if m.keys == rsaKeys {
		return m.signRSA(k, message)
	}
	if m.keys == dsaKeys {
		return signDSA(k, message)
	}
	signature, err := m.signEC(curve(k.kind), k.secret, message)
	if err != nil {
		return nil, err
	}
	c.signed(message, signature)
	return signature, nil
}

// signEC signs with a key on a curve.
func (m mechanism) signEC(on curve, secret, message []byte) ([]byte, error) {
	if m.takes == schnorrParameter {
		return m.signSchnorr(on, secret, message)
	}
	return on.sign(secret, message)
}

// start begins an operation on data. For HMAC the key goes into the hash first.
func (c *Card) start(d direction, m mechanism, wire *pb.Mechanism, blob []byte) (operation, error) {
	if m.takes == schnorrParameter {
		return operation{}, refuse(ep11.CodeMechanismInvalid, "mechanism 0x%x wants its data in one call", m.id)
	}
	op, err := begin(d, wire, blob)
	if err != nil || m.keys != macKeys {
		return op, err
	}
	k, err := c.openKey(blob)
	if err != nil {
		return operation{}, err
	}
	block := m.padded(k.secret, innerPad)
	defer clear(block)
	clear(k.secret)
	return op, op.write(m, block)
}

// whole returns the message of data given at once.
func (c *Card) whole(m mechanism, wire *pb.Mechanism, blob, data []byte) ([]byte, error) {
	if err := m.checkSize(blob, data); err != nil {
		return nil, err
	}
	if m.keys != macKeys {
		return m.message(data)
	}
	op, err := c.start(signing, m, wire, blob)
	if err != nil {
		return nil, err
	}
	if err := op.write(m, data); err != nil {
		return nil, err
	}
	return op.message(m)
}

// SignSingle signs in one call.
func (s *service) SignSingle(_ context.Context, request *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
	m, err := choose(request.GetMech(), ep11.CanSign)
	if err != nil {
		return nil, err
	}
	blob, err := blobOf(request.GetPrivKeyBytes(), request.GetPrivKey())
	if err != nil {
		return nil, err
	}
	message, err := s.card.whole(m, request.GetMech(), blob, request.GetData())
	if err != nil {
		return nil, err
	}
	signature, err := s.card.sign(m, blob, message)
	if err != nil {
		return nil, err
	}
	return &pb.SignSingleResponse{Signature: signature}, nil
}

// SignInit begins a signature. It checks the key now; the end checks it again.
func (s *service) SignInit(_ context.Context, request *pb.SignInitRequest) (*pb.SignInitResponse, error) {
	m, err := choose(request.GetMech(), ep11.CanSign)
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
	op, err := s.card.start(signing, m, request.GetMech(), blob)
	if err != nil {
		return nil, err
	}
	state, err := s.card.sealState(op)
	if err != nil {
		return nil, err
	}
	return &pb.SignInitResponse{State: state}, nil
}

// SignUpdate takes more data. Mechanisms that do not hash refuse it.
func (s *service) SignUpdate(_ context.Context, request *pb.SignUpdateRequest) (*pb.SignUpdateResponse, error) {
	state, err := s.card.update(request.GetState(), request.GetData(), signing)
	if err != nil {
		return nil, err
	}
	return &pb.SignUpdateResponse{State: state}, nil
}

// SignFinal signs the data of the updates.
func (s *service) SignFinal(_ context.Context, request *pb.SignFinalRequest) (*pb.SignFinalResponse, error) {
	signature, err := s.card.signState(request.GetState(), nil, inParts)
	if err != nil {
		return nil, err
	}
	return &pb.SignFinalResponse{Signature: signature}, nil
}

// Sign signs data in one call after SignInit. After SignUpdate it is refused.
func (s *service) Sign(_ context.Context, request *pb.SignRequest) (*pb.SignResponse, error) {
	signature, err := s.card.signState(request.GetState(), request.GetData(), atOnce)
	if err != nil {
		return nil, err
	}
	return &pb.SignResponse{Signature: signature}, nil
}

// signState ends a signature with its last data.
func (c *Card) signState(state, data []byte, how ending) ([]byte, error) {
	op, m, message, err := c.finish(state, data, signing, how)
	if err != nil {
		return nil, err
	}
	return c.sign(m, op.Key, message)
}
