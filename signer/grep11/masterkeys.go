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

// masterKeys records which master keys a server turned out to lack. When a thousand keys share a
// master key, one refusal speaks for all of them, and each Refresh probes with one of them until
// the server has the master key.
//
// A key may be refused although another key under the same master key signs. Its refusals then
// speak only for itself.
type masterKeys struct {
	absent atomic.Int32 // the number of missing master keys, read without the lock

	mu   sync.Mutex
	byID map[masterKeyID]*masterKey
}

type masterKeyID = [16]byte

// masterKey is a master key that wraps keys of the configuration.
type masterKey struct {
	keys     map[*Key]bool // the value is true if refusals speak only for the key itself
	refused  error         // the refusal that showed that the server lacks it, or nil
	refusing *Key          // the key that was refused
}

// add records a key. It ignores a key with several blobs.
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

// refused records that the server refused a key with err. It ignores errors that do not say
// that the server lacks the master key.
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

// signed records that the server signed with a key, so it has the key's master key.
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

// missing returns an error if the server is known to lack the master key of k.
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

// probe has one key of each missing master key sign a random message. It picks a random key
// each time.
func (m *masterKeys) probe(ctx context.Context) {
	for _, key := range m.toProbe() {
		if message, err := tezos.NewProbe(); err == nil {
			_, _ = key.Sign(ctx, message) // which calls refused or signed
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
