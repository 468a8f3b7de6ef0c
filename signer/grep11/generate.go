package grep11

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// Generated is a new key pair as the server made it.
type Generated struct {
	Blob      ep11.Blob
	PublicKey tezos.PublicKey
	SPKI      []byte // CKA_PUBLIC_KEY_INFO as the HSM returned it
}

// Generate makes a key pair of kind tz1, tz2 or tz3 in the HSM. The key can only sign. It can
// be extracted only if extractable is true.
//
// Generate checks the answer: it holds one private blob with a sound header, which outlives
// the login session and is extractable only if asked for, and a public key of the kind.
func (c *Client) Generate(ctx context.Context, kind tezos.KeyKind, extractable bool) (Generated, error) {
	method, err := methodOf(kind)
	if err != nil {
		return Generated{}, err
	}
	response, err := call(ctx, c, "GenerateKeyPair", c.crypto.GenerateKeyPair, keyPairRequest(method.curve, extractable))
	if err != nil {
		return Generated{}, err
	}
	generated, err := readKeyPair(response)
	if err != nil {
		return Generated{}, fmt.Errorf("GenerateKeyPair: %v", err)
	}
	if got := generated.PublicKey.Kind(); got != kind {
		return Generated{}, fmt.Errorf("GenerateKeyPair: asked for a %v key, got %v", kind, got)
	}
	if err := checkNew(generated.Blob, extractable); err != nil {
		return Generated{}, fmt.Errorf("GenerateKeyPair: %v", err)
	}
	return generated, nil
}

// checkNew returns nil when a new blob has a sound header, is not bound to a login session,
// and is extractable only if asked for.
func checkNew(blob ep11.Blob, extractable bool) error {
	header, err := blob.Header()
	switch {
	case err != nil:
		return err
	case header.SessionBound:
		return errors.New("the server bound the key to a login session, with which it would be lost")
	case header.Extractable && !extractable:
		return errors.New("the server made the key extractable unasked")
	}
	return nil
}

func keyPairRequest(curve string, extractable bool) *pb.GenerateKeyPairRequest {
	return &pb.GenerateKeyPairRequest{
		Mech: &pb.Mechanism{Mechanism: ep11.MechECKeyPairGen},
		PrivKeyTemplate: map[uint64]*pb.AttributeValue{
			ep11.AttrSign:        truth(true),
			ep11.AttrPrivate:     truth(true),
			ep11.AttrSensitive:   truth(true),
			ep11.AttrExtractable: truth(extractable),
		},
		PubKeyTemplate: map[uint64]*pb.AttributeValue{
			ep11.AttrECParams: {OneAttr: &pb.AttributeValue_AttributeB{AttributeB: []byte(curve)}},
			ep11.AttrVerify:   truth(true),
		},
	}
}

func truth(b bool) *pb.AttributeValue {
	return &pb.AttributeValue{OneAttr: &pb.AttributeValue_AttributeTF{AttributeTF: b}}
}

func readKeyPair(response *pb.GenerateKeyPairResponse) (Generated, error) {
	blob, err := onlyBlob(response.GetPrivKey(), response.GetPrivKeyBytes())
	if err != nil {
		return Generated{}, fmt.Errorf("private key: %v", err)
	}
	if spki := response.GetPubKey().GetAttributes()[ep11.AttrPublicKeyInfo].GetAttributeB(); len(spki) > 0 {
		key, _, err := parseSPKI(spki)
		return Generated{Blob: blob, PublicKey: key, SPKI: spki}, err
	}
	public, err := onlyBlob(response.GetPubKey(), response.GetPubKeyBytes())
	if err != nil {
		return Generated{}, fmt.Errorf("public key: %v", err)
	}
	key, spki, err := parseSPKI(public)
	return Generated{Blob: blob, PublicKey: key, SPKI: spki}, err
}

// onlyBlob returns the first blob of a KeyBlob, or the raw one if there is none. Servers that send
// both send the same twice, so two different blobs are an error.
func onlyBlob(message *pb.KeyBlob, raw []byte) ([]byte, error) {
	var first []byte
	if blobs := message.GetKeyBlobs(); len(blobs) > 0 {
		first = blobs[0]
	}
	switch {
	case len(first) == 0 && len(raw) == 0:
		return nil, errors.New("the server sent no blob")
	case len(first) == 0:
		return raw, nil
	case len(raw) > 0 && !bytes.Equal(first, raw):
		return nil, errors.New("the server sent two different blobs")
	}
	return first, nil
}
