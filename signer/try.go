package signer

// The tries of a signature: verified, bounded in time, made once more elsewhere.

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"pawl/signer/hsm"
	"pawl/tezos"
)

// A signature has two tries of tryTimeout, with hsm.RetryPause between them at most. All fit in the
// five seconds of a flight; a Tezos round lasts six and more.
const (
	tryTimeout = 2 * time.Second
	// leastTry is what a caller's deadline must leave for a second try: one that it cuts off
	// would only make a good server look bad.
	leastTry = 20 * time.Millisecond
)

// signVerified returns a signature of m that verifies with the key's public key. A failed try is
// made once more: immediately on another server, or after a pause if there is only one. Its
// errors are ErrHSM, or that of a ctx that was canceled: a caller who left says nothing of the
// HSM.
func (k *key) signVerified(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	first := k.choose(nil)
	sig, err := first.try(ctx, m, first.tried(m))
	if err != nil {
		if second := k.again(ctx, first, err); second != nil {
			sig, err = second.try(ctx, m, second.tried(m))
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

// again picks the replica for the second try, or nil if there must be none. A refusal of the key
// itself is final. What tells of the first server only is not, if another one may sign.
func (k *key) again(ctx context.Context, first *replica, err error) *replica {
	other, fault := k.choose(first), hsm.FaultOf(err)
	switch {
	case !timeFor(ctx, leastTry):
		return nil
	case errors.Is(err, tezos.ErrBadSignature):
		return other
	case fault == hsm.Rejected:
		return nil
	case other != first && other.fitness() <= doubtful:
		return other
	case fault != hsm.Transient && (other == first || other.fitness() == out):
		return nil
	}
	k.reconnect(ctx)
	if !pause(ctx, hsm.RetryPause) {
		return nil
	}
	return k.choose(first)
}

// timeFor reports whether ctx leaves more time than d.
func timeFor(ctx context.Context, d time.Duration) bool {
	end, bounded := ctx.Deadline()
	return ctx.Err() == nil && (!bounded || time.Until(end) > d)
}

// pause waits, and reports whether ctx lets the caller go on.
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

// try makes one attempt at a signature that verifies, and reports it to record unless the caller
// has left. A server that refuses the key may have changed its master key: if the configuration
// has a newer form of the key by now, that one is asked at once, so that no signature waits for
// Watch. A panic is an error of this request: it runs on a flight's goroutine, where it would
// end the daemon for every key.
func (r *replica) try(ctx context.Context, m tezos.Message, record func(time.Duration, error)) (sig tezos.Signature,
	err error,
) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	defer func() {
		if value := recover(); value != nil {
			sig, err = tezos.Signature{}, r.panicked(value)
		}
		if !errors.Is(ctx.Err(), context.Canceled) {
			record(time.Since(start), err)
		}
	}()
	for newer := r; newer != nil; newer = r.renewed(ctx, err) {
		r = newer
		if sig, err = r.hsmKey.Sign(ctx, m); err == nil {
			return sig, r.key.public.Verify(m, sig)
		}
	}
	return tezos.Signature{}, err
}

func (r *replica) panicked(value any) error {
	r.log().Error("panic while signing", "pkh", r.key.hash.String(), "panic", fmt.Sprint(value), "stack",
		string(debug.Stack()))
	return errors.New("panic while signing: see the log")
}

// renewed returns the newer form of a replica that failed with err, or nil if there is none.
func (r *replica) renewed(ctx context.Context, err error) *replica {
	switch hsm.FaultOf(err) {
	case hsm.Unfit, hsm.Rejected:
	case hsm.Unknown, hsm.Transient:
		return nil
	}
	s := r.key.signer
	if newer := s.ring.Load().replica(r); newer != nil && newer.hsmKey != r.hsmKey {
		return newer // by another request
	}
	if s.options.Renew == nil {
		return nil
	}
	s.options.Renew(ctx)
	if newer := s.ring.Load().replica(r); newer != nil && newer.hsmKey != r.hsmKey {
		return newer
	}
	return nil
}
