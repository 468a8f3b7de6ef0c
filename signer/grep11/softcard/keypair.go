package softcard

import (
	"bytes"
	"context"

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
)

// GenerateKeyPair makes a key pair on the curve of the public template's CKA_EC_PARAMS.
func (s *service) GenerateKeyPair(_ context.Context, request *pb.GenerateKeyPairRequest) (*pb.GenerateKeyPairResponse, error) {
	if _, err := choose(request.GetMech(), grep11.CanGenerateKeyPair); err != nil {
		return nil, err
	}
	public, err := readTemplate(request.GetPubKeyTemplate(), grep11.ClassPublicKey)
	if err != nil {
		return nil, err
	}
	private, err := readTemplate(request.GetPrivKeyTemplate(), grep11.ClassPrivateKey)
	if err != nil {
		return nil, err
	}
	on, err := pairCurve(public, private)
	if err != nil {
		return nil, err
	}
	return s.card.newPair(on, private, public)
}

// pairCurve is the curve both templates agree on; the public one has to name it.
func pairCurve(public, private keyTemplate) (curve, error) {
	if len(public.params) == 0 {
		return 0, refuse(grep11.CodeTemplateIncomplete, "the public template lacks CKA_EC_PARAMS")
	}
	if private.params != nil && !bytes.Equal(private.params, public.params) {
		return 0, refuse(grep11.CodeTemplateInconsistent, "the templates name different curves")
	}
	on, ok := curveOf(public.params)
	if !ok {
		return 0, refuse(grep11.CodeCurveNotSupported, "no such curve here: Ed25519, secp256k1 and P-256 are")
	}
	return on, nil
}

// newPair generates and wraps, and fills the answer for both generations of the wire.
func (c *Card) newPair(on curve, private, public keyTemplate) (*pb.GenerateKeyPairResponse, error) {
	secret, point, err := on.generate()
	if err != nil {
		return nil, err
	}
	blob, err := c.sealPrivate(privateKey{curve: on, attributes: private.attributes, secret: secret})
	if err != nil {
		return nil, err
	}
	maced, err := c.sealPublic(publicKey{curve: on, attributes: public.attributes, point: point})
	if err != nil {
		return nil, err
	}
	spki := on.spki(point)
	return &pb.GenerateKeyPairResponse{
		PrivKeyBytes: blob,
		PubKeyBytes:  maced,
		PrivKey:      &pb.KeyBlob{Attributes: private.describe(on, spki), KeyBlobs: [][]byte{blob}},
		PubKey:       &pb.KeyBlob{Attributes: public.describe(on, spki), KeyBlobs: [][]byte{maced}},
	}, nil
}
