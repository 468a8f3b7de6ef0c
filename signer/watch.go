package signer

// Watching servers and keys while nobody asks, so that readiness is true.

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"pawl/tezos"
)

// A server is asked every watchInterval and has watchTimeout to answer, so that readiness
// follows a lost and a returned HSM within three seconds.
const (
	watchInterval = time.Second
	watchTimeout  = time.Second
)

// Readiness says for each key whether it can sign now: nil, or why not. A key needs a server
// that signs, a ratchet that takes marks, and a registration that allows it.
func (s *Signer) Readiness() map[tezos.PublicKeyHash]error {
	keys := s.ring.Load().keys
	ready := make(map[tezos.PublicKeyHash]error, len(keys))
	failure, barred := s.Err(), s.barred()
	for hash, key := range keys {
		ready[hash] = cmp.Or(failure, key.ratchet.Trouble(), barred[hash], key.ready())
	}
	return ready
}

// barred tells of the keys that sign on no chain before an operator does something.
func (s *Signer) barred() map[tezos.PublicKeyHash]error {
	barred, signs := make(map[tezos.PublicKeyHash]error), make(map[tezos.PublicKeyHash]bool)
	all, err := s.Ratchets(context.Background())
	if err != nil {
		return nil // the ratchet has failed, which is told
	}
	for _, r := range all.Registrations {
		why := r.Stopped()
		if barred[r.Key] = cmp.Or(barred[r.Key], why); why == nil {
			signs[r.Key] = true
		}
	}
	maps.DeleteFunc(barred, func(key tezos.PublicKeyHash, _ error) bool { return signs[key] })
	return barred
}

// ready returns nil when the key can sign at a server, else why it cannot at any.
func (k *key) ready() (err error) {
	for _, r := range k.replicas {
		fault := r.trouble()
		switch {
		case fault == nil:
			return nil
		case len(k.replicas) == 1:
			return fault
		case err == nil:
			err = fmt.Errorf("%s: %w", r.server.address(), fault)
		default:
			err = fmt.Errorf("%w; %s: %w", err, r.server.address(), fault)
		}
	}
	return err
}

// Watch keeps Readiness and Servers true until ctx is done. Every second it refreshes each server and
// has each key that is not known to be good there sign a probe. Each of these runs apart, for one
// that hangs must not hide another.
func (s *Signer) Watch(ctx context.Context) {
	tell := s.serverTeller()
	tasks := rounds{busy: make(map[any]bool)}
	defer tasks.Wait()
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		ring := s.ring.Load()
		for _, server := range ring.servers {
			tasks.start(refreshing{server.hsm}, func() { server.refresh(ctx) })
			tasks.start(probing{server.hsm}, func() { server.probe(ctx) })
		}
		tell()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// rounds runs tasks by name, one of each name at a time: one that still runs is not started
// again.
type rounds struct {
	sync.WaitGroup
	mu   sync.Mutex
	busy map[any]bool
}

// The names of what is done with a server.
type (
	refreshing struct{ of any }
	probing    struct{ of any }
)

func (t *rounds) start(name any, task func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[name] {
		return
	}
	t.busy[name] = true
	t.Go(func() {
		task()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.busy, name)
	})
}

// refresh refreshes the server, and marks the keys of one that does not answer, not even with a
// signature: one that does not tell what it can do may sign all the same.
func (s *server) refresh(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	err := s.hsm.Refresh(within)
	if err == nil {
		return
	}
	ready := slices.IndexFunc(s.replicas, func(r *replica) bool { return r.health.err() == nil })
	if ready < 0 || s.replicas[ready].probe(ctx) == nil || ctx.Err() != nil {
		return
	}
	for _, r := range s.replicas {
		r.health.set(err)
	}
}

// maxProbes is how many keys are probed at once: half of what a server takes by default, so that
// signatures find a place.
const maxProbes = 4

// probe asks the keys that are not known to be good for a signature, except those that are known
// to be of no use there.
func (s *server) probe(ctx context.Context) {
	var probes sync.WaitGroup
	defer probes.Wait()
	places := make(chan struct{}, maxProbes)
	for _, r := range s.replicas {
		if r.health.err() == nil || r.hsmKey.Trouble() != nil {
			continue
		}
		places <- struct{}{}
		probes.Go(func() {
			r.recordProbe(ctx)
			<-places
		})
	}
}

// recordProbe probes, and notes the outcome unless a signature has overtaken it.
func (r *replica) recordProbe(ctx context.Context) {
	set := r.health.since()
	err := r.probe(ctx)
	if ctx.Err() != nil {
		return // Watch has ended, which says nothing of the server
	}
	set(err)
}

// probe signs a random message and verifies the signature, which goes nowhere.
func (r *replica) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	message, err := tezos.NewProbe()
	if err != nil {
		return err
	}
	if _, err := r.try(ctx, message, func(time.Duration, error) {}); err != nil {
		return fmt.Errorf("probe signature: %w", err)
	}
	return nil
}
