package grep11

import (
	"bytes"
	"cmp"
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
// one. Sign asks with the blob that gave a good signature last. When the server refuses that one for
// its master key, no signature was made, and Sign asks with the others at once.
type Key struct {
	client *Client
	public tezos.PublicKey
	method method
	blobs  *atomic.Pointer[[]candidate] // the one to ask with first, then the others; never changed in place
}

var _ hsm.Key = (*Key)(nil)

// candidate is a blob of a key. Whether it is the key's only a signature tells: somebody may have
// exchanged the blobs of two keys.
type candidate struct {
	blob   ep11.Blob
	proven bool // a signature made with it verified: it is the key's
	bad    bool // not proven, and its last signature did not verify
}

// Key pairs a public key with its blobs: one, or two while the master key is rotated; the same one
// twice counts once. It fails for kinds other than tz1, tz2, tz3 and for a blob with an unsound
// header. Whether blob and public key belong together only a signature tells.
func (c *Client) Key(pk tezos.PublicKey, blobs ...ep11.Blob) (*Key, error) {
	var list []candidate
	for _, blob := range blobs {
		list = add(list, candidate{blob: slices.Clone(blob)})
	}
	return c.key(pk, list)
}

func (c *Client) key(pk tezos.PublicKey, list []candidate) (*Key, error) {
	method, err := methodOf(pk.Kind())
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("a key without a blob cannot sign")
	}
	for i := range list {
		if _, err := list[i].blob.Header(); err != nil {
			return nil, err
		}
	}
	k := &Key{client: c, public: pk, method: method, blobs: new(atomic.Pointer[[]candidate])}
	k.blobs.Store(&list)
	c.masterKeys.add(k)
	return k, nil
}

// With returns the key with other blobs and reports whether one of them is new. The blob that Sign
// asks with first stays, so that a change of blobs loses no signature: as the first if a signature of it
// was good, else behind the others. When nothing changes With returns k itself.
func (k *Key) With(blobs ...ep11.Blob) (changed *Key, fresh bool, err error) {
	known := *k.blobs.Load()
	var list []candidate
	if first := known[0]; first.proven {
		list = append(list, first)
	}
	for _, blob := range blobs {
		at := slices.IndexFunc(known, func(c candidate) bool { return bytes.Equal(c.blob, blob) })
		if fresh = fresh || at < 0; at < 0 {
			list = add(list, candidate{blob: slices.Clone(blob)})
		} else {
			list = add(list, known[at])
		}
	}
	list = add(list, known[0])
	if !fresh && len(list) == len(known) {
		return k, false, nil
	}
	slices.SortStableFunc(list, badLast)
	if changed, err = k.client.key(k.public, list); err != nil {
		return nil, false, err
	}
	k.client.masterKeys.remove(k)
	return changed, fresh, nil
}

func badLast(a, b candidate) int {
	switch {
	case a.bad == b.bad:
		return 0
	case b.bad:
		return -1
	}
	return 1
}

// proven reports whether a signature of the blob to ask with first was good.
func (k *Key) proven() bool { return (*k.blobs.Load())[0].proven }

// onlyMasterKey returns the id of the master key that wraps the key's only blob. It is not ok
// for a key with several: the card may refuse each of them for a reason of its own.
func (k *Key) onlyMasterKey() (id [16]byte, ok bool) {
	list := *k.blobs.Load()
	header, err := list[0].blob.Header()
	return header.WrappingKeyID, err == nil && len(list) == 1
}

// add appends a candidate unless its blob is in the list.
func add(list []candidate, c candidate) []candidate {
	if slices.ContainsFunc(list, c.isOf) {
		return list
	}
	return append(list, c)
}

func (c candidate) isOf(other candidate) bool { return bytes.Equal(c.blob, other.blob) }

// settle notes what came of a blob's signature: a good one makes it the first, a bad one the last unless
// it has proven itself. It reports whether anything was not known before.
func (k *Key) settle(blob ep11.Blob, good bool) bool {
	now := candidate{blob: blob, proven: good, bad: !good}
	for {
		was := k.blobs.Load()
		if !good && slices.ContainsFunc(*was, func(c candidate) bool { return c.proven && c.isOf(now) }) {
			return false
		}
		list := slices.DeleteFunc(slices.Clone(*was), now.isOf)
		if good {
			list = slices.Insert(list, 0, now)
		} else {
			list = append(list, now)
		}
		if slices.EqualFunc(*was, list, candidate.equal) {
			return false
		}
		if k.blobs.CompareAndSwap(was, &list) {
			return true
		}
	}
}

func (c candidate) equal(other candidate) bool {
	return c.proven == other.proven && c.bad == other.bad && c.isOf(other)
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

// Sign asks the card for a signature of m. The signature is low S. The caller must verify it: here
// only the first one of each blob is. The error of a signature of another length than 64 bytes, and
// of a first one that does not verify, Is tezos.ErrBadSignature; before that the other blobs are
// tried. When the card refuses each blob the error is that of the first one, or a transient one; if its
// master key changed during the call, it is asked once more. Errors carry an hsm.Fault.
func (k *Key) Sign(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	if err := k.client.enter(ctx, "SignSingle"); err != nil {
		return tezos.Signature{}, withFault(err)
	}
	defer k.client.leave()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	signature, err := k.ask(ctx, m)
	if e, ok := errors.AsType[*Error](err); ok && e.Code == ep11.CodeIBMBlobkeyConflict {
		signature, err = k.ask(ctx, m) // the master key has changed by now
	}
	if err != nil {
		k.client.masterKeys.confirm(ctx, k)
	}
	return signature, withFault(err)
}

// ask asks the card with one blob after the other.
func (k *Key) ask(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	var refused, bad error
	for i, c := range *k.blobs.Load() {
		signature, err := k.signWith(ctx, c, m)
		switch {
		case err == nil:
			k.taken(i, c)
			return signature, nil
		case errors.Is(err, tezos.ErrBadSignature):
			k.doubt(c)
			bad = err
		case !RefusesBlob(err):
			return tezos.Signature{}, err
		case refused == nil || Transient(err):
			refused = err
		}
	}
	if bad == nil {
		k.client.masterKeys.refused(k, refused)
	}
	return tezos.Signature{}, cmp.Or(bad, refused)
}

// signWith asks the card with one blob.
func (k *Key) signWith(ctx context.Context, c candidate, m tezos.Message) (tezos.Signature, error) {
	response, err := k.client.crypto.SignSingle(ctx, k.request(c.blob, m))
	if err != nil {
		return tezos.Signature{}, callError("SignSingle", err)
	}
	signature, err := k.signature(response.GetSignature())
	if err != nil || c.proven {
		return signature, err
	}
	return signature, k.public.Verify(m, signature)
}

// taken notes that the server signed with the blob at i.
func (k *Key) taken(i int, c candidate) {
	if i > 0 || !c.proven {
		k.settle(c.blob, true)
	}
	k.client.masterKeys.signed(k)
}

// doubt notes that a blob gave a bad signature. Of a proven one that says nothing.
func (k *Key) doubt(c candidate) {
	if k.settle(c.blob, false) {
		k.client.cfg.Log.Warn("key blob gives bad signatures: it may be that of another key",
			"pkh", k.public.Hash().String(), "server", k.client.Address())
	}
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
