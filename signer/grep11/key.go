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

// signatureSize is the length of r‖s (ECDSA, PKCS #11 v2.40 mechanisms, section 2.3.1) and of
// R‖S (Ed25519, RFC 8032 section 5.1.6).
const signatureSize = 64

// method is how keys of one kind are generated and used.
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

// Key signs with one private key. It is safe for concurrent use.
//
// While the HSM's master key is rotated a private key has two blobs, of which the server takes
// one. Sign asks with the blob that was taken last. When the server refuses that one for its
// master key, no signature was made, and Sign asks with the others at once.
type Key struct {
	client *Client
	public tezos.PublicKey
	method method
	blobs  *atomic.Pointer[[]ep11.Blob] // the one to ask with first, then the others; never changed in place
}

var _ hsm.Key = (*Key)(nil)

// Key pairs a public key with its blobs: one, or two while the master key is rotated; the same one
// twice counts once. It fails for kinds other than tz1, tz2, tz3 and for a blob with an unsound
// header. Whether blob and public key belong together only a signature tells.
func (c *Client) Key(pk tezos.PublicKey, blobs ...ep11.Blob) (*Key, error) {
	method, err := methodOf(pk.Kind())
	if err != nil {
		return nil, err
	}
	if len(blobs) == 0 {
		return nil, errors.New("a key without a blob cannot sign")
	}
	known := distinct(blobs)
	for i, blob := range known {
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

// With returns the key with other blobs and reports whether one of them is new. The blob that
// Sign asks with first stays, so that a change of blobs loses no signature. When nothing changes
// it returns k itself.
func (k *Key) With(blobs ...ep11.Blob) (changed *Key, fresh bool, err error) {
	known := *k.blobs.Load()
	all := distinct(append(known[:1:1], blobs...))
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

// onlyMasterKey returns the id of the master key that wraps the key's only blob. It is not ok
// for a key with several: the card may refuse each of them for a reason of its own.
func (k *Key) onlyMasterKey() (id [16]byte, ok bool) {
	blobs := *k.blobs.Load()
	header, err := blobs[0].Header()
	return header.WrappingKeyID, err == nil && len(blobs) == 1
}

// distinct returns the blobs in their order, each once.
func distinct(blobs []ep11.Blob) (list []ep11.Blob) {
	for _, blob := range blobs {
		if !holds(list, blob) {
			list = append(list, blob)
		}
	}
	return list
}

func holds(blobs []ep11.Blob, blob ep11.Blob) bool {
	return slices.ContainsFunc(blobs, func(b ep11.Blob) bool { return bytes.Equal(b, blob) })
}

// prefer moves a blob that the server accepted to the front.
func (k *Key) prefer(taken ep11.Blob) {
	for {
		was := k.blobs.Load()
		others := slices.DeleteFunc(slices.Clone(*was), func(b ep11.Blob) bool { return bytes.Equal(b, taken) })
		now := append([]ep11.Blob{taken}, others...)
		if k.blobs.CompareAndSwap(was, &now) {
			return
		}
	}
}

// PublicKey returns the public key that Client.Key was given.
func (k *Key) PublicKey() tezos.PublicKey { return k.public }

// Trouble returns why the server cannot sign with the key: its mechanism list lacks what the
// key needs, or it refused this key, or another one of the same master key, for the master key.
// It returns nil if nothing is known against it.
func (k *Key) Trouble() error {
	if err := k.client.lacks(k.public.Kind()); err != nil {
		return withFault(err)
	}
	return withFault(k.client.masterKeys.missing(k))
}

// Sign asks the card for a signature of m. The signature is low S and not verified. The error
// of a signature of another length than 64 bytes Is tezos.ErrBadSignature. When the card refuses
// each blob the error is that of the first one, or a transient one. Errors carry an hsm.Fault.
func (k *Key) Sign(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	if err := k.client.enter(ctx, "SignSingle"); err != nil {
		return tezos.Signature{}, withFault(err)
	}
	defer k.client.leave()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var refused error
	for i, blob := range *k.blobs.Load() {
		response, err := k.client.crypto.SignSingle(ctx, k.request(blob, m))
		if err == nil {
			k.taken(i, blob)
			return k.signature(response.GetSignature())
		}
		err = callError("SignSingle", err)
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

// taken notes that the server signed with the blob at i.
func (k *Key) taken(i int, blob ep11.Blob) {
	if i > 0 {
		k.prefer(blob)
	}
	k.client.masterKeys.signed(k)
}

// request is the request for one signature with a blob.
func (k *Key) request(blob ep11.Blob, m tezos.Message) *pb.SignSingleRequest {
	digest := m.Digest()
	request := &pb.SignSingleRequest{Mech: &pb.Mechanism{Mechanism: k.method.mechanism}, Data: digest[:]}
	request.PrivKeyBytes, request.PrivKey = k.client.inDialect(blob)
	return request
}

// signature reads the card's answer.
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

// RefusesBlob reports whether the card refused the blob because it is not, or no longer, of
// its master key, and so did nothing: CKR_IBM_WKID_MISMATCH; CKR_IBM_BLOB_ERROR, since it is
// not documented which of the two a card gives; CKR_IBM_BLOBKEY_CONFLICT when the master key
// changed during the call.
func RefusesBlob(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Code == ep11.CodeIBMWKIDMismatch || e.Code == ep11.CodeIBMBlobError ||
		e.Code == ep11.CodeIBMBlobkeyConflict)
}
