package latelog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a slow machine may take for anything.
const patience = 20 * time.Second

// sink is a writer that can be blocked or fail, and counts its writes.
type sink struct {
	mu             sync.Mutex
	buf            bytes.Buffer
	writes, broken int // broken ones end amid a line
	failure        error
	takes          int // bytes that are written before the failure
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		n, _ := s.buf.Write(p[:min(s.takes, len(p))])
		return n, s.failure
	}
	s.writes++
	if !bytes.HasSuffix(p, []byte("\n")) {
		s.broken++
	}
	return s.buf.Write(p)
}

// fail has writes fail after so many bytes; nil ends that.
func (s *sink) fail(err error, takes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.takes = err, takes
}

func (s *sink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// lines are the messages written so far, and in how many writes.
func (s *sink) lines(t *testing.T) (messages []string, writes int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.buf.String()) {
		var fields struct {
			Msg   string
			Lines int
		}
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if fields.Lines > 0 {
			fields.Msg += fmt.Sprint(" ", fields.Lines)
		}
		messages = append(messages, fields.Msg)
	}
	return messages, s.writes
}

// await waits until so many lines are written.
func (s *sink) await(t *testing.T, lines int) []string {
	t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		got, _ := s.lines(t)
		if len(got) >= lines {
			return got
		}
		if time.Since(start) > patience {
			t.Fatalf("%d lines are written, want %d", len(got), lines)
		}
	}
}

// never is a time that no test waits for.
const never = time.Hour

// start returns a log that writes to out, and closes it at the end of the test.
func start(t *testing.T, out *sink, late time.Duration) *Log {
	t.Helper()
	l := newLog(out, nil, late)
	t.Cleanup(func() { closeLog(t, l) })
	return l
}

// closeLog has all lines written.
func closeLog(t *testing.T, l *Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l.Close(ctx)
	if ctx.Err() != nil {
		t.Error("the last lines are not written")
	}
}

// TestLinesComeTogether: in order, a little later and by themselves.
func TestLinesComeTogether(t *testing.T) {
	t.Parallel()
	var out sink
	l := start(t, &out, 200*time.Millisecond) // so that no pause of the machine parts them
	for _, msg := range []string{"a", "b", "c"} {
		l.Logger().Info(msg) //nolint:sloglint // messages of a test
	}
	got := out.await(t, 3)
	if _, writes := out.lines(t); strings.Join(got, "") != "abc" || writes != 1 {
		t.Errorf("%q in %d writes, want all in order in one", got, writes)
	}
}

// TestErrorIsNotLate: somebody must act, and may have to know what came before.
func TestErrorIsNotLate(t *testing.T) {
	t.Parallel()
	var out sink
	l := start(t, &out, never)
	l.Logger().Info("before")
	l.Logger().Error("now")
	if got := out.await(t, 2); strings.Join(got, " ") != "before now" {
		t.Errorf("%q, want both lines", got)
	}
}

// TestTextBetweenLines: it comes in order, as it is, and is not late.
func TestTextBetweenLines(t *testing.T) {
	t.Parallel()
	var out sink
	l := start(t, &out, never)
	l.Logger().Info("before")
	text := []byte("{\"msg\": \"text\"}\n")
	if n, err := l.Write(text); n != len(text) || err != nil {
		t.Errorf("Write: %d, %v", n, err)
	}
	clear(text) // it is the caller's
	if got := out.await(t, 2); strings.Join(got, " ") != "before text" {
		t.Errorf("%q, want both", got)
	}
}

// TestPrintWaits until the text is written, and not longer than its context.
func TestPrintWaits(t *testing.T) {
	t.Parallel()
	var out sink
	l := start(t, &out, never)
	for _, text := range []string{"a\n", "b\n"} {
		l.Print(t.Context(), []byte(text))
		if got := out.text(); !strings.HasSuffix(got, text) {
			t.Errorf("%q is written, want %q in the end", got, text)
		}
	}
	out.mu.Lock() // nobody reads
	defer out.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	l.Print(ctx, []byte("c\n"))
	if ctx.Err() == nil {
		t.Error("Print has not waited")
	}
}

// TestNobodyReads: no caller waits for the writer. What does not fit is dropped, warnings and
// errors last, and a line says so when lines are read again.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	const more = 10
	levels := []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	var out sink
	l := start(t, &out, never)
	out.mu.Lock() // nobody reads
	l.Logger().Error("stuck")
	for start := time.Now(); l.waiting() > 0; time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatal("the first line is not about to be written")
		}
	}
	var want []int
	for i, level := range levels {
		fits := maxLines
		if i > 0 {
			fits = reserved
		}
		for range fits + more {
			l.Logger().LogAttrs(t.Context(), level, "line")
		}
		want = append(want, (i+1)*more)
		if got := int(l.Dropped()); got != want[i] {
			t.Errorf("%d lines dropped after those of level %v, want %d", got, level, want[i])
		}
	}
	out.mu.Unlock()
	kept := maxLines + 2*reserved
	got := out.await(t, 1+kept+1)
	if last := got[len(got)-1]; len(got) != kept+2 || last != "log lines dropped 30" {
		t.Errorf("%d lines, the last one %q; want %d and one that tells of 30 dropped", len(got), last, kept+1)
	}
}

func (l *Log) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// TestCloseDoesNotWaitLonger: a writer that is stuck holds Close for the time of its context.
func TestCloseDoesNotWaitLonger(t *testing.T) {
	t.Parallel()
	var out sink
	l := newLog(&out, nil, never)
	out.mu.Lock() // nobody reads
	l.Logger().Error("stuck")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	closed := make(chan struct{})
	go func() { defer close(closed); l.Close(ctx) }()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("Close waits on")
	}
	out.mu.Unlock()
	closeLog(t, l)
}

// TestFullDisk: lines that cannot be written are dropped and counted, the next one tells how many,
// and stands on a line of its own.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, takes := range []int{0, 30} {
		var out sink
		l := start(t, &out, never)
		out.fail(errors.New("no space left on device"), takes)
		for i := range 4 {
			l.Logger().Error("dropped", "line", i)
			for start := time.Now(); int(l.Dropped()) <= i; time.Sleep(time.Millisecond) {
				if time.Since(start) > patience {
					t.Fatalf("%d lines counted, want %d", l.Dropped(), i+1)
				}
			}
		}
		out.fail(nil, 0)
		l.Logger().Error("after")
		closeLog(t, l)
		lines := strings.Split(strings.TrimSpace(out.text()), "\n")
		if n := len(lines); n < 2 || !strings.Contains(lines[n-2], `"msg":"after"`) || !json.Valid([]byte(lines[n-2])) ||
			!strings.Contains(lines[n-1], `"msg":"log lines dropped","lines":4`) || l.Dropped() != 4 {
			t.Errorf("%d bytes fit before the disk is full: %d dropped and %q, want 4, the line after and one that tells",
				takes, l.Dropped(), lines)
		}
	}
}

// TestPartOfAWrite: of a write that fails the lines that were written are not counted as dropped.
func TestPartOfAWrite(t *testing.T) {
	t.Parallel()
	var out sink
	l := start(t, &out, never)
	const text = "0123456789\n"
	out.fail(errors.New("file too large"), 2*len(text)+5)
	l.mu.Lock()
	for range 4 {
		l.lines = append(l.lines, line{text: []byte(text)})
	}
	l.mu.Unlock()
	closeLog(t, l)
	if got := l.Dropped(); got != 2 || out.text() != text+text+text[:5] {
		t.Errorf("%d dropped, want the two that are not whole in %q", got, out.text())
	}
}

// TestWholeLines: a write never ends amid a line, however many there are.
func TestWholeLines(t *testing.T) {
	t.Parallel()
	var out sink
	l := start(t, &out, lateTime)
	for range maxLines / 2 {
		l.Logger().Info("line", "text", strings.Repeat("x", 500))
	}
	closeLog(t, l)
	if lines, _ := out.lines(t); len(lines) != maxLines/2 || out.broken > 0 {
		t.Errorf("%d lines, %d writes that end amid one, want %d and none", len(lines), out.broken, maxLines/2)
	}
}

// TestManyAtOnce: lines of many goroutines all come, once.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	var out sink
	l := start(t, &out, lateTime)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			for range 10 {
				l.Logger().Info("line")
			}
		})
	}
	all.Wait()
	closeLog(t, l)
	if lines, _ := out.lines(t); len(lines) != 1000 || l.Dropped() != 0 {
		t.Errorf("%d lines, %d dropped, want 1000 and none", len(lines), l.Dropped())
	}
}

func TestCloseWritesWhatWaits(t *testing.T) {
	t.Parallel()
	var out sink
	l := start(t, &out, never)
	l.Logger().Info("last")
	closeLog(t, l)
	l.Logger().Error("too late")
	closeLog(t, l)
	if lines, writes := out.lines(t); len(lines) != 1 || writes != 1 {
		t.Errorf("%q in %d writes, want the line", lines, writes)
	}
}

// TestAttributesAreKept: what a logger was given stands in its lines.
func TestAttributesAreKept(t *testing.T) {
	t.Parallel()
	var out sink
	l := start(t, &out, lateTime)
	l.Logger().With("a", 1).WithGroup("g").Info("x", "b", 2)
	closeLog(t, l)
	if got := out.text(); !strings.Contains(got, `"a":1,"g":{"b":2}`) {
		t.Errorf("got %s", got)
	}
}
