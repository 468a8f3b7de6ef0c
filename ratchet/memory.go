package ratchet

import (
	"context"
	"database/sql"
	"fmt"
	"sync"

	"pawl/tezos"
)

// memory is a copy of the tables, for a look before the HSM is asked: it may only
// refuse, or find a stored signature. Everything in it rises, as in the tables,
// so that the order in which commits are told to it does not matter. The
// transaction decides.
type memory struct {
	mu   sync.Mutex
	keys map[tezos.PublicKeyHash]*keyMemory
}

type keyMemory struct {
	neverUsed bool
	chains    map[tezos.ChainID]*chainMemory
}

type chainMemory struct {
	floor sql.Null[int32]
	marks map[tezos.Kind]row
}

func (m *memory) standing(mark Mark) standing {
	m.mu.Lock()
	defer m.mu.Unlock()
	key, ok := m.keys[mark.Key]
	if !ok {
		return standing{}
	}
	s := standing{neverUsed: key.neverUsed, chains: len(key.chains)}
	chain, ok := key.chains[mark.ChainID]
	if !ok {
		return s
	}
	s.registered, s.floor = true, chain.floor
	if r, ok := chain.marks[mark.Kind]; ok {
		s.mark = &r
	}
	return s
}

func (m *memory) putMark(s slot, r row) {
	m.mu.Lock()
	defer m.mu.Unlock()
	marks := m.chain(s.key, s.chain).marks
	old, ok := marks[s.kind]
	if !ok || r.level > old.level || r.level == old.level && r.round > old.round {
		marks[s.kind] = r
	}
}

func (m *memory) putFloor(key tezos.PublicKeyHash, chain tezos.ChainID, floor sql.Null[int32]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.chain(key, chain)
	if floor.Valid && (!c.floor.Valid || floor.V > c.floor.V) {
		c.floor = floor
	}
}

func (m *memory) putNeverUsed(key tezos.PublicKeyHash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.key(key).neverUsed = true
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
		c = &chainMemory{marks: make(map[tezos.Kind]row)}
		k.chains[chain] = c
	}
	return c
}

// load fills the memory from the tables, once, before anybody has the ratchet.
func (db *DB) load(ctx context.Context) error {
	registrations, err := readRegistrations(ctx, db.conn, true)
	if err != nil {
		return fmt.Errorf("reading %s: %w", db.path, err)
	}
	for _, r := range registrations {
		if r.AnyChain {
			db.memory.putNeverUsed(r.Key)
		} else {
			db.memory.putFloor(r.Key, r.ChainID, r.floor)
		}
	}
	marks, err := readMarks(ctx, db.conn, true)
	if err != nil {
		return fmt.Errorf("reading %s: %w", db.path, err)
	}
	for _, m := range marks {
		db.memory.putMark(m.slot, m.row)
	}
	return nil
}
