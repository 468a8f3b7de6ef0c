package grep11

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"pawl/internal/ep11"
	"pawl/tezos"
)

// masterKeys tracks which master keys a server lacks. One refusal speaks for every key of that
// master key that has not signed there before. When a second key is refused, which is asked at once,
// they speak for all. One probe a second finds out when it is over.
//
// A key whose refusal turns out to be its own, because another key of the same master key
// signs, speaks only for itself until it signs.
type masterKeys struct {
	// For a look without the lock: how many master keys are missing, and how many keys were refused for
	// a reason of their own.
	absent, own atomic.Int32

	mu   sync.Mutex
	byID map[masterKeyID]*masterKey
}

type masterKeyID = [16]byte

// masterKey is a master key that wraps keys in use.
type masterKey struct {
	keys     map[*Key]bool // the value: the key was refused for a reason of its own
	refused  error         // why the server cannot use it, or nil
	refusing map[*Key]bool // the keys that were refused for it since a key signed
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
	m.blame(known, k, false)
	delete(known.refusing, k)
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
	if known == nil || known.keys[k] {
		return
	}
	if known.refused == nil {
		known.refused, known.refusing = err, make(map[*Key]bool)
		m.absent.Add(1)
	}
	known.refusing[k] = true
}

// signed notes that the server signed with a key: it has that master key.
func (m *masterKeys) signed(k *Key) {
	id, ok := k.onlyMasterKey()
	if m.absent.Load() == 0 && m.own.Load() == 0 || !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.byID[id]
	if known == nil {
		return
	}
	if known.refused != nil {
		for other := range known.refusing {
			m.blame(known, other, true)
		}
		known.refused, known.refusing = nil, nil
		m.absent.Add(-1)
	}
	m.blame(known, k, false)
}

// blame notes whether a key was refused for a reason of its own. It takes no key that is not tracked.
func (m *masterKeys) blame(known *masterKey, k *Key, own bool) {
	if was, tracked := known.keys[k]; !tracked || was == own {
		return
	}
	known.keys[k] = own
	if own {
		m.own.Add(1)
	} else {
		m.own.Add(-1)
	}
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
	if !ok || known == nil || known.refused == nil || len(known.refusing) < 2 && !known.refusing[k] && k.proven() {
		return nil
	}
	return fmt.Errorf("it has another master key than the key blob: %w", known.refused)
}

// probe has one key of each missing master key sign a random message: one that was not refused, if there
// is any, and each time another one.
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
		keys = append(keys, known.toProbe())
	}
	return keys
}

// toProbe chooses one of the keys that may best tell whether the master key is there. Among equals it
// chooses at random, as a map does. A master key has at least one key.
func (mk *masterKey) toProbe() (chosen *Key) {
	best := -1
	for key, own := range mk.keys {
		worth := 0
		switch {
		case own, mk.refusing[key]:
		case key.proven():
			worth = 2
		default:
			worth = 1
		}
		if worth > best {
			chosen, best = key, worth
		}
	}
	return chosen
}

// confirmTimeout bounds the call of confirm: a signature waits for it.
const confirmTimeout = 250 * time.Millisecond

// confirm asks another key, if k is the only one that was refused: either all of them are concerned, or
// the trouble is k's own. The caller has a turn at the server.
func (m *masterKeys) confirm(ctx context.Context, k *Key) {
	other := m.other(k)
	if other == nil {
		return
	}
	message, err := tezos.NewProbe()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	_, _ = other.ask(ctx, message) // refused and signed take note
}

// other returns another key of the master key of k, if only k was refused.
func (m *masterKeys) other(k *Key) *Key {
	if m.absent.Load() == 0 {
		return nil
	}
	id, ok := k.onlyMasterKey()
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.byID[id]
	if !ok || known == nil || len(known.refusing) != 1 || !known.refusing[k] || len(known.keys) == 1 {
		return nil
	}
	return known.toProbe()
}
