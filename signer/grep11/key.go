package grep11

import (
	"context"
	"fmt"
	"slices"

	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// signatureSize is that of r‖s (ECDSA, PKCS #11 v2.40 mechanisms, section 2.3.1) and of
// R‖S (Ed25519, RFC 8032 section 5.1.6).
const signatureSize = 64

// method is how keys of one kind are made and sign.
type method struct {
	curve     string // CKA_EC_PARAMS
	mechanism uint64 // of SignSingle
}

func methodOf(kind tezos.KeyKind) (method, error) {
	switch kind {
	case tezos.Ed25519:
		return method{CurveEd25519, MechIBMEd25519SHA512}, nil
	case tezos.Secp256k1:
		return method{CurveSecp256k1, MechECDSA}, nil
	case tezos.P256:
		return method{CurveP256, MechECDSA}, nil
	case tezos.BLS12381, tezos.MLDSA44:
	}
	return method{}, fmt.Errorf("%v keys do not sign through GREP11 here: use tz1, tz2 or tz3", kind)
}

// Key signs with one private key: one call each time, no verification, no second try.
type Key struct {
	client *Client
	public tezos.PublicKey
	method method
	blob   func() Blob // a function: of an unexported Blob fmt would print the bytes
}

// Key pairs a blob with its public key. It fails for kinds other than tz1, tz2, tz3 and
// for a blob with an unsound head; whether the two belong together the first signature tells.
func (c *Client) Key(pk tezos.PublicKey, blob Blob) (*Key, error) {
	method, err := methodOf(pk.Kind())
	if err != nil {
		return nil, err
	}
	if _, err := blob.Header(); err != nil {
		return nil, err
	}
	blob = slices.Clone(blob)
	return &Key{client: c, public: pk, method: method, blob: func() Blob { return blob }}, nil
}

// PublicKey is the public key that Key was given.
func (k *Key) PublicKey() tezos.PublicKey { return k.public }

// Sign asks the card for the signature of a digest. The signature is low S and not
// verified. The error of a signature that is not 64 bytes long Is tezos.ErrBadSignature.
func (k *Key) Sign(ctx context.Context, d tezos.Digest) (tezos.Signature, error) {
	request := &pb.SignSingleRequest{
		Mech: &pb.Mechanism{Mechanism: k.method.mechanism},
		Data: d[:],
	}
	if k.client.dialect != V2 {
		request.PrivKeyBytes = k.blob()
	}
	if k.client.dialect != V1 {
		request.PrivKey = &pb.KeyBlob{KeyBlobs: [][]byte{k.blob()}}
	}
	response, err := call(ctx, k.client, "SignSingle", k.client.crypto.SignSingle, request)
	if err != nil {
		return tezos.Signature{}, err
	}
	raw := response.GetSignature()
	if len(raw) != signatureSize {
		return tezos.Signature{}, fmt.Errorf("SignSingle: signature of %d bytes, want %d: %w", len(raw), signatureSize, tezos.ErrBadSignature)
	}
	signature, err := tezos.NewSignature(k.public.Kind(), raw)
	if err != nil {
		return tezos.Signature{}, fmt.Errorf("SignSingle: %v", err)
	}
	return signature.LowS(), nil
}
