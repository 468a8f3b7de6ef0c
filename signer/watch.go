package signer

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"pawl/ratchet"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// A server is asked every watchInterval and has watchTimeout to answer, so
// that readiness follows a lost and a returned HSM within three seconds.
const (
	watchInterval = time.Second
	watchTimeout  = time.Second
)

// errNotProbed is the state of a key that has signed nothing yet.
var errNotProbed = errors.New("no probe signature yet")

// health is whether a key can sign, as its last signature told.
type health struct {
	mu     sync.Mutex
	proven bool
	fault  error
	told   int // how often
}

// set records the outcome of a signature, or the fault of the server.
func (h *health) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.proven, h.fault = err == nil, err
	h.told++
}

// since is for a probe, which signatures may overtake: what it gives records the
// outcome, unless another one was recorded meanwhile.
func (h *health) since() (set func(error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	told := h.told
	return func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.told == told {
			h.proven, h.fault = err == nil, err
		}
	}
}

// err is nil after a good signature, else why the key cannot sign.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.proven && h.fault == nil {
		return errNotProbed
	}
	return h.fault
}

// Readiness says for each key whether it can sign now: nil, or why not. A key
// needs an HSM that signs and a ratchet that takes marks.
func (s *Signer) Readiness() map[tezos.PublicKeyHash]error {
	ready := make(map[tezos.PublicKeyHash]error, len(s.keys))
	failure := s.Err()
	for hash, key := range s.keys {
		ready[hash] = cmp.Or(failure, key.Ratchet.Trouble(), key.health.err())
	}
	return ready
}

// Watch keeps Readiness true until ctx is done: every second it asks each
// server, each key that is not known to be good for a probe signature, and each
// ratchet in trouble for a probe write. They are apart, for one that hangs must
// not hide another. It also takes up the key blobs of a keys.json that changed.
func (s *Signer) Watch(ctx context.Context) {
	var loops sync.WaitGroup
	if s.config.path != "" {
		loops.Go(func() { everySecond(ctx, s.takeUpBlobs) })
	}
	for _, db := range s.dbs {
		loops.Go(func() { everySecond(ctx, func() { probeRatchet(ctx, db) }) })
	}
	for _, server := range s.servers {
		var keys []*key
		for _, key := range s.keys {
			if key.Server == server {
				keys = append(keys, key)
			}
		}
		loops.Go(func() { everySecond(ctx, func() { askServer(ctx, server, keys) }) })
		loops.Go(func() { everySecond(ctx, func() { probeKeys(ctx, keys) }) })
	}
	loops.Wait()
}

func everySecond(ctx context.Context, do func()) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		do()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// askServer marks the keys of a server that does not answer, not even with a
// signature: one that tells no mechanisms may sign all the same.
func askServer(ctx context.Context, server *grep11.Client, keys []*key) {
	within, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	err := server.Ping(within)
	if err == nil {
		return
	}
	ready := slices.IndexFunc(keys, func(k *key) bool { return k.health.err() == nil })
	if ready < 0 || keys[ready].probe(ctx) == nil {
		return
	}
	for _, key := range keys {
		key.health.set(err)
	}
}

// probeRatchet tries whether a ratchet that could not commit can again. What
// comes of it is Trouble's to say.
func probeRatchet(ctx context.Context, db *ratchet.DB) {
	if db.Err() == nil && db.Trouble() != nil {
		_ = db.Probe(ctx)
	}
}

// maxProbes is how many keys are probed at once: half of what a server takes by
// default, so that signatures find a place.
const maxProbes = 4

// probeKeys asks the keys that are not known to be good for a signature.
func probeKeys(ctx context.Context, keys []*key) {
	var probes sync.WaitGroup
	defer probes.Wait()
	places := make(chan struct{}, maxProbes)
	for _, key := range keys {
		if key.health.err() == nil {
			continue
		}
		places <- struct{}{}
		probes.Go(func() {
			set := key.health.since()
			set(key.probe(ctx))
			<-places
		})
	}
}

// probe signs a random digest, which is that of no payload, and verifies the
// signature, which goes nowhere.
func (k *key) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	var digest tezos.Digest
	if _, err := rand.Read(digest[:]); err != nil {
		return err
	}
	if _, err := k.callHSM(ctx, digest); err != nil {
		return fmt.Errorf("probe signature: %w", err)
	}
	return nil
}
