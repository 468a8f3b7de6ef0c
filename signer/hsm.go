package signer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pawl/ratchet"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// A signature may take tryTimeout a try and operationTimeout in all, tries and
// waiting together. A Tezos round lasts 6 s and more: later is too late. For
// consensus requests the ratchet's flight sets the same bound.
const (
	tryTimeout       = 2 * time.Second
	operationTimeout = 5 * time.Second
)

// signOperation signs what has no level.
func (k *key) signOperation(ctx context.Context, digest tezos.Digest) (ratchet.Release, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	start := time.Now()
	sig, err := k.signVerified(ctx, digest)
	return ratchet.Release{Signature: sig, SignTime: time.Since(start)}, err
}

// signVerified returns a signature of digest that verifies with the key's
// public key. A transient fault of the HSM and a signature that does not
// verify get one more try, with the same digest. Its errors are ErrHSM.
func (k *key) signVerified(ctx context.Context, digest tezos.Digest) (tezos.Signature, error) {
	sig, err := k.try(ctx, digest)
	if err != nil && ctx.Err() == nil && (grep11.Transient(err) || errors.Is(err, tezos.ErrBadSignature)) {
		sig, err = k.try(ctx, digest)
	}
	if !errors.Is(ctx.Err(), context.Canceled) { // a caller that left says nothing of the HSM
		k.health.set(err)
	}
	if err != nil {
		return tezos.Signature{}, fmt.Errorf("%w: %w", ErrHSM, err)
	}
	return sig, nil
}

// try has one HSM call at a verified signature.
func (k *key) try(ctx context.Context, digest tezos.Digest) (sig tezos.Signature, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	start := time.Now()
	if sig, err = k.Key.Sign(ctx, digest); err == nil {
		err = k.Key.PublicKey().Verify(digest, sig)
	}
	if k.options.OnSign != nil {
		k.options.OnSign(k.hash, time.Since(start), err)
	}
	if errors.Is(err, tezos.ErrBadSignature) {
		k.options.Log.Error("bad signature from HSM", "pkh", k.hash.String(), "digest", digest.String(), "err", err)
	}
	return sig, err
}
