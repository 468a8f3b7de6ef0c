package model

import (
	"go/parser"
	"go/token"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestRules gives the model what its rules are about, one after the other.
func TestRules(t *testing.T) {
	t.Parallel()
	r := newRatchet()
	ask := func(key, chain int, level, round int64, bytes int) payload {
		return payload{Mark{Slot{key, chain, 0x11}, level, round}, bytes}
	}
	voteFor := func(key, chain int, level int64) payload { return payload{Mark{Slot{key, chain, 0x13}, level, 0}, 0} }
	for n, step := range []struct{ got, want string }{
		{r.judge(ask(0, 0, 5, 0, 0)), "refused not_registered 0 0"},
		{r.register(place{0, 0}, 5), "registered"},
		{r.judge(ask(0, 0, 4, 9, 0)), "refused below_floor 5 0"},
		{r.judge(ask(0, 0, 26, 0, 0)), "refused level_gap 5 0"},
		{r.judge(ask(0, 0, 25, 0, 0)), may},
		{r.place(ask(0, 0, 7, 2, 0), 1), "signed 1"},
		{r.place(ask(0, 0, 7, 2, 0), 2), "stored 1"},
		{r.place(ask(0, 0, 7, 2, 1), 3), "refused other_bytes 7 2"},
		{r.place(ask(0, 0, 7, 1, 0), 4), "refused below_watermark 7 2"},
		{r.place(ask(0, 0, 6, 9, 0), 5), "refused below_watermark 7 2"},
		{r.place(ask(0, 0, 7, 3, 0), 6), "signed 6"},
		{r.register(place{0, 0}, 4), "error"},
		{r.register(place{0, 0}, 9), "registered"},
		{r.judge(ask(0, 0, 8, 0, 0)), "refused below_floor 9 0"},
		{r.judge(ask(0, 0, 7, 3, 0)), "stored 6"},
		{r.judge(ask(0, 0, 29, 0, 0)), may},
		{r.judge(ask(0, 0, math.MaxInt32, 0, 0)), "refused level_gap 9 0"},
		{r.judge(voteFor(0, 0, 30)), "refused level_gap 9 0"},
		{r.place(voteFor(0, 0, 29), 10), "signed 10"}, // a kind that is ahead takes the others along
		{r.judge(ask(0, 0, 49, 0, 0)), may},
		{r.judge(ask(0, 0, 50, 0, 0)), "refused level_gap 29 0"},
		{r.registerNew(0), "error"},
		{r.registerNew(1), "registered"},
		{r.registerNew(1), "error"},
		{r.place(ask(1, 3, math.MaxInt32, 0, 0), 7), "signed 7"},
		{r.String(), "state 1/* 0/0>=9 1/3>=0 0/0/17=7,3,0 0/0/19=29,0,0 1/3/17=2147483647,0,0"},
	} {
		if step.got != step.want {
			t.Errorf("step %d: got %q, want %q", n+1, step.got, step.want)
		}
	}
}

func TestChainsAreFew(t *testing.T) {
	t.Parallel()
	r := newRatchet()
	r.registerNew(0)
	for chain := range maxChains {
		r.place(payload{Mark{Slot{0, chain, 0x11}, 1, 0}, 0}, chain)
		if got := r.register(place{1, chain}, 0); got != "registered" {
			t.Errorf("chain %d: %s", chain, got)
		}
	}
	const want = "refused too_many_chains 0 0"
	if got := r.place(payload{Mark{Slot{0, maxChains, 0x11}, 1, 0}, 0}, 9); got != want {
		t.Errorf("asked: got %q, want %q", got, want)
	}
	if got := r.register(place{1, maxChains}, 0); got != want {
		t.Errorf("registered: got %q, want %q", got, want)
	}
	if got := r.register(place{0, maxChains}, 0); got != "registered" {
		t.Errorf("registered after requests for as many: got %q", got)
	}
	const confined = "refused not_registered 0 0"
	if got := r.judge(payload{Mark{Slot{0, maxChains + 1, 0x11}, 1, 0}, 0}); got != confined {
		t.Errorf("asked with one registered by an operator: got %q, want %q", got, confined)
	}
}

// TestDesk has requests for one slot meet.
func TestDesk(t *testing.T) {
	t.Parallel()
	d := desk{ratchet: newRatchet(), lines: make(lines)}
	d.register(place{0, 0}, 0)
	p := payload{Mark{Slot{0, 0, 0x11}, 1, 0}, 0}
	other := payload{p.Mark, 1}
	want := func(got []string, want ...string) {
		t.Helper()
		slices.Sort(got)
		slices.Sort(want)
		if !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	first := func(said []string, _ string) []string { return said }
	want(first(d.ask(1, p)), "called 1", "asked 1")
	want(first(d.ask(2, p)), "asked 2")
	want(first(d.ask(3, other)), "asked 3")
	want(first(d.leave(d.lines[p.Slot][0], 1)))
	want(first(d.leave(d.lines[p.Slot][0], 2)), "answer 2 gone")
	want(d.crash(d.lines[p.Slot][0], "hsm"), "answer 1 hsm", "called 3")
	want(first(d.ask(4, p)), "asked 4")
	want(d.close(), "closing")
	want(first(d.ask(5, p)), "answer 5 stopped", "asked 5")
	want(first(d.land(d.lines[p.Slot][0], 7)), "answer 3 signed 7", "answer 4 refused other_bytes 1 0", "closed")
}

// TestSharesNothing: what judges pawl's ratchet must not be made of it.
func TestSharesNothing(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			if strings.HasPrefix(spec.Path.Value, `"pawl`) {
				t.Errorf("%s imports %s", file, spec.Path.Value)
			}
		}
	}
}
