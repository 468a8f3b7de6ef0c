package sqlite

// The copy of the tables that Look reads.

import (
	"context"
	"sync"

	"pawl/ratchet"
	"pawl/tezos"
)

// memory is a copy of the tables, for the look before the HSM is asked. Marks and floors in it only
// rise, so that it does not matter in which order commits reach it.
type memory struct {
	mu   sync.Mutex
	keys map[tezos.PublicKeyHash]*keyMemory
}

type keyMemory struct {
	neverUsed  bool
	confined   bool // an operator has registered a chain
	registered int  // chains
	chains     map[tezos.ChainID]*chainMemory
}

type chainMemory struct {
	registered bool // a mark alone is no registration
	hasFloor   bool
	floor      int32
	marks      map[tezos.Kind]ratchet.StoredMark
}

// Look returns what the store holds of a slot key, from memory. See [ratchet.Store].
func (db *Store) Look(_ context.Context, m ratchet.Mark) (ratchet.Standing, error) {
	return db.memory.standing(m), nil
}

func (m *memory) standing(mark ratchet.Mark) ratchet.Standing {
	m.mu.Lock()
	defer m.mu.Unlock()
	key, ok := m.keys[mark.Key]
	if !ok {
		return ratchet.Standing{}
	}
	s := ratchet.Standing{NeverUsed: key.neverUsed, Confined: key.confined, Chains: key.registered}
	chain, ok := key.chains[mark.ChainID]
	if !ok {
		return s
	}
	s.Registered, s.HasFloor, s.Floor = chain.registered, chain.hasFloor, chain.floor
	for _, r := range chain.marks {
		s.AddMark(r, mark.Kind)
	}
	return s
}

// load fills the memory from the tables, before the store is in use.
func (m *memory) load(all ratchet.Snapshot) {
	for _, r := range all.Registrations {
		m.putRegistration(r)
	}
	for _, mark := range all.Marks {
		m.putMark(mark)
	}
}

func (m *memory) putMark(r ratchet.StoredMark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	marks := m.chain(r.Key, r.ChainID).marks
	old, ok := marks[r.Kind]
	if !ok || r.Above(old.Mark) {
		marks[r.Kind] = r
	}
}

func (m *memory) putRegistration(r ratchet.Registration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.AnyChain {
		m.key(r.Key).neverUsed = true
		return
	}
	c := m.chain(r.Key, r.ChainID)
	if !c.registered {
		c.registered = true
		m.key(r.Key).registered++
	}
	if !r.NoFloor && (!c.hasFloor || r.FromLevel > c.floor) {
		c.hasFloor, c.floor = true, r.FromLevel
		m.key(r.Key).confined = true
	}
}

func (m *memory) key(key tezos.PublicKeyHash) *keyMemory {
	if m.keys == nil {
		m.keys = make(map[tezos.PublicKeyHash]*keyMemory)
	}
	k, ok := m.keys[key]
	if !ok {
		k = &keyMemory{chains: make(map[tezos.ChainID]*chainMemory)}
		m.keys[key] = k
	}
	return k
}

func (m *memory) chain(key tezos.PublicKeyHash, chain tezos.ChainID) *chainMemory {
	k := m.key(key)
	c, ok := k.chains[chain]
	if !ok {
		c = &chainMemory{marks: make(map[tezos.Kind]ratchet.StoredMark)}
		k.chains[chain] = c
	}
	return c
}
