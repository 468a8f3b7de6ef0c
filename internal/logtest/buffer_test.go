package logtest_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pawl/internal/logtest"
)

func TestBuffer(t *testing.T) {
	t.Parallel()
	var b logtest.Buffer
	if got := b.Lines(); got != nil {
		t.Errorf("lines of nothing: %q", got)
	}
	var writers sync.WaitGroup
	for i := range 10 {
		writers.Go(func() { _, _ = fmt.Fprintf(&b, "line %d\n", i) })
	}
	writers.Wait()
	lines := b.Lines()
	slices.Sort(lines)
	for i, line := range lines {
		if line != fmt.Sprint("line ", i) {
			t.Errorf("line %d is %q", i, line)
		}
	}
	if len(lines) != 10 || len(b.String()) != 10*len("line 0\n") {
		t.Errorf("%d lines, %q", len(lines), b.String())
	}
}

func TestBlock(t *testing.T) {
	t.Parallel()
	var b logtest.Buffer
	release := b.Block()
	wrote := make(chan struct{})
	go func() { defer close(wrote); _, _ = b.Write([]byte("x")) }()
	select {
	case <-wrote:
		t.Error("a write does not wait")
	case <-time.After(20 * time.Millisecond):
	}
	release()
	release()
	<-wrote
	if got := b.String(); got != "x" {
		t.Errorf("got %q", got)
	}
}
