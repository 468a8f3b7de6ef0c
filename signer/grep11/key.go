package grep11

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"pawl/internal/ep11"
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
		return method{ep11.CurveEd25519, ep11.MechIBMEd25519SHA512}, nil
	case tezos.Secp256k1:
		return method{ep11.CurveSecp256k1, ep11.MechECDSA}, nil
	case tezos.P256:
		return method{ep11.CurveP256, ep11.MechECDSA}, nil
	case tezos.BLS12381, tezos.MLDSA44:
	}
	return method{}, fmt.Errorf("%v keys do not sign through GREP11 here: use tz1, tz2 or tz3", kind)
}

// Key signs with one private key: one signature at most each time, no verification, no
// second try. It is safe for concurrent use.
//
// While the HSM's master key is rotated a private key has two blobs, of which the server
// takes one. Sign asks with the blob that was taken last; when the server refuses that one
// for its master key, no signature was made, and Sign asks with the others at once.
type Key struct {
	client *Client
	public tezos.PublicKey
	method method
	blobs  *atomic.Pointer[[]ep11.Blob] // the one to ask with first, then the others; never changed in place
}

// Key pairs a blob with its public key. It fails for kinds other than tz1, tz2, tz3 and
// for a blob with an unsound head; whether the two belong together the first signature tells.
func (c *Client) Key(pk tezos.PublicKey, blob ep11.Blob) (*Key, error) {
	method, err := methodOf(pk.Kind())
	if err != nil {
		return nil, err
	}
	if _, err := blob.Header(); err != nil {
		return nil, err
	}
	k := &Key{client: c, public: pk, method: method, blobs: new(atomic.Pointer[[]ep11.Blob])}
	k.blobs.Store(&[]ep11.Blob{slices.Clone(blob)})
	return k, nil
}

// Offer gives the blobs of the key, of which the server takes one; those offered before
// are forgotten, but for the one that Sign asks with first. It tells whether there is a
// new one. A blob with an unsound head is an error, and nothing changes. Calls in flight
// are not disturbed.
func (k *Key) Offer(blobs ...ep11.Blob) (fresh bool, err error) {
	for _, blob := range blobs {
		if _, err := blob.Header(); err != nil {
			return false, err
		}
	}
	for {
		was := k.blobs.Load()
		now := (*was)[:1:1]
		for _, blob := range blobs {
			if !holds(now, blob) {
				now = append(now, slices.Clone(blob))
			}
		}
		fresh = slices.ContainsFunc(now, func(b ep11.Blob) bool { return !holds(*was, b) })
		if k.blobs.CompareAndSwap(was, &now) {
			return fresh, nil
		}
	}
}

// MasterKey is the id of the master key that wraps the key's only blob. It is not ok when
// the key has several: the card may refuse each of them for a reason of its own.
func (k *Key) MasterKey() (id [16]byte, ok bool) {
	blobs := *k.blobs.Load()
	header, err := blobs[0].Header()
	return header.WrappingKeyID, err == nil && len(blobs) == 1
}

func holds(blobs []ep11.Blob, blob ep11.Blob) bool {
	return slices.ContainsFunc(blobs, func(b ep11.Blob) bool { return bytes.Equal(b, blob) })
}

// prefer makes a blob that the server took the first one.
func (k *Key) prefer(taken ep11.Blob) {
	for {
		was := k.blobs.Load()
		now := append([]ep11.Blob{taken}, slices.DeleteFunc(slices.Clone(*was), func(b ep11.Blob) bool { return bytes.Equal(b, taken) })...)
		if k.blobs.CompareAndSwap(was, &now) {
			return
		}
	}
}

// PublicKey is the public key that Key was given.
func (k *Key) PublicKey() tezos.PublicKey { return k.public }

// Sign asks the card for the signature of a message. The signature is low S and not
// verified. The error of a signature that is not 64 bytes long Is tezos.ErrBadSignature.
// When the card refuses each blob the error is that of the first one, or a transient one.
func (k *Key) Sign(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	first := (*k.blobs.Load())[0]
	signature, err := k.signWith(ctx, first, m)
	if !RefusesBlob(err) {
		return signature, err
	}
	for _, other := range *k.blobs.Load() { // as they are now: some may have been offered meanwhile
		if bytes.Equal(other, first) {
			continue
		}
		signature, otherErr := k.signWith(ctx, other, m)
		if !RefusesBlob(otherErr) {
			if otherErr == nil {
				k.prefer(other)
			}
			return signature, otherErr
		}
		if Transient(otherErr) {
			err = otherErr
		}
	}
	return tezos.Signature{}, err
}

// RefusesBlob is whether the card did not do what it was asked because the blob is not,
// or no more, of its master key: CKR_IBM_WKID_MISMATCH; CKR_IBM_BLOB_ERROR, since it is not
// documented which of the two a card gives; CKR_IBM_BLOBKEY_CONFLICT when the master key
// changed during the call.
func RefusesBlob(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Code == ep11.CodeIBMWKIDMismatch || e.Code == ep11.CodeIBMBlobError || e.Code == ep11.CodeIBMBlobkeyConflict)
}

// signWith is Sign with one of the blobs.
func (k *Key) signWith(ctx context.Context, blob ep11.Blob, m tezos.Message) (tezos.Signature, error) {
	digest := m.Digest()
	request := &pb.SignSingleRequest{
		Mech: &pb.Mechanism{Mechanism: k.method.mechanism},
		Data: digest[:],
	}
	request.PrivKeyBytes, request.PrivKey = k.client.inDialect(blob)
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
