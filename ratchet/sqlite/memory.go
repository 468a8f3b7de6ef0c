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
// those who only want to know, whom no commit waits for. Marks in it only rise, so that it does not matter
// in which order commits reach it. It has a few hundred bytes for each row of the file,
// those of keys that nobody serves included.
type memory struct {
	mu    sync.Mutex
	keys  map[tezos.PublicKeyHash]*keyMemory
	order []tezos.PublicKeyHash // of keys, as they came; nothing is ever removed
}

type keyMemory struct {
	any    *ratchet.Registration // for any chain
	chains map[tezos.ChainID]*chainMemory
}

type chainMemory struct {
	registration *ratchet.Registration // nil for none: a mark alone is no registration
	marks        map[tezos.Kind]ratchet.StoredMark
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
	var s ratchet.Standing
	if key.any != nil {
		s.Add(*key.any, mark.ChainID)
	}
	for _, chain := range key.chains {
		if chain.registration != nil {
			s.Add(*chain.registration, mark.ChainID)
		}
	}
	if chain, ok := key.chains[mark.ChainID]; ok {
		for _, r := range chain.marks {
			s.AddMark(r, mark.Kind)
		}
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
		m.keys[key].addTo(&all)
		m.mu.Unlock()
	}
	return all
}

// addTo adds the rows of a key, by chain and kind.
func (k *keyMemory) addTo(all *ratchet.Snapshot) {
	if k.any != nil {
		all.Registrations = append(all.Registrations, *k.any)
	}
	inOrder := func(a, b tezos.ChainID) int { return bytes.Compare(a[:], b[:]) }
	for _, id := range slices.SortedFunc(maps.Keys(k.chains), inOrder) {
		chain := k.chains[id]
		if chain.registration != nil {
			all.Registrations = append(all.Registrations, *chain.registration)
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

// change puts what Change has committed. Its marks may have another signature than before, or none.
func (m *memory) change(done ratchet.Changes) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range done.Registrations {
		m.registrationLocked(c.After)
	}
	for _, c := range done.Marks {
		marks := m.chain(c.After.Key, c.After.ChainID).marks
		if old, ok := marks[c.After.Kind]; !ok || !old.Above(c.After.Mark) {
			marks[c.After.Kind] = c.After
		}
	}
}

func (m *memory) putRegistration(r ratchet.Registration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.registrationLocked(r)
}

func (m *memory) registrationLocked(r ratchet.Registration) {
	if r.AnyChain {
		m.key(r.Key).any = &r
		return
	}
	m.chain(r.Key, r.ChainID).registration = &r
}

// opened puts the registration of a chain that a request has opened, unless it was open.
func (m *memory) opened(key tezos.PublicKeyHash, chain tezos.ChainID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.chain(key, chain); c.registration == nil {
		c.registration = &ratchet.Registration{Key: key, ChainID: chain, NoFloor: true}
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
