package latelog

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"time"
)

// run writes the lines until the log is closed. Nobody else formats, writes, or waits for out.
func (l *Log) run() {
	defer close(l.ended)
	defer l.timer.Stop()
	for closed := false; !closed; {
		select {
		case <-l.timer.C:
		case <-l.urgent:
		}
		closed = l.writeWaiting()
	}
}

// writeWaiting writes all waiting lines, and a line that tells how many were dropped, if any. It
// reports whether the log is closed: then no more come.
func (l *Log) writeWaiting() (closed bool) {
	l.mu.Lock()
	lines, closed := l.lines, l.closed
	l.lines = nil
	l.mu.Unlock()
	if len(lines) == 0 && !closed {
		return false
	}
	l.writer.begin()
	for _, line := range lines {
		l.writer.add(line)
	}
	untold := l.untold.Swap(0)
	if untold > 0 {
		l.writer.addDropped(untold)
	}
	if dropped := l.writer.write(); dropped > 0 {
		if untold > 0 { // the line that tells is the last one, and is dropped too
			dropped--
		}
		l.untold.Add(untold)
		l.drop(dropped)
	}
	for _, line := range lines {
		if line.written != nil {
			close(line.written)
		}
	}
	return closed
}

// writer formats lines and writes them in one write.
type writer struct {
	out   io.Writer
	maker slog.Handler // formats into made
	made  bytes.Buffer
	torn  bool // the last write ended amid a line
}

// maxKept is how many bytes of memory are kept from one write for the next.
const maxKept = 1 << 20

// begin forgets the lines of the last write.
func (w *writer) begin() {
	if w.made.Cap() > maxKept {
		w.made = bytes.Buffer{}
	}
	w.made.Reset()
	if w.torn {
		w.made.WriteByte('\n')
	}
}

// add formats a line.
func (w *writer) add(l line) {
	if l.maker == nil {
		w.made.Write(l.text)
		return
	}
	_ = l.maker.Handle(context.Background(), l.record) // into memory
}

// addDropped adds the line that tells of dropped ones.
func (w *writer) addDropped(lines uint64) {
	record := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines dropped", 0)
	record.AddAttrs(slog.Uint64("lines", lines))
	w.add(line{maker: w.maker, record: record})
}

// write writes the lines and returns how many of them are not written whole.
func (w *writer) write() (dropped uint64) {
	if w.made.Len() == 0 {
		return 0
	}
	lines := w.made.Bytes()
	n, err := w.out.Write(lines)
	if err == nil {
		w.torn = false
		return 0
	}
	dropped = uint64(bytes.Count(lines[n:], []byte("\n"))) //nolint:gosec // a count is not negative
	if n == 0 && w.torn {
		return dropped - 1 // the first newline ends no line
	}
	w.torn = n > 0 && lines[n-1] != '\n'
	return dropped
}
