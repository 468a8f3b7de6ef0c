package grep11

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"pawl/internal/ep11"
	"pawl/tezos"
)

// masterKeys tracks which master keys a server lacks. One refusal speaks for every key of that
// master key, and one probe a second finds out when it is over.
//
// A key whose refusal turns out to be its own, because another key of the same master key
// signs, speaks only for itself from then on.
type masterKeys struct {
	absent atomic.Int32 // how many master keys are missing, for a look without the lock

	mu   sync.Mutex
	byID map[masterKeyID]*masterKey
}

type masterKeyID = [16]byte

// masterKey is a master key that wraps keys in use.
type masterKey struct {
	keys     map[*Key]bool // the value: the key was refused for a reason of its own
	refused  error         // why the server cannot use it, or nil
	refusing *Key          // the key that learned it
}

// add tracks a key whose only blob is wrapped by one master key.
func (m *masterKeys) add(k *Key) {
	id, ok := k.onlyMasterKey()
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byID == nil {
		m.byID = make(map[masterKeyID]*masterKey)
	}
	if m.byID[id] == nil {
		m.byID[id] = &masterKey{keys: make(map[*Key]bool)}
	}
	m.byID[id].keys[k] = false
}

// remove forgets a key that is no longer used.
func (m *masterKeys) remove(k *Key) {
	id, ok := k.onlyMasterKey()
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.byID[id]
	if known == nil {
		return
	}
	if delete(known.keys, k); len(known.keys) > 0 {
		return
	}
	if delete(m.byID, id); known.refused != nil {
		m.absent.Add(-1)
	}
}

// refused notes that the server refused a key with err. Only a refusal for the master key
// concerns other keys.
func (m *masterKeys) refused(k *Key, err error) {
	e, refusal := errors.AsType[*Error](err)
	id, ok := k.onlyMasterKey()
	if !ok || !refusal || e.Code != ep11.CodeIBMWKIDMismatch {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.byID[id]
	if known == nil || known.refused != nil || known.keys[k] {
		return
	}
	known.refused, known.refusing = err, k
	m.absent.Add(1)
}

// signed notes that the server signed with a key: it has that master key.
func (m *masterKeys) signed(k *Key) {
	id, ok := k.onlyMasterKey()
	if m.absent.Load() == 0 || !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.byID[id]
	if known == nil || known.refused == nil {
		return
	}
	if _, used := known.keys[known.refusing]; used && known.refusing != k {
		known.keys[known.refusing] = true
	}
	known.refused, known.refusing = nil, nil
	m.absent.Add(-1)
}

// missing returns why the server lacks the master key of k, or nil.
func (m *masterKeys) missing(k *Key) error {
	if m.absent.Load() == 0 {
		return nil
	}
	id, ok := k.onlyMasterKey()
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.byID[id]
	if !ok || known == nil || known.refused == nil {
		return nil
	}
	return fmt.Errorf("it has another master key than the key blob: %w", known.refused)
}

// probe has one key of each missing master key sign a random message, each time another one.
func (m *masterKeys) probe(ctx context.Context) {
	for _, key := range m.toProbe() {
		if message, err := tezos.NewProbe(); err == nil {
			_, _ = key.Sign(ctx, message) // refused and signed take note
		}
	}
}

func (m *masterKeys) toProbe() (keys []*Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, known := range m.byID {
		if known.refused == nil {
			continue
		}
		for key := range known.keys { // in random order
			keys = append(keys, key)
			break
		}
	}
	return keys
}
