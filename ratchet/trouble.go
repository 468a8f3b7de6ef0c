package ratchet

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// slowCommit is how long a transaction may run before it counts as trouble: a
// signature that waits for longer is too late for its round.
const slowCommit = time.Second

// trouble is how the writer fares.
type trouble struct {
	mu      sync.Mutex
	running time.Time // since when a transaction runs; zero when none does
	last    error     // of the last transaction that wrote
}

func (t *trouble) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = time.Now()
}

// end takes the outcome of a transaction. That one succeeded which only read says
// nothing of the disk.
func (t *trouble) end(err error, wrote bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = time.Time{}
	if err != nil || wrote {
		t.last = err
	}
}

// Trouble says why no mark can be made durable now: the error of the last
// transaction, a full disk for one, or one that has been running for over a
// second. It is nil when all is well.
func (db *DB) Trouble() error {
	db.trouble.mu.Lock()
	defer db.trouble.mu.Unlock()
	if since := db.trouble.running; !since.IsZero() && time.Since(since) > slowCommit {
		return fmt.Errorf("a commit to %s has been running for %v", db.path, time.Since(since).Round(time.Second))
	}
	return db.trouble.last
}

// Probe commits a write that changes no mark, so that Trouble ends when its cause
// does, even while nobody asks for a signature.
func (db *DB) Probe(ctx context.Context) error {
	err := db.ask(ctx, touch)
	if err == nil {
		db.trouble.end(nil, true)
	}
	return err
}
