package fault_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// total is what the tests of this package did.
var total = tally{what: make(map[happening]int)}

// tally counts. The numbers of the last line are those of all parts.
type tally struct {
	mu   sync.Mutex
	what map[happening]int

	requests, kills, powercutStates, hsmCorruptions, diskFaults, handovers int
	conflicts, unverified                                                  int
	neverReleased                                                          int // signatures that the card made and nobody got
}

// happening is a row of the report: a fault of a part, and what happened then.
type happening struct{ part, fault, outcome string }

// happened counts a fault with what came of it, for the report.
func (t *tally) happened(p part, fault, outcome string) { t.happenedTimes(p, fault, outcome, 1) }

func (t *tally) happenedTimes(p part, fault, outcome string, times int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.what[happening{p.name, fault, outcome}] += times
}

// add changes the numbers of the last line.
func (t *tally) add(change func(*tally)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t)
}

func (t *tally) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("requests=%d kills=%d powercut_states=%d hsm_corruptions=%d disk_faults=%d handovers=%d conflicts_released=%d unverified_released=%d seed=%d",
		t.requests, t.kills, t.powercutStates, t.hsmCorruptions, t.diskFaults, t.handovers, t.conflicts, t.unverified, *campaignSeed)
}

// write makes the report. It is Markdown, and the campaign's own words only.
func (t *tally) write(path string, took time.Duration) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Fault report\n\nWritten by `make fault`. What each fault is and how it is made: the tests of [test/fault](../test/fault).\n\n")
	fmt.Fprintf(&b, "```\n%s\n```\n\n", t.line())
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(&b, "%s, %s on %s, %d processors. Signatures that the card made and nobody got: %d.\n",
		took.Round(time.Second), runtime.Version(), runtime.GOOS, runtime.NumCPU(), t.neverReleased)
	rows := slices.SortedFunc(maps.Keys(t.what), func(a, b happening) int {
		return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.fault, b.fault), cmp.Compare(a.outcome, b.outcome))
	})
	last := ""
	for _, row := range rows {
		if row.part != last {
			fmt.Fprintf(&b, "\n## %s\n\n| fault | what happened | times |\n|---|---|---:|\n", row.part)
			last = row.part
		}
		fmt.Fprintf(&b, "| %s | %s | %d |\n", row.fault, row.outcome, t.what[row])
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
