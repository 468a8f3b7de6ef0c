package signer

// Operations have no level, so the ratchet does not order them: they wait in a queue of their key.

import (
	"context"
	"time"

	"pawl/ratchet"
	"pawl/tezos"
)

// operationTimeout is what an operation has in all, tries and waiting together:
// the same as the ratchet gives a flight.
const operationTimeout = 5 * time.Second

// maxOperations is how many operations of a key may be in hand: one signs, the
// others wait, as in the ratchet's queue of a slot key.
const maxOperations = 1 + 8

// queue lets one operation of a key at a time to the HSM, so that a flood of them
// leaves it free for blocks and votes.
type queue struct{ places, turn chan struct{} }

func newQueue() queue {
	return queue{places: make(chan struct{}, maxOperations), turn: make(chan struct{}, 1)}
}

// enter waits for the turn, which leave gives back. It fails with
// ratchet.ErrQueueFull, or with ctx's error.
func (q queue) enter(ctx context.Context) error {
	select {
	case q.places <- struct{}{}:
	default:
		return ratchet.ErrQueueFull
	}
	select {
	case q.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-q.places
		return ctx.Err()
	}
}

func (q queue) leave() {
	<-q.turn
	<-q.places
}

// signOperation signs what has no level.
func (k *key) signOperation(ctx context.Context, m tezos.Message) (ratchet.Release, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	if err := k.operations.enter(ctx); err != nil {
		return ratchet.Release{}, err
	}
	defer k.operations.leave()
	start := time.Now()
	sig, err := k.signVerified(ctx, m)
	return ratchet.Release{Signature: sig, SignTime: time.Since(start)}, err
}
