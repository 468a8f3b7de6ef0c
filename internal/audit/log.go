package audit

import (
	"cmp"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lateTime is how long an event may wait for others.
	lateTime = 10 * time.Millisecond
	// retryTime is how long a write that failed is waited with.
	retryTime = time.Second
	// closeTime is how long Close waits for the disk.
	closeTime = time.Second
	// maxEvents is how many events wait at most. One takes some 200 bytes, and up to 3 KiB of text.
	maxEvents = 8192
)

// Options of [Open]. What is 0 has its default.
type Options struct {
	MaxSize int64 // bytes of a file: 64 MiB
	Keep    int   // older files: 8
}

const (
	defaultMaxSize = 64 << 20
	defaultKeep    = 8
)

// Log is the trail of a ratchet, and a queue of events before it. It is safe for concurrent use. No method
// but Close waits for anything.
type Log struct {
	mu     sync.Mutex
	queue  []Event
	taken  int    // events that the writer has
	lost   uint64 // events that no line tells of yet
	closed bool
	err    error
	head   link

	dropped atomic.Uint64

	path        string
	late, retry time.Duration
	timer       *time.Timer   // fires when the first event has waited long enough
	urgent      chan struct{} // has one when the events are to be written now
	ended       chan struct{} // closed when all is written after Close
	writer      writer        // of the goroutine
}

// Open opens the trail of the ratchet at path to write to it, and makes it if there is none. One process
// may do so at a time: the one that holds the ratchet. It reads the end of the trail alone.
//
// A last line that is incomplete is cut off, and a file that does not end with a line of a trail is moved
// aside; lines of their own tell. The error is about a file that is not to be written to: not a regular one,
// or in the hands of others. A disk that is full or takes no writes is none: see Err.
func Open(path string, options Options) (*Log, error) {
	return open(path, options, lateTime, os.Rename)
}

func open(path string, options Options, late time.Duration, rename func(from, to string) error) (*Log, error) {
	l := &Log{
		path: Path(path), late: late, retry: retryTime, timer: time.NewTimer(late),
		urgent: make(chan struct{}, 1), ended: make(chan struct{}),
		writer: writer{trail: trail{
			path: Path(path), maxSize: cmp.Or(options.MaxSize, defaultMaxSize), keep: cmp.Or(options.Keep, defaultKeep),
			rename: rename,
		}},
	}
	err := l.writer.open()
	if err != nil && !isRoom(err) {
		l.timer.Stop()
		return nil, fmt.Errorf("audit trail: %w", err)
	}
	l.result(err)
	go l.run()
	return l, nil
}

// Add has a line written, a little later. It fills in the time of the event if it has none. What the queue
// cannot hold, and what comes after Close, is dropped.
func (l *Log) Add(e Event) {
	e = e.bounded()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	l.mu.Lock()
	first := len(l.queue) == 0 // since the writer took the others
	fits := !l.closed && len(l.queue)+l.taken < maxEvents
	if fits {
		l.queue = append(l.queue, e)
	} else {
		l.lost++
	}
	l.mu.Unlock()
	switch {
	case !fits:
		l.dropped.Add(1)
	case first:
		l.timer.Reset(l.late)
	}
}

// Dropped returns how many events were dropped so far.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Err is why the last write failed, and nil after one that succeeded. The events wait, and writing is tried
// again each second.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Head returns the number and the hash of the last line written. Kept elsewhere, they show whether the trail
// was written anew.
func (l *Log) Head() (seq uint64, hash string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head.seq, l.head.hash.String()
}

// Close writes the events that wait and a last one, Stop, and syncs the file. It waits a second at most: the
// error says what is not written then.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	select {
	case l.urgent <- struct{}{}:
	default: // closed before
	}
	late := time.NewTimer(closeTime)
	defer late.Stop()
	select {
	case <-l.ended:
		return l.Err()
	case <-late.C:
		return fmt.Errorf("audit trail %s: not written within %v", l.path, closeTime)
	}
}
