package signer

import (
	"cmp"
	"context"
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

// health is whether a key can sign at a server, as its last signature there told.
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
// needs an HSM server that signs and a ratchet that takes marks.
func (s *Signer) Readiness() map[tezos.PublicKeyHash]error {
	ready := make(map[tezos.PublicKeyHash]error, len(s.keys))
	failure := s.Err()
	for hash, key := range s.keys {
		ready[hash] = cmp.Or(failure, key.Ratchet.Trouble(), key.ready())
	}
	return ready
}

// ready is nil when the key can sign at a server, else why it cannot at any.
func (k *key) ready() (err error) {
	for _, p := range k.places {
		fault := p.err()
		switch {
		case fault == nil:
			return nil
		case len(k.places) == 1:
			return fault
		case err == nil:
			err = fmt.Errorf("%s: %w", p.server.address(), fault)
		default:
			err = fmt.Errorf("%w; %s: %w", err, p.server.address(), fault)
		}
	}
	return err
}

// Watch keeps Readiness and Servers true until ctx is done: every second it asks
// each server for its mechanisms and for a probe signature of each key that is not
// known to be good there, has it take up certificates that were renewed, and asks
// each ratchet in trouble for a probe write. They are apart, for one that hangs must
// not hide another. It also takes up the key blobs of a keys.json that changed.
func (s *Signer) Watch(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { everySecond(ctx, func() { s.lookAtConfig(ctx, true) }) })
	for _, db := range s.dbs {
		loops.Go(func() { everySecond(ctx, func() { probeRatchet(ctx, db) }) })
	}
	for _, server := range s.servers {
		reload := s.reloader(server)
		loops.Go(func() { everySecond(ctx, func() { server.ask(ctx) }) })
		loops.Go(func() { everySecond(ctx, func() { server.probe(ctx) }) })
		loops.Go(func() { everySecond(ctx, func() { reload(ctx) }) })
	}
	tell := s.serverTeller(s.tellServer)
	loops.Go(func() { everySecond(ctx, tell) })
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

// ask learns the mechanisms of a server, and marks the keys of one that does not
// answer, not even with a signature: one that tells no mechanisms may sign all the same.
func (s *server) ask(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	list, err := s.client.Mechanisms(within)
	if err == nil {
		s.learn(list)
		return
	}
	ready := slices.IndexFunc(s.places, func(p *place) bool { return p.health.err() == nil })
	if ready < 0 || s.places[ready].probe(ctx) == nil || ctx.Err() != nil {
		return
	}
	for _, p := range s.places {
		p.health.set(err)
	}
}

// learn notes which kinds of keys a mechanism list has nothing for.
func (s *server) learn(list []uint64) {
	lacks := make(map[tezos.KeyKind]error)
	for _, p := range s.places {
		kind := p.key.hash.Kind()
		if _, known := lacks[kind]; !known {
			lacks[kind] = grep11.Lacks(list, kind)
		}
	}
	s.lacks.Store(&lacks)
}

// tellServer logs that a server is left out, or is not any more.
func (s *Signer) tellServer(address string, err error) {
	if err != nil {
		s.log.Warn("HSM server left out", "server", address, "err", err)
		return
	}
	s.log.Info("HSM server in use", "server", address)
}

// reloader has a server's connection take up renewed certificates, and logs that it
// did, or why it cannot, once.
func (s *Signer) reloader(server *server) func(context.Context) {
	var told string
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, watchTimeout)
		defer cancel()
		moved, err := server.client.Reload(ctx)
		switch {
		case moved:
			told = ""
			s.log.Info("certificates renewed", "server", server.address())
		case err != nil && err.Error() != told && !errors.Is(ctx.Err(), context.Canceled):
			told = err.Error()
			s.log.Warn("certificates not renewed, the old connection goes on", "server", server.address(), "err", err)
		}
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

// probe asks the keys that are not known to be good for a signature. Of those whose
// master key the server was found not to have, one stands for all.
func (s *server) probe(ctx context.Context) {
	var probes sync.WaitGroup
	defer probes.Wait()
	places := make(chan struct{}, maxProbes)
	other := make(map[[16]byte]bool) // master keys that the server has not: asked in this round
	for _, p := range s.places {
		err := p.err()
		if err == nil || s.lack(p.key) != nil {
			continue
		}
		if id, known := p.masterKey(); len(p.key.places) > 1 && otherMasterKey(err) && known {
			if _, asked := other[id]; !asked {
				p.record(ctx)
				other[id] = otherMasterKey(p.health.err())
				continue
			}
			if other[id] {
				continue
			}
		}
		places <- struct{}{}
		probes.Go(func() {
			p.record(ctx)
			<-places
		})
	}
}

// record probes, and notes the outcome unless a signature has overtaken it.
func (p *place) record(ctx context.Context) {
	set := p.health.since()
	err := p.probe(ctx)
	if ctx.Err() != nil {
		return // Watch has ended, which says nothing of the server
	}
	set(err)
	p.spread(err)
}

// probe signs a random message and verifies the signature, which goes nowhere.
func (p *place) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	message, err := tezos.NewProbe()
	if err != nil {
		return err
	}
	if _, err := p.key.callHSM(ctx, p, message); err != nil {
		return fmt.Errorf("probe signature: %w", err)
	}
	return nil
}
