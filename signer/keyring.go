package signer

// The keyring: keys, their servers and ratchets at one moment, and swapping it.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"pawl/policy"
	"pawl/ratchet"
	"pawl/signer/hsm"
	"pawl/tezos"
)

// Entry is one key: what it may sign, where its marks are, and where it can sign.
type Entry struct {
	Policy  policy.Policy
	Ratchet *ratchet.Ratchet
	// Replicas are the key at each of its servers, at least one. A try goes to one of them in
	// turn, and to a good one if there is any.
	Replicas []Replica
}

// Replica is a key at one server. Keys of one server share the Server.
type Replica struct {
	Key    hsm.Key
	Server hsm.Server // nil for a key that needs no connection
}

// keyring is the keys at one moment. It never changes: Swap puts another one in its place.
type keyring struct {
	keys     map[tezos.PublicKeyHash]*key
	servers  []*server
	ratchets []*ratchet.Ratchet
}

// key is an Entry with what the signer knows of it.
type key struct {
	hash       tezos.PublicKeyHash
	public     tezos.PublicKey
	policy     policy.Policy
	ratchet    *ratchet.Ratchet
	replicas   []*replica
	operations queue
	signer     *Signer
}

// Swap replaces the keyring at once. Requests in flight end with the keys that they began with.
// What is known of a key, a server or a replica that stays, stays known. What the old keyring
// held and the new one does not is the caller's to close.
func (s *Signer) Swap(entries []Entry) error {
	s.swapping.Lock()
	defer s.swapping.Unlock()
	old := s.ring.Load()
	ring := &keyring{keys: make(map[tezos.PublicKeyHash]*key, len(entries))}
	for _, e := range entries {
		if len(e.Replicas) == 0 {
			return errors.New("a key without a server cannot sign")
		}
		k := s.newKey(e, old)
		if _, double := ring.keys[k.hash]; double {
			return fmt.Errorf("key %v is configured twice", k.hash)
		}
		for _, at := range e.Replicas {
			ring.settle(k, at, old)
		}
		ring.keys[k.hash] = k
		if !slices.Contains(ring.ratchets, e.Ratchet) {
			ring.ratchets = append(ring.ratchets, e.Ratchet)
		}
	}
	for _, r := range ring.ratchets {
		if !slices.Contains(old.ratchets, r) {
			go s.relayFailure(r)
		}
	}
	s.ring.Store(ring)
	return nil
}

// newKey makes the key of an entry. Its queue of operations stays that of the old keyring.
func (s *Signer) newKey(e Entry, old *keyring) *key {
	public := e.Replicas[0].Key.PublicKey()
	k := &key{hash: public.Hash(), public: public, policy: e.Policy, ratchet: e.Ratchet, operations: newQueue(), signer: s}
	if before, known := old.keys[k.hash]; known {
		k.operations = before.operations
	}
	return k
}

// settle gives a key its replica at a server. The server is the one of the old keyring, or of
// another key, if there is one already, and so is what is known of the replica.
func (ring *keyring) settle(k *key, at Replica, old *keyring) {
	r := &replica{hsmKey: at.Key, key: k, health: new(health)}
	if r.server = ring.serverOf(at.Server); r.server == nil {
		r.server = &server{hsm: at.Server}
		if before := old.serverOf(at.Server); before != nil {
			r.server.tries = before.tries
		} else {
			r.server.tries = new(tries)
		}
		if at.Server != nil {
			ring.servers = append(ring.servers, r.server)
		}
	}
	if before := old.replica(r); before != nil {
		r.health = before.health
	}
	k.replicas = append(k.replicas, r)
	r.server.replicas = append(r.server.replicas, r)
}

func (ring *keyring) serverOf(at hsm.Server) *server {
	if i := slices.IndexFunc(ring.servers, func(s *server) bool { return s.hsm == at }); i >= 0 {
		return ring.servers[i]
	}
	return nil
}

// replica returns the replica of the same key at the same server, or nil.
func (ring *keyring) replica(like *replica) *replica {
	k, known := ring.keys[like.key.hash]
	if !known {
		return nil
	}
	for _, r := range k.replicas {
		if r.server.hsm == like.server.hsm {
			return r
		}
	}
	return nil
}

// key returns the key that hashes to hash, as long as anything may be released.
func (s *Signer) key(hash tezos.PublicKeyHash) (*key, error) {
	if err := s.stopped(); err != nil {
		return nil, err
	}
	key, ok := s.ring.Load().keys[hash]
	if !ok {
		return nil, fmt.Errorf("%w %v", ErrUnknownKey, hash)
	}
	return key, nil
}

// PublicKey returns the public key that hashes to hash, or ErrUnknownKey.
func (s *Signer) PublicKey(hash tezos.PublicKeyHash) (tezos.PublicKey, error) {
	key, ok := s.ring.Load().keys[hash]
	if !ok {
		return tezos.PublicKey{}, fmt.Errorf("%w %v", ErrUnknownKey, hash)
	}
	return key.public, nil
}

// Keys returns the hashes of all keys in the order of their bytes.
func (s *Signer) Keys() []tezos.PublicKeyHash {
	return slices.SortedFunc(maps.Keys(s.ring.Load().keys), func(a, b tezos.PublicKeyHash) int {
		return slices.Compare(a[:], b[:])
	})
}

// Dropped is how many signatures the HSM made and nobody got: the ratchet had one of the same
// bytes, or refused, or failed.
func (s *Signer) Dropped() (n uint64) {
	for _, r := range s.ring.Load().ratchets {
		n += r.Dropped()
	}
	return n
}

// Ratchets returns what the ratchets in use hold, from memory. A key that has rows in several is told
// of by the one that it is served with.
func (s *Signer) Ratchets(ctx context.Context) (all ratchet.Snapshot, err error) {
	ring := s.ring.Load()
	for _, r := range ring.ratchets {
		held, err := r.List(ctx)
		if err != nil {
			return ratchet.Snapshot{}, err
		}
		elsewhere := func(hash tezos.PublicKeyHash) bool {
			key, served := ring.keys[hash]
			return served && key.ratchet != r
		}
		all.Marks = append(all.Marks, slices.DeleteFunc(held.Marks, func(m ratchet.StoredMark) bool {
			return elsewhere(m.Key)
		})...)
		all.Registrations = append(all.Registrations,
			slices.DeleteFunc(held.Registrations, func(r ratchet.Registration) bool { return elsewhere(r.Key) })...)
	}
	return all, nil
}
