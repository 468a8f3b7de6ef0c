package sqlite

// Whether marks can be made durable now.

import (
	"fmt"
	"sync"
	"time"
)

const (
	// slowCommit is how long a transaction may run before it counts as trouble: a signature that
	// waits longer is too late for its round.
	slowCommit = time.Second
	// probeInterval is the time between a failed transaction and the next attempt to write, so that
	// the trouble ends when its cause does, even if nobody asks for a signature.
	probeInterval = time.Second
)

// trouble records whether transactions succeed.
type trouble struct {
	mu      sync.Mutex
	running time.Time   // when the running transaction began; zero if none runs
	last    error       // of the last transaction that failed or wrote
	probe   *time.Timer // of the next attempt to write; nil while the store is opened
	closed  bool
}

func (t *trouble) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = time.Now()
}

// end records the outcome of a transaction. The success of one that only read says nothing about the
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
	case err != nil:
		t.probe.Reset(probeInterval)
	case t.last == nil: // a success that only read leaves the probe where it stands
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

// Trouble returns the reason why no mark can be made durable now: the failure of the store, the error of
// the last transaction, such as a full disk, or that one has been running for over a second. It returns
// nil if all is well.
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

// watchTrouble starts the probing, which waits for the first trouble.
func (db *Store) watchTrouble() {
	db.trouble.mu.Lock()
	defer db.trouble.mu.Unlock()
	db.trouble.probe = time.AfterFunc(probeInterval, db.probe)
	db.trouble.probe.Stop()
}

// probe commits a write that changes no mark. If that fails it is called again.
func (db *Store) probe() {
	if db.err() == nil {
		_ = db.commitFresh(newProbe()) // the outcome is recorded in trouble
	}
}

func newProbe() *job {
	j := newJob()
	j.run, j.probe = touch, true
	return j
}
