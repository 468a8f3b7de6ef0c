package signer

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"pawl/signer/grep11"
	"pawl/tezos"
)

// A signature has two tries of tryTimeout, with retryPause between them after a
// transient fault, in which a server that was restarted is connected again. All
// fit in the five seconds of a flight; a Tezos round lasts six and more.
const (
	tryTimeout = 2 * time.Second
	retryPause = time.Second
)

// signVerified returns a signature of digest that verifies with the key's
// public key. A transient fault of the HSM and a signature that does not
// verify get one more try, with the same digest. Its errors are ErrHSM, or that
// of a ctx that was canceled: a caller who left says nothing of the HSM.
func (k *key) signVerified(ctx context.Context, digest tezos.Digest) (tezos.Signature, error) {
	sig, err := k.try(ctx, digest)
	switch {
	case errors.Is(err, tezos.ErrBadSignature):
		sig, err = k.try(ctx, digest)
	case err != nil && grep11.Transient(err) && pause(ctx, retryPause):
		sig, err = k.try(ctx, digest)
	}
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return tezos.Signature{}, ctx.Err()
	}
	k.health.set(err)
	if err != nil {
		return tezos.Signature{}, fmt.Errorf("%w: %w", ErrHSM, err)
	}
	return sig, nil
}

// pause waits, and says whether ctx lets go on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// try has one HSM call at a verified signature, and tells who watches.
func (k *key) try(ctx context.Context, digest tezos.Digest) (tezos.Signature, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	start := time.Now()
	sig, err := k.callHSM(ctx, digest)
	if k.options.OnSign != nil && !errors.Is(ctx.Err(), context.Canceled) {
		k.options.OnSign(k.hash, time.Since(start), err)
	}
	if errors.Is(err, tezos.ErrBadSignature) {
		k.options.Log.Error("bad signature from HSM", "pkh", k.hash.String(), "digest", digest.String(), "err", err)
	}
	return sig, err
}

// callHSM gets a signature that verifies. A panic is an error of this request: it
// runs on a flight's goroutine, where it would end the daemon for every key.
func (k *key) callHSM(ctx context.Context, digest tezos.Digest) (sig tezos.Signature, err error) {
	defer func() {
		if value := recover(); value != nil {
			k.options.Log.Error("panic while signing", "pkh", k.hash.String(), "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
			sig, err = tezos.Signature{}, errors.New("panic while signing: see the log")
		}
	}()
	if sig, err = k.Key.Sign(ctx, digest); err != nil {
		return tezos.Signature{}, err
	}
	return sig, k.Key.PublicKey().Verify(digest, sig)
}
