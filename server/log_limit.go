package server

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A stranger can cause a line with each request, ten thousands a second: they must not fill the
// disk. Lines that are alike share a bucket. The line of a new signature takes from none: it is
// always written, and the HSM bounds how many there are.
var (
	// strangerLines is for lines of whoever can connect. A few kinds of them make some 300 MB a day
	// at most.
	strangerLines = rate{burst: 100, perSecond: 1}
	// keyLines is for lines of whoever may ask for signatures of a key. A baker asks less often.
	keyLines = rate{burst: 1000, perSecond: 2}
)

// tellInterval is the time after which a line tells how many were left out.
const tellInterval = 10 * time.Second

// rate is the size of a bucket and how fast it fills.
type rate struct{ burst, perSecond float64 }

// lineKind is what lines that share a bucket have in common.
type lineKind struct {
	pkh      string // of a key that the client may ask for; else ""
	decision string // as in pawl_signatures_total, "answered" or "connection"
	status   int    // of HTTP; 0 is none
}

// rate returns the rate of a kind.
func (k lineKind) rate() rate {
	if k.pkh == "" {
		return strangerLines
	}
	return keyLines
}

// lineLimit decides which lines are written. It is safe for concurrent use.
type lineLimit struct {
	log     *slog.Logger
	skipped func() // is called for each line that is left out

	mu      sync.Mutex
	buckets map[lineKind]*bucket
}

// bucket holds the lines that may be written.
type bucket struct {
	lines   float64
	filled  time.Time
	skipped int        // since the last line that told
	level   slog.Level // of the skipped lines, the highest
}

func newLineLimit(log *slog.Logger, skipped func()) *lineLimit {
	return &lineLimit{log: log, skipped: skipped, buckets: make(map[lineKind]*bucket)}
}

// take reports whether a line may be written. One that may not is counted, and told of later.
func (l *lineLimit) take(kind lineKind, level slog.Level, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.buckets[kind]
	if !known {
		b = &bucket{lines: kind.rate().burst, filled: now, level: level}
		l.buckets[kind] = b
	}
	if b.take(kind.rate(), now) {
		return true
	}
	l.skipped()
	if b.skipped++; b.skipped == 1 {
		b.level = level
		time.AfterFunc(tellInterval, func() { l.tell(kind) })
	}
	b.level = max(b.level, level)
	return false
}

// take fills the bucket for the time that has passed, and takes one line out if it can.
func (b *bucket) take(r rate, now time.Time) bool {
	b.lines = min(r.burst, b.lines+r.perSecond*now.Sub(b.filled).Seconds())
	b.filled = now
	if b.lines < 1 {
		return false
	}
	b.lines--
	return true
}

// tell writes how many lines of a kind were left out, if any.
func (l *lineLimit) tell(kind lineKind) {
	l.mu.Lock()
	b := l.buckets[kind]
	lines, level := b.skipped, b.level
	b.skipped = 0
	l.mu.Unlock()
	if lines == 0 {
		return
	}
	attrs := []slog.Attr{slog.Int("lines", lines), slog.String("decision", kind.decision)}
	if kind.status != 0 {
		attrs = append(attrs, slog.Int("status", kind.status))
	}
	if kind.pkh != "" {
		attrs = append(attrs, slog.String("pkh", kind.pkh))
	}
	l.log.LogAttrs(context.Background(), level, "more lines of this kind not logged", attrs...)
}

// tellAll is tell for all kinds.
func (l *lineLimit) tellAll() {
	l.mu.Lock()
	kinds := make([]lineKind, 0, len(l.buckets))
	for kind := range l.buckets {
		kinds = append(kinds, kind)
	}
	l.mu.Unlock()
	for _, kind := range kinds {
		l.tell(kind)
	}
}

// limitedHandler is a slog.Handler for lines of one kind.
type limitedHandler struct {
	slog.Handler
	limit *lineLimit
	kind  lineKind
}

// Handle writes the line or leaves it out.
func (h limitedHandler) Handle(ctx context.Context, r slog.Record) error {
	if !h.limit.take(h.kind, r.Level, time.Now()) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// connectionLog returns a handler for what net/http says of connections.
func (s *Server) connectionLog() slog.Handler {
	return limitedHandler{s.log.Handler(), s.limit, lineKind{decision: "connection"}}
}
