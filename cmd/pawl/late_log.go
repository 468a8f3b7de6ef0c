package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// lateTime is how long a line of the log may wait for others.
	lateTime = 10 * time.Millisecond
	// lateLines is how many may wait: ten thousand signatures a second fill a tenth.
	lateLines = 1024
)

// lateLog formats and writes log lines together, a little later, so that logging takes no time
// from requests that wait. An error is written at once, after all earlier lines. When too many
// lines wait, logging blocks. A process that is killed loses the lines of the last lateTime.
type lateLog struct {
	mu    sync.Mutex // of lines
	lines []lateLine

	writing sync.Mutex // of made and out
	made    bytes.Buffer
	out     io.Writer
}

// lateLine is a record and the handler that formats it.
type lateLine struct {
	maker  slog.Handler
	record slog.Record
}

// newLateLog returns a logger that writes JSON lines to out, and a function that writes the
// waiting lines.
func newLateLog(out io.Writer, options *slog.HandlerOptions) (log *slog.Logger, flush func()) {
	l := &lateLog{out: out}
	return slog.New(lateHandler{l, slog.NewJSONHandler(&l.made, options)}), l.flush
}

func (l *lateLog) add(line lateLine) {
	l.mu.Lock()
	l.lines = append(l.lines, line)
	waiting := len(l.lines)
	l.mu.Unlock()
	switch {
	case line.record.Level >= slog.LevelError, waiting >= lateLines:
		l.flush()
	case waiting == 1:
		time.AfterFunc(lateTime, l.flush)
	}
}

// flush writes all waiting lines in one write. Lines that cannot be written are lost: a log
// has nowhere to report its own errors.
func (l *lateLog) flush() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	lines := l.lines
	l.lines = nil
	l.mu.Unlock()
	for _, line := range lines {
		_ = line.maker.Handle(context.Background(), line.record)
	}
	if l.made.Len() > 0 {
		_, _ = l.out.Write(l.made.Bytes())
		l.made.Reset()
	}
}

// lateHandler is the slog.Handler of a lateLog.
type lateHandler struct {
	log *lateLog
	slog.Handler
}

// Handle keeps the record for later.
func (h lateHandler) Handle(_ context.Context, r slog.Record) error {
	h.log.add(lateLine{h.Handler, r.Clone()})
	return nil
}

// WithAttrs keeps the line late.
func (h lateHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return lateHandler{h.log, h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the line late.
func (h lateHandler) WithGroup(name string) slog.Handler {
	return lateHandler{h.log, h.Handler.WithGroup(name)}
}
