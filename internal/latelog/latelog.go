// Package latelog is the log of a program that must not wait for its log.
//
// Lines are formatted and written together, a little later, by a goroutine of the log. Whoever
// logs only puts a record into a queue, whatever becomes of the writer: a pipe that nobody reads,
// a disk that is full, a reader that has gone. What the queue cannot hold and what cannot be
// written is dropped and counted, and the next line that can be written says how many were dropped. A
// program that is killed loses the lines that wait.
package latelog

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lateTime is how long a line may wait for others. An error does not wait.
	lateTime = 10 * time.Millisecond
	// maxLines is how many lines wait at most. Ten thousand signatures a second fill it in 0.8 s. A
	// waiting line takes about 1 KiB.
	maxLines = 8192
	// reserved is how many more may wait that are warnings or errors, and as many again that are
	// errors: they are dropped last.
	reserved = 1024
)

// Log is a queue of log lines and its writer. It is safe for concurrent use. No method but Print
// and Close waits for anything.
type Log struct {
	logger *slog.Logger

	mu     sync.Mutex
	lines  []line
	closed bool

	dropped atomic.Uint64 // lines in all
	untold  atomic.Uint64 // those of them that no line has told yet

	late   time.Duration
	timer  *time.Timer   // fires when the first line has waited long enough
	urgent chan struct{} // has one when the lines are to be written now
	ended  chan struct{} // closed when all is written after Close
	writer writer        // of the goroutine
}

// line is a record and the handler that formats it, or a text.
type line struct {
	maker   slog.Handler // nil for a text
	record  slog.Record
	text    []byte
	written chan struct{} // closed when the line was written or could not be; nil: nobody waits
}

// New returns a log that writes JSON lines to out. Nothing else may write to out before Close has
// returned.
func New(out io.Writer, options *slog.HandlerOptions) *Log { return newLog(out, options, lateTime) }

func newLog(out io.Writer, options *slog.HandlerOptions, late time.Duration) *Log {
	l := &Log{
		late: late, timer: time.NewTimer(late),
		urgent: make(chan struct{}, 1), ended: make(chan struct{}),
		writer: writer{out: out},
	}
	l.writer.maker = slog.NewJSONHandler(&l.writer.made, options)
	l.logger = slog.New(handler{l, l.writer.maker})
	go l.run()
	return l
}

// Logger returns the logger whose lines go to this log.
func (l *Log) Logger() *slog.Logger { return l.logger }

// Write has p written between the lines, as it is. p counts as one line, and is as urgent as an
// error. Write never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.add(line{text: bytes.Clone(p)}, slog.LevelError)
	return len(p), nil
}

// Print is Write, but waits until p is written, or until ctx is done.
func (l *Log) Print(ctx context.Context, p []byte) {
	written := make(chan struct{})
	if !l.add(line{text: bytes.Clone(p), written: written}, slog.LevelError) {
		return
	}
	select {
	case <-written:
	case <-ctx.Done():
	}
}

// Dropped returns how many lines were dropped so far.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Close writes the lines that wait and ends the log. It does not wait longer than ctx: then what
// is not written yet is dropped. Lines that come after Close are dropped.
func (l *Log) Close(ctx context.Context) {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.hurry()
	select {
	case <-l.ended:
	case <-ctx.Done():
	}
}

// add puts a line into the queue, or drops it if there is no room for one of that level. It reports
// whether there was.
func (l *Log) add(added line, level slog.Level) (fits bool) {
	l.mu.Lock()
	waiting, closed := len(l.lines), l.closed
	fits = !closed && waiting < room(level)
	if fits {
		l.lines = append(l.lines, added)
	}
	l.mu.Unlock()
	switch {
	case closed:
	case !fits:
		l.drop(1)
	case level >= slog.LevelError:
		l.hurry()
	case waiting == 0:
		l.timer.Reset(l.late)
	}
	return fits
}

// room is how many lines may wait before one of that level is dropped.
func room(level slog.Level) int {
	switch {
	case level >= slog.LevelError:
		return maxLines + 2*reserved
	case level >= slog.LevelWarn:
		return maxLines + reserved
	}
	return maxLines
}

// hurry has the waiting lines written now.
func (l *Log) hurry() {
	select {
	case l.urgent <- struct{}{}:
	default: // somebody has said so already
	}
}

func (l *Log) drop(lines uint64) {
	l.dropped.Add(lines)
	l.untold.Add(lines)
}

// handler is the slog.Handler of a Log. The one within formats the record later.
type handler struct {
	log *Log
	slog.Handler
}

// Handle keeps the record for later.
func (h handler) Handle(_ context.Context, r slog.Record) error {
	h.log.add(line{maker: h.Handler, record: r.Clone()}, r.Level)
	return nil
}

// WithAttrs keeps the line late.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.log, h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the line late.
func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.log, h.Handler.WithGroup(name)}
}
