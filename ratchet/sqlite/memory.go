package sqlite

// The copy of the tables that Look and List read.

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"

	"pawl/ratchet"
	"pawl/tezos"
)

// memory is a copy of the tables, of what is committed: for the look before the HSM is asked, and for
// those who only want to know, whom no commit waits for. Marks and floors in it only rise, so that it
// does not matter in which order commits reach it. It has a few hundred bytes for each row of the file,
// those of keys that nobody serves included.
type memory struct {
	mu    sync.Mutex
	keys  map[tezos.PublicKeyHash]*keyMemory
	order []tezos.PublicKeyHash // of keys, as they came; nothing is ever removed
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

// List returns all marks and registrations that are committed, from memory. See [ratchet.Store].
func (db *Store) List(ctx context.Context) (ratchet.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return ratchet.Snapshot{}, err
	}
	if db.ended.Load() {
		return ratchet.Snapshot{}, ratchet.ErrStopped
	}
	return db.memory.snapshot(), nil
}

// snapshot copies one key at a time: who looks or commits waits for that at most.
func (m *memory) snapshot() (all ratchet.Snapshot) {
	m.mu.Lock()
	keys := m.order
	m.mu.Unlock()
	keys = slices.SortedFunc(slices.Values(keys), func(a, b tezos.PublicKeyHash) int { return bytes.Compare(a[:], b[:]) })
	for _, key := range keys {
		m.mu.Lock()
		m.keys[key].addTo(&all, key)
		m.mu.Unlock()
	}
	return all
}

// addTo adds the rows of a key, by chain and kind.
func (k *keyMemory) addTo(all *ratchet.Snapshot, key tezos.PublicKeyHash) {
	if k.neverUsed {
		all.Registrations = append(all.Registrations, ratchet.Registration{Key: key, AnyChain: true})
	}
	inOrder := func(a, b tezos.ChainID) int { return bytes.Compare(a[:], b[:]) }
	for _, id := range slices.SortedFunc(maps.Keys(k.chains), inOrder) {
		chain := k.chains[id]
		if chain.registered {
			all.Registrations = append(all.Registrations, ratchet.Registration{
				Key: key, ChainID: id, FromLevel: chain.floor, NoFloor: !chain.hasFloor,
			})
		}
		for _, kind := range slices.Sorted(maps.Keys(chain.marks)) {
			all.Marks = append(all.Marks, chain.marks[kind])
		}
	}
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

// merge puts what a merge has committed. Its marks may have another signature than before, or none.
func (m *memory) merge(done ratchet.Merge) {
	for _, c := range done.Registrations {
		m.putRegistration(c.After)
	}
	for _, c := range done.Marks {
		m.putMark(c.After)
		m.mu.Lock()
		if marks := m.chain(c.After.Key, c.After.ChainID).marks; marks[c.After.Kind].Mark == c.After.Mark {
			marks[c.After.Kind] = c.After
		}
		m.mu.Unlock()
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
		m.order = append(m.order, key)
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
