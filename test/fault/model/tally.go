package model

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Transition is one that a ratchet made: in a state, by a command.
type Transition struct{ State, Command, Outcome string }

// Tally counts what walks have done.
type Tally struct {
	Transitions                map[Transition]int
	Requests, Kills, Processes int
	NeverReleased              int // signatures that the HSM made and nobody got
}

// NewTally counts from nothing.
func NewTally() *Tally { return &Tally{Transitions: make(map[Transition]int)} }

// Missing are those of want that did not occur.
func (t *Tally) Missing(want []Transition) (missing []Transition) {
	for _, w := range want {
		if t.Transitions[w] == 0 {
			missing = append(missing, w)
		}
	}
	return missing
}

// String is a table of all transitions.
func (t *Tally) String() string {
	rows := slices.SortedFunc(maps.Keys(t.Transitions), func(a, b Transition) int {
		return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(a.Command, b.Command), cmp.Compare(a.Outcome, b.Outcome))
	})
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "%-32s %-28s %-34s %8d\n", row.State, row.Command, row.Outcome, t.Transitions[row])
	}
	return b.String()
}

// outcomeOf is a verdict without its numbers.
func outcomeOf(verdict string) string {
	words := strings.Fields(verdict)
	switch {
	case verdict == may:
		return "HSM asked"
	case words[0] == "refused":
		return "refused: " + words[1]
	}
	return words[0]
}
