package model

import (
	"errors"
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// Options are what a walk needs.
type Options struct {
	Start Start
	Dir   string // an empty folder
	Hangs int    // how often the HSM may hang: five seconds each
	Tally *Tally
	Fatal func(error) // takes the first difference and ends the walk; may be nil
}

// walk compares the model with the other process, step by step. The first difference
// ends it.
type walk struct {
	Options
	desk
	process *process
	path    string
	files   int
	heads   map[place]int64 // from which to register what was signed in lost files

	requests map[int]payload
	given    map[Mark]gift
	ids      int // of requests
	made     int // signatures
	trace    []string
	err      error
}

// gift is a signature that left, of which bytes. It is never forgotten, be the file lost.
type gift struct{ bytes, signature int }

func newWalk(o Options) *walk {
	return &walk{Options: o, heads: make(map[place]int64), requests: make(map[int]payload), given: make(map[Mark]gift)}
}

// Walk makes a ratchet in another process and does to it, and to the model, what rt
// draws. It returns the first difference, with the steps that led to it.
func Walk(rt *rapid.T, o Options) error {
	w := newWalk(o)
	w.begin()
	defer w.end()
	rt.Repeat(w.actions())
	return w.err
}

// begin registers one key from level 0 and one from a later level, and one that is new.
func (w *walk) begin() {
	w.start()
	w.newFile()
	for key := range 2 {
		for chain := range 2 {
			w.registerNow(place{key, chain}, int64(10*key))
		}
	}
	w.newKeyNow(2)
}

func (w *walk) end() {
	if w.process != nil {
		w.process.kill()
	}
}

// actions are all steps, as often as their weight is, which rapid draws from.
func (w *walk) actions() map[string]func(*rapid.T) {
	actions := make(map[string]func(*rapid.T))
	for _, a := range []struct {
		name   string
		weight int
		step   func(*rapid.T)
	}{
		{"ask", 14, w.askSomething},
		{"ask again", 4, w.askAgain},
		{"HSM signs", 8, w.hsmSigns},
		{"HSM signs in several slots", 3, w.hsmSignsSeveral},
		{"HSM fails", 1, w.hsmFails},
		{"HSM hangs", 1, w.hsmHangs},
		{"leave", 2, w.leaveSomething},
		{"fill", 1, w.fill},
		{"stray chains", 1, w.strayChains},
		{"register", 2, w.registerSomething},
		{"overtake", 1, w.overtake},
		{"new key", 1, w.newKey},
		{"close", 1, w.closeNow},
		{"second process", 1, w.second},
		{"kill", 1, w.killIdle},
		{"kill while signing", 3, w.killSigning},
		{"kill while registering", 1, w.killRegistering},
		{"kill while closing", 1, w.killClosing},
		{"kill while opening", 1, w.killOpening},
		{"lose", 1, w.lose},
	} {
		for n := range a.weight {
			actions[fmt.Sprintf("%s %d", a.name, n)] = w.unlessFailed(a.step)
		}
	}
	actions[""] = w.unlessFailed(func(t *rapid.T) {
		if w.closing && len(w.lines) == 0 {
			w.reopen(t)
		}
		w.do("state", w.String())
	})
	return actions
}

func (w *walk) unlessFailed(step func(*rapid.T)) func(*rapid.T) {
	return func(t *rapid.T) {
		if w.err == nil {
			step(t)
		}
	}
}

// fail keeps the first difference, with the steps that led to it.
func (w *walk) fail(err error) {
	if w.err != nil || err == nil {
		return
	}
	w.err = fmt.Errorf("%w, after\n\t%s", err, strings.Join(w.trace, "\n\t"))
	if w.Fatal != nil {
		w.Fatal(w.err)
	}
}

// do sends a command and waits for all that must be said then.
func (w *walk) do(command string, want ...string) {
	if w.err != nil {
		return
	}
	if command != "state" {
		w.trace = append(w.trace, command)
	}
	if err := errors.Join(w.process.send(command), w.process.await(want)); err != nil {
		w.fail(fmt.Errorf("%s: %w", command, err))
		return
	}
	for _, line := range want {
		w.judgeGift(line)
	}
}

// judgeGift wants one signature for each slot, over all files that there ever were.
func (w *walk) judgeGift(line string) {
	var id, signature int
	var word string
	if n, _ := fmt.Sscanf(line, "answer %d %s %d", &id, &word,
		&signature); n != 3 || word != "signed" && word != "stored" {
		return
	}
	p := w.requests[id]
	mine := gift{p.bytes, signature}
	if before, ok := w.given[p.Mark]; ok && before != mine {
		w.fail(fmt.Errorf("%+v got two signatures, %+v and %+v", p.Mark, before, mine))
	}
	w.given[p.Mark] = mine
}

func (w *walk) start() {
	process, err := w.Start.run()
	if err != nil {
		w.fail(err)
		return
	}
	w.process = process
	w.Tally.Processes++
}

// newFile makes a ratchet that nobody is registered in.
func (w *walk) newFile() {
	w.files++
	w.path = fmt.Sprintf("%s/ratchet-%d.db", w.Dir, w.files)
	w.ratchet = newRatchet()
	w.do("create "+w.path, "created")
	w.open("opened")
}

func (w *walk) open(want string) {
	w.lines, w.closing = make(lines), false
	w.do(fmt.Sprintf("open %s %d", w.path, maxGap), want)
}

// reopen is what comes after a clean stop, in the same process or another.
func (w *walk) reopen(t *rapid.T) {
	if rapid.Bool().Draw(t, "in another process") {
		w.end()
		w.start()
	}
	w.open("opened")
	w.count("closed", "open", "opened")
}

func (w *walk) count(state, command, outcome string) {
	if w.err == nil {
		w.Tally.Transitions[Transition{state, command, outcome}]++
	}
}

// Hang has the HSM hang for the first of two payloads of a slot, and sign the second.
func Hang(o Options) error {
	w := newWalk(o)
	w.begin()
	defer w.end()
	slow := payload{Mark{Slot{0, 0, 0x11}, 5, 0}, 0}
	next := payload{Mark{Slot{0, 0, 0x11}, 5, 1}, 0}
	for _, p := range []payload{slow, next, slow} {
		w.askNow(p)
	}
	w.hang(w.lines[slow.Slot][0])
	w.sign(w.lines[slow.Slot][0])
	w.do("state", w.String())
	return w.err
}
