package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink is a writer that can be blocked or fail, and counts its writes.
type sink struct {
	failure error

	mu             sync.Mutex
	buf            bytes.Buffer
	writes, broken int // broken ones end amid a line
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return 0, s.failure
	}
	s.writes++
	if !bytes.HasSuffix(p, []byte("\n")) {
		s.broken++
	}
	return s.buf.Write(p)
}

// lines are the messages written so far, and in how many writes.
func (s *sink) lines(t *testing.T) (messages []string, writes int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.buf.String()) {
		var fields struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		messages = append(messages, fields.Msg)
	}
	return messages, s.writes
}

// TestLateLog: lines come together and in order, a little later and by themselves.
func TestLateLog(t *testing.T) {
	t.Parallel()
	var out sink
	log, _ := newLateLog(&out, nil)
	late := log.Handler().(lateHandler).log //nolint:forcetypeassert // newLateLog's own
	late.writing.Lock()                     // so that no pause of the machine parts them
	for _, msg := range []string{"a", "b", "c"} {
		log.Info(msg) //nolint:sloglint // messages of a test
	}
	late.writing.Unlock()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		lines, writes := out.lines(t)
		if len(lines) > 0 {
			if strings.Join(lines, "") != "abc" || writes != 1 {
				t.Errorf("%q in %d writes, want all in order in one", lines, writes)
			}
			return
		}
		if time.Since(start) > 20*time.Second {
			t.Fatal("nothing is written")
		}
	}
}

// TestFullLogDisk: lines that could not be written are lost, the next ones are not.
func TestFullLogDisk(t *testing.T) {
	t.Parallel()
	out := sink{failure: errors.New("no space left on device")}
	log, flush := newLateLog(&out, nil)
	log.Info("lost")
	flush()
	out.failure = nil
	log.Info("after")
	flush()
	if lines, _ := out.lines(t); strings.Join(lines, " ") != "after" {
		t.Errorf("%q, want the line after the failure", lines)
	}
}

// TestWholeLines: a write never ends amid a line, however many there are.
func TestWholeLines(t *testing.T) {
	t.Parallel()
	var out sink
	log, flush := newLateLog(&out, nil)
	for range lateLines / 2 {
		log.Info("line", "text", strings.Repeat("x", 500))
	}
	flush()
	if lines, _ := out.lines(t); len(lines) != lateLines/2 || out.broken > 0 {
		t.Errorf("%d lines, %d writes that end amid one, want %d and none", len(lines), out.broken, lateLines/2)
	}
}

// TestErrorIsNotLate: somebody must act, and may have to know what came before.
func TestErrorIsNotLate(t *testing.T) {
	t.Parallel()
	var out sink
	log, _ := newLateLog(&out, nil)
	log.Info("before")
	log.Error("now")
	if lines, _ := out.lines(t); strings.Join(lines, " ") != "before now" {
		t.Errorf("%q, want both lines at once", lines)
	}
}

func TestFlushWritesWhatWaits(t *testing.T) {
	t.Parallel()
	var out sink
	log, flush := newLateLog(&out, nil)
	log.Info("last")
	flush()
	if lines, _ := out.lines(t); len(lines) != 1 {
		t.Errorf("%q, want the line", lines)
	}
	flush()
	if _, writes := out.lines(t); writes != 1 {
		t.Errorf("%d writes, want none for nothing", writes)
	}
}

// TestLateLogKeepsAttributes: what a logger was given stands in its lines.
func TestLateLogKeepsAttributes(t *testing.T) {
	t.Parallel()
	var out sink
	log, flush := newLateLog(&out, nil)
	log.With("a", 1).WithGroup("g").Info("x", "b", 2)
	flush()
	if got := out.buf.String(); !strings.Contains(got, `"a":1,"g":{"b":2}`) {
		t.Errorf("got %s", got)
	}
}

// TestBlockedLogKeepsALimit: when nobody reads the log, a number of lines waits and
// then who logs, and when somebody does nothing was lost.
func TestBlockedLogKeepsALimit(t *testing.T) {
	t.Parallel()
	var out sink
	log, flush := newLateLog(&out, nil)
	out.mu.Lock() // nobody reads
	logged := make(chan struct{}, 3*lateLines)
	var all sync.WaitGroup
	for range 3 * lateLines {
		all.Go(func() {
			log.LogAttrs(t.Context(), slog.LevelInfo, "line")
			logged <- struct{}{}
		})
	}
	for range lateLines / 2 {
		<-logged // these need nobody to read
	}
	time.Sleep(50 * time.Millisecond)
	if n := len(logged) + lateLines/2; n > 2*lateLines {
		t.Errorf("%d lines were logged while nobody read, want at most %d", n, 2*lateLines)
	}
	out.mu.Unlock()
	all.Wait()
	flush()
	if lines, _ := out.lines(t); len(lines) != 3*lateLines {
		t.Errorf("%d lines, want %d", len(lines), 3*lateLines)
	}
}
