package signer

// A replica is a key at a server: how fit it is, and which one gets the next try.

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"pawl/signer/hsm"
	"pawl/tezos"
)

// server is one hsm.Server with the keys that are used there.
type server struct {
	hsm      hsm.Server // nil for keys that need no connection
	replicas []*replica
	*tries
}

// tries counts the tries of signatures at a server, probes not included.
type tries struct{ signed, failed atomic.Uint64 }

func (s *server) address() string {
	if s.hsm == nil {
		return ""
	}
	return s.hsm.Address()
}

func (s *server) state() hsm.State {
	if s.hsm == nil {
		return hsm.Up
	}
	return s.hsm.State()
}

// replica is a key at one server. The fields never change.
type replica struct {
	hsmKey hsm.Key
	key    *key
	server *server
	health *health
}

func (r *replica) log() *slog.Logger { return r.key.signer.options.Log }

// fitness is how much is to be expected of a replica.
type fitness int

// The fitnesses, best first.
const (
	good     fitness = iota // the key signs there
	full                    // it does, and as many calls as may be are in flight
	doubtful                // connected, but the key has not signed yet, or failed the last time
	away                    // not connected
	out                     // the server is not one for the key, or the key is refused
)

func (r *replica) fitness() fitness {
	err, state := r.trouble(), r.server.state()
	fault := hsm.FaultOf(err)
	switch {
	case fault == hsm.Unfit, fault == hsm.Rejected:
		return out
	case state == hsm.Down:
		return away
	case err != nil:
		return doubtful
	case state == hsm.Full:
		return full
	}
	return good
}

// trouble returns nil when the key can sign there, else why not.
func (r *replica) trouble() error { return cmp.Or(r.hsmKey.Trouble(), r.health.err()) }

// choose picks the replica for a try: in turn, of those that stand best. The one that was tried
// before counts as doubtful at best, and is the last of its fitness. With all of them in trouble
// it is the least bad one, so that a server that is back is used at once.
func (k *key) choose(before *replica) (best *replica) {
	if len(k.replicas) == 1 {
		return k.replicas[0]
	}
	turn, least := k.signer.turn.Add(1), out+1
	for range k.replicas {
		r := k.replicas[turn%uint64(len(k.replicas))]
		turn++
		stands := r.fitness()
		if r == before {
			stands = max(stands, doubtful)
		}
		if stands < least || stands == least && best == before {
			best, least = r, stands
		}
	}
	return best
}

// reconnect refreshes the servers that are not connected, without waiting for them.
func (k *key) reconnect(ctx context.Context) {
	for _, r := range k.replicas {
		if r.server.state() != hsm.Down {
			continue
		}
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), watchTimeout)
			defer cancel()
			_ = r.server.hsm.Refresh(ctx) // the second try tells
		}()
	}
}

// tried returns what records the outcome of a request's try to have m signed. Probes are recorded
// by others, and log nothing.
func (r *replica) tried(m tezos.Message) func(time.Duration, error) {
	return func(elapsed time.Duration, err error) {
		if errors.Is(err, tezos.ErrBadSignature) {
			r.log().Error("bad signature from HSM", "pkh", r.key.hash.String(), "server", r.server.address(),
				"digest", m.Digest().String(), "err", err)
		}
		r.record(elapsed, err)
	}
}

func (r *replica) record(elapsed time.Duration, err error) {
	if err == nil {
		r.server.signed.Add(1)
	} else {
		r.server.failed.Add(1)
	}
	r.health.set(err)
	if told := r.key.signer.options.OnSign; told != nil {
		told(r.key.hash, elapsed, err)
	}
}

// health is the outcome of the last signature of a key at a server.
type health struct {
	mu       sync.Mutex
	proven   bool
	fault    error
	outcomes int // recorded so far
}

// set records the outcome of a signature, or the fault of the server.
func (h *health) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.proven, h.fault = err == nil, err
	h.outcomes++
}

// since returns a setter for a probe. It does nothing if another outcome was recorded meanwhile.
func (h *health) since() (set func(error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	outcomes := h.outcomes
	return func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.outcomes == outcomes {
			h.proven, h.fault = err == nil, err
		}
	}
}

// err returns nil after a good signature, else why the key cannot sign.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.proven && h.fault == nil {
		return errNotProbed
	}
	return h.fault
}
