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

// A signature has two tries of tryTimeout. After a transient fault of the only server
// that could sign there is retryPause between them, in which one that was restarted
// is connected again. All fit in the five seconds of a flight; a Tezos round lasts six and more.
const (
	tryTimeout = 2 * time.Second
	retryPause = time.Second
	// leastTry is what a caller's deadline must leave for a second try: one that it cuts
	// off would only make a good server look bad.
	leastTry = 20 * time.Millisecond
)

// signVerified returns a signature of m that verifies with the key's
// public key. A transient fault of an HSM server and a signature that does not
// verify get one more try, with the same message and at another server if there is
// one. Its errors are ErrHSM, or that of a ctx that was canceled: a caller who
// left says nothing of the HSM.
func (k *key) signVerified(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	first := k.choose(nil)
	sig, err := k.try(ctx, first, m)
	if err != nil {
		if other := k.again(ctx, first, err); other != nil {
			sig, err = k.try(ctx, other, m)
		}
	}
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return tezos.Signature{}, ctx.Err()
	}
	if err != nil {
		return tezos.Signature{}, fmt.Errorf("%w: %w", ErrHSM, err)
	}
	return sig, nil
}

// again is where the try that failed at first with err is made once more, or nil. A
// refusal that is fatal to the key is final. What tells of the first server and not of the
// key is not, if there is another that has not refused it, be it not connected yet.
func (k *key) again(ctx context.Context, first *place, err error) *place {
	other := k.choose(first)
	switch {
	case !timeFor(ctx, leastTry):
		return nil
	case errors.Is(err, tezos.ErrBadSignature):
		return other
	case fatal(err):
		return nil
	case other != first && other.standing() <= doubtful:
		return other
	case !grep11.Transient(err) && (other == first || other.standing() == unfit):
		return nil
	}
	k.wake()
	if !pause(ctx, retryPause) {
		return nil
	}
	return k.choose(first)
}

// fatal says whether err tells of the key: a refusal by the card that is neither trouble
// of its own nor for want of the master key or the mechanism.
func fatal(err error) bool {
	_, refused := errors.AsType[*grep11.Error](err)
	return refused && !grep11.Transient(err) && !grep11.Unfit(err)
}

// timeFor says whether ctx leaves so much time.
func timeFor(ctx context.Context, d time.Duration) bool {
	end, bounded := ctx.Deadline()
	return ctx.Err() == nil && (!bounded || time.Until(end) > d)
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

// try has one HSM call at a verified signature, and tells who watches. A caller who
// left says nothing of the HSM.
func (k *key) try(ctx context.Context, at *place, m tezos.Message) (tezos.Signature, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	start := time.Now()
	sig, err := k.callHSM(ctx, at, m)
	if !errors.Is(ctx.Err(), context.Canceled) {
		at.tried(err)
		if k.options.OnSign != nil {
			k.options.OnSign(k.hash, time.Since(start), err)
		}
	}
	if errors.Is(err, tezos.ErrBadSignature) {
		k.options.Log.Error("bad signature from HSM", "pkh", k.hash.String(), "server", at.server.address(), "digest", m.Digest().String(), "err", err)
	}
	return sig, err
}

// callHSM gets a signature that verifies. A panic is an error of this request: it
// runs on a flight's goroutine, where it would end the daemon for every key.
func (k *key) callHSM(ctx context.Context, at *place, m tezos.Message) (sig tezos.Signature, err error) {
	defer func() {
		if value := recover(); value != nil {
			k.options.Log.Error("panic while signing", "pkh", k.hash.String(), "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
			sig, err = tezos.Signature{}, errors.New("panic while signing: see the log")
		}
	}()
	if sig, err = at.sign(ctx, m); err != nil {
		return tezos.Signature{}, err
	}
	return sig, k.Key.PublicKey().Verify(m, sig)
}

// sign asks with the blobs that are known. A server that refuses all of them for its
// master key may have finalised a new one, and then keys.json has the blobs for it: it is
// asked once more with those, within ctx, so that no signature waits for Watch.
func (p *place) sign(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	known := p.offered.Load()
	sig, err := p.Sign(ctx, m)
	if !grep11.RefusesBlob(err) {
		return sig, err
	}
	if p.key.signer.lookAtConfig(ctx, false); p.offered.Load() == known {
		return sig, err
	}
	return p.Sign(ctx, m)
}
