package ratchet

import (
	"context"

	"pawl/tezos"
)

// MaxWaiting is how many payloads may wait for a slot key behind another.
const MaxWaiting = maxWaiting

// Queues returns how many slot keys have a flight.
func (r *Ratchet) Queues() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queues)
}

// Join is the first half of Sign. wait is the second, for a caller whose context does not end.
func (r *Ratchet) Join(ctx context.Context, m Mark, message tezos.Message, sign SignFunc) (wait func() (Release, error), err error) {
	f, first, err := r.join(ctx, m, message, sign)
	if err != nil {
		return nil, err
	}
	if first {
		go r.fly(f)
	}
	return func() (Release, error) {
		<-f.done
		return f.release, f.err
	}, nil
}
