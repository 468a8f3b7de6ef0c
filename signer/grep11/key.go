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
	"pawl/signer/hsm"
	"pawl/tezos"
)

// signatureSize is the size in bytes of r‖s (ECDSA, PKCS #11 v2.40 mechanisms, section 2.3.1)
// and of R‖S (Ed25519, RFC 8032 section 5.1.6).
const signatureSize = 64

// method says how to make keys of one kind, and how to sign with them.
type method struct {
	curve     string // CKA_EC_PARAMS
	mechanism uint64 // for SignSingle
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

// Key signs with one private key. It is safe for concurrent use.
//
// While the HSM's master key is rotated, a private key has two blobs, and the server accepts
// one of them. Sign sends the blob that was accepted last. When the server refuses it because of
// the master key, it has made no signature, and Sign sends the others at once.
type Key struct {
	client *Client
	public tezos.PublicKey
	method method
	blobs  *atomic.Pointer[[]ep11.Blob] // in the order in which Sign tries them; never changed in place
}

var _ hsm.Key = (*Key)(nil)

// Key pairs a public key with its blobs: one, or two while the master key is rotated. It fails
// for kinds other than tz1, tz2 and tz3, and for a blob with an unsound header. It cannot tell
// whether blob and public key belong together; only a verified signature can.
func (c *Client) Key(pk tezos.PublicKey, blobs ...ep11.Blob) (*Key, error) {
	method, err := methodOf(pk.Kind())
	if err != nil {
		return nil, err
	}
	if len(blobs) == 0 {
		return nil, errors.New("a key without a blob cannot sign")
	}
	known := make([]ep11.Blob, len(blobs))
	for i, blob := range blobs {
		if _, err := blob.Header(); err != nil {
			return nil, err
		}
		known[i] = slices.Clone(blob)
	}
	k := &Key{client: c, public: pk, method: method, blobs: new(atomic.Pointer[[]ep11.Blob])}
	k.blobs.Store(&known)
	c.masterKeys.add(k)
	return k, nil
}

// With returns the key with other blobs, and reports whether one of them is new. It keeps the
// blob that was accepted last, so that no signature is lost by the change. When nothing changes it
// returns k itself.
func (k *Key) With(blobs ...ep11.Blob) (changed *Key, fresh bool, err error) {
	known := *k.blobs.Load()
	all := known[:1:1]
	for _, blob := range blobs {
		if !holds(all, blob) {
			all = append(all, blob)
		}
	}
	fresh = slices.ContainsFunc(all, func(b ep11.Blob) bool { return !holds(known, b) })
	if !fresh && len(all) == len(known) {
		return k, false, nil
	}
	if changed, err = k.client.Key(k.public, all...); err != nil {
		return nil, false, err
	}
	k.client.masterKeys.remove(k)
	return changed, fresh, nil
}

// onlyMasterKey returns the id of the master key that wraps the key's only blob. It returns
// false for a key with several blobs, because the card may refuse each for a different reason.
func (k *Key) onlyMasterKey() (id [16]byte, ok bool) {
	blobs := *k.blobs.Load()
	header, err := blobs[0].Header()
	return header.WrappingKeyID, err == nil && len(blobs) == 1
}

func holds(blobs []ep11.Blob, blob ep11.Blob) bool {
	return slices.ContainsFunc(blobs, func(b ep11.Blob) bool { return bytes.Equal(b, blob) })
}

// prefer moves a blob that the server accepted to the front.
func (k *Key) prefer(taken ep11.Blob) {
	isTaken := func(b ep11.Blob) bool { return bytes.Equal(b, taken) }
	for {
		was := k.blobs.Load()
		now := append([]ep11.Blob{taken}, slices.DeleteFunc(slices.Clone(*was), isTaken)...)
		if k.blobs.CompareAndSwap(was, &now) {
			return
		}
	}
}

// PublicKey returns the public key that Client.Key was given.
func (k *Key) PublicKey() tezos.PublicKey { return k.public }

// Trouble returns why the server cannot sign with the key: its mechanism list lacks the key's
// mechanism, or it has refused a key, this or another, because it lacks their master key. It
// returns nil when no such reason is known. It makes no call.
func (k *Key) Trouble() error {
	if err := k.client.lacks(k.public.Kind()); err != nil {
		return withFault(err)
	}
	return withFault(k.client.masterKeys.missing(k))
}

// Sign asks the card for a signature of m. The signature has a low S and is not verified. If it
// has not 64 bytes, the error Is tezos.ErrBadSignature. When the card refuses all blobs, Sign
// returns a transient error if there is one, and otherwise the first. Errors carry an hsm.Fault.
func (k *Key) Sign(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	if err := k.client.enter(ctx, "SignSingle"); err != nil {
		return tezos.Signature{}, withFault(err)
	}
	defer k.client.leave()
	blobs := *k.blobs.Load()
	var refused error
	for i, blob := range blobs {
		response, err := callNow(ctx, "SignSingle", k.client.crypto.SignSingle, k.request(blob, m))
		if err == nil {
			k.taken(i, blob)
			return k.signature(response.GetSignature())
		}
		if !RefusesBlob(err) {
			return tezos.Signature{}, withFault(err)
		}
		if refused == nil || Transient(err) {
			refused = err
		}
	}
	k.client.masterKeys.refused(k, refused)
	return tezos.Signature{}, withFault(refused)
}

// taken records that the server has signed with the blob at i.
func (k *Key) taken(i int, blob ep11.Blob) {
	if i > 0 {
		k.prefer(blob)
	}
	k.client.masterKeys.signed(k)
}

// request returns the request for one signature with a blob.
func (k *Key) request(blob ep11.Blob, m tezos.Message) *pb.SignSingleRequest {
	digest := m.Digest()
	request := &pb.SignSingleRequest{Mech: &pb.Mechanism{Mechanism: k.method.mechanism}, Data: digest[:]}
	request.PrivKeyBytes, request.PrivKey = k.client.inDialect(blob)
	return request
}

// signature checks the size of a signature from the card, and makes its S low.
func (k *Key) signature(raw []byte) (tezos.Signature, error) {
	if len(raw) != signatureSize {
		return tezos.Signature{}, fmt.Errorf("SignSingle: signature of %d bytes, want %d: %w",
			len(raw), signatureSize, tezos.ErrBadSignature)
	}
	signature, err := tezos.NewSignature(k.public.Kind(), raw)
	if err != nil {
		return tezos.Signature{}, fmt.Errorf("SignSingle: %v", err)
	}
	return signature.LowS(), nil
}

// RefusesBlob reports whether the card did nothing because another master key wraps the blob.
// The codes are CKR_IBM_WKID_MISMATCH and CKR_IBM_BLOB_ERROR, since it is not documented which of
// the two a card returns, and CKR_IBM_BLOBKEY_CONFLICT, when the master key changed during the call.
func RefusesBlob(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Code == ep11.CodeIBMWKIDMismatch || e.Code == ep11.CodeIBMBlobError ||
		e.Code == ep11.CodeIBMBlobkeyConflict)
}
