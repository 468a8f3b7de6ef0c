package check

import (
	"context"
	"slices"
	"testing"
	"time"

	"pawl/internal/config"
)

// A server may tell of a deadline before the context does.
func TestCheckIsOverAtItsDeadline(t *testing.T) {
	t.Parallel()
	for ctx, want := range map[context.Context]bool{
		late{Context: t.Context(), by: time.Second}:  true,
		late{Context: t.Context(), by: -time.Minute}: false,
		t.Context(): false,
	} {
		if got := over(ctx); got != want {
			t.Errorf("%v: over %v, want %v", ctx, got, want)
		}
	}
}

// late is a context whose timer is slow.
type late struct {
	context.Context

	by time.Duration
}

// Deadline was some time ago, and yet the context has not ended.
func (l late) Deadline() (time.Time, bool) { return time.Now().Add(-l.by), true }

// Nor is a daemon that there was no time to ask.
func TestCheckThatIsInterruptedBlamesNoDaemon(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var r Report
	r.daemon(ctx, "127.0.0.1:1", "keys.json", nil)
	if len(r.Findings) != 0 || len(r.unchecked) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestCheckOfSlowSignatures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		slowest time.Duration
		calls   int
		failed  int
		status  Status
	}{
		{SlowSignature, LatencyCalls, 0, OK},
		{SlowSignature + 1, LatencyCalls, 0, Warning},
		{time.Millisecond, LatencyCalls - 1, 0, Warning}, // its time was over
		{time.Millisecond, LatencyCalls - 1, 1, Warning},
	} {
		took := make([]time.Duration, test.calls)
		took[0] = test.slowest
		var r Report
		r.latencyFinding("server", took, test.failed)
		r.wants(t, test.status, "server", "signatures: half within")
	}
}

func TestPercentileIsTheNearestRank(t *testing.T) {
	t.Parallel()
	sorted := make([]time.Duration, 50)
	for i := range sorted {
		sorted[i] = time.Duration(i+1) * time.Millisecond
	}
	for p, want := range map[int]time.Duration{50: 25, 90: 45, 99: 50, 1: 1} {
		if got := percentile(sorted, p); got != want*time.Millisecond {
			t.Errorf("percentile %d is %v, want %d ms", p, got, want)
		}
	}
	if got := percentile(sorted[:1], 50); got != time.Millisecond {
		t.Errorf("of one: %v", got)
	}
}

// Of a keys.json with very many mistakes the first are told, and how many there are; what others wrote
// cannot move the cursor.
func TestFindingsAreBounded(t *testing.T) {
	t.Parallel()
	findings := slices.Repeat([]config.Finding{{Severity: config.Warning, Path: "keys", Text: "odd\x1b[2J"}}, config.MaxShown+7)
	for severity, want := range map[config.Severity]Status{config.Warning: Warning, config.Invalid: Error} {
		var r Report
		findings[len(findings)-1].Severity = severity
		r.findings("k.json", findings)
		if len(r.Findings) != config.MaxShown+1 {
			t.Errorf("%d findings, want %d", len(r.Findings), config.MaxShown+1)
		}
		r.wants(t, want, "k.json", "has 7 findings more")
		if got := r.Findings[0].Text; got != "odd\ufffd[2J" {
			t.Errorf("%q", got)
		}
	}
}
