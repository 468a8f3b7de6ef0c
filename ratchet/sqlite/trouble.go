package sqlite

// Whether marks can be made durable now.

import (
	"fmt"
	"sync"
	"time"
)

const (
	// slowCommit is how long a transaction may run before it counts as trouble: a signature that
	// waits for longer is too late for its round.
	slowCommit = time.Second
	// probeInterval is between a failed transaction and the next try to write, so that trouble ends
	// when its cause does, even while nobody asks for a signature.
	probeInterval = time.Second
)

// trouble is how the writer fares.
type trouble struct {
	mu      sync.Mutex
	running time.Time   // since when a transaction runs; zero when none does
	last    error       // of the last transaction that wrote
	probe   *time.Timer // of the next try to write; nil before the first trouble
	closed  bool
}

func (t *trouble) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = time.Now()
}

// end takes the outcome of a transaction. The success of one that only read says nothing of the
// disk.
func (t *trouble) end(err error, wrote bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = time.Time{}
	if err != nil || wrote {
		t.last = err
	}
	switch {
	case t.probe == nil || t.closed:
	case t.last != nil:
		t.probe.Reset(probeInterval)
	default:
		t.probe.Stop()
	}
}

// close stops the probes.
func (t *trouble) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed = true; t.probe != nil {
		t.probe.Stop()
	}
}

// Trouble says why no mark can be made durable now: why the store has failed, the error of the last
// transaction, a full disk for one, or that one has been running for over a second. It returns nil
// when all is well.
func (db *Store) Trouble() error {
	if err := db.err(); err != nil {
		return err
	}
	db.trouble.mu.Lock()
	defer db.trouble.mu.Unlock()
	if since := db.trouble.running; !since.IsZero() && time.Since(since) > slowCommit {
		return fmt.Errorf("a commit to %s has been running for %v", db.path, time.Since(since).Round(time.Second))
	}
	return db.trouble.last
}

// watchTrouble has the store probe for the end of a trouble by itself.
func (db *Store) watchTrouble() {
	db.trouble.mu.Lock()
	defer db.trouble.mu.Unlock()
	db.trouble.probe = time.AfterFunc(probeInterval, db.probe)
	db.trouble.probe.Stop()
}

// probe commits a write that changes no mark. Its failure has it called again.
func (db *Store) probe() {
	if db.err() == nil {
		_ = db.commitFresh(newProbe()) // the transaction tells trouble
	}
}

func newProbe() *job {
	j := newJob()
	j.run, j.probe = touch, true
	return j
}
