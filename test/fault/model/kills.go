package model

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// change is a commit that a kill may have come before or after.
type change struct {
	apply func(ratchet)
	said  []string // what may be said of it, after the commit only
	seen  bool     // something was
}

// The delays are how many microseconds after a command a kill comes: about as long as
// a commit takes, or an opening or a clean stop.
var (
	commitDelay  = rapid.SampledFrom([]int{0, 50, 100, 150, 200, 300, 400, 600, 800, 1000, 1500, 2000, 3000, 5000})
	openingDelay = rapid.SampledFrom([]int{
		0, 500, 1000, 2000, 3000, 4000, 5000, 6000, 8000, 10_000, 15_000, 20_000,
		30_000,
	})
)

// killAfter sends a command and kills. It returns what was said and, of the changes,
// marks those that were.
func (w *walk) killAfter(command string, microseconds int, harmless []string, changes ...*change) {
	delay := time.Duration(microseconds) * time.Microsecond
	w.trace = append(w.trace, fmt.Sprintf("%s, and kill after %v", command, delay))
	if command != "" {
		w.fail(w.process.send(command))
	}
	for start := time.Now(); time.Since(start) < delay; { // a timer is late by more than the delay is long
	}
	w.Tally.Kills++
	for _, line := range w.process.kill() {
		known := slices.Contains(harmless, line)
		for _, c := range changes {
			if slices.Contains(c.said, line) {
				c.seen, known = true, true
			}
		}
		if !known {
			w.fail(fmt.Errorf("the process said %q before it was killed", line))
			return
		}
		w.judgeGift(line)
	}
}

// resume opens the file in a new process. It must be as before with those changes that
// were said to be, and perhaps others.
func (w *walk) resume(before ratchet, changes ...*change) (committed []bool) {
	w.start()
	w.open("opened")
	if w.err != nil {
		return nil
	}
	w.fail(w.process.send("state"))
	got := <-w.process.lines
	for subset := range 1 << len(changes) {
		r, possible := before.clone(), true
		committed = committed[:0]
		for i, c := range changes {
			done := subset>>i&1 == 1
			committed = append(committed, done)
			if done {
				c.apply(r)
			}
			possible = possible && (done || !c.seen)
		}
		if possible && r.String() == got {
			w.ratchet = r
			return committed
		}
	}
	w.fail(fmt.Errorf("after a kill:\n\t%s\nwas before it:\n\t%s", got, before))
	return nil
}

// killIdle kills while nothing but the HSM is busy: nothing may change.
func (w *walk) killIdle(*rapid.T) {
	state := "idle"
	if len(w.lines) > 0 {
		state = "HSM asked"
	}
	if w.closing {
		state += ", closing"
	}
	w.killAfter("", 0, nil)
	w.resume(w.ratchet)
	w.count(state, "kill", "as it was")
}

// killSigning kills when the HSM has signed. Each signature is in its row then, with
// or without an answer, or it never was.
func (w *walk) killSigning(t *rapid.T) {
	before := w.clone()
	flights := w.several(t, 1)
	delay := commitDelay.Draw(t, "microseconds")
	command, changes := "hsm", []*change(nil)
	for _, f := range flights {
		w.made++
		signature := w.made
		said, _ := w.land(f, signature)
		command += fmt.Sprintf(" %d ok %d", f.id, signature)
		changes = append(changes, &change{apply: func(r ratchet) { r.place(f.payload, signature) }, said: said})
	}
	w.killAfter(command, delay, nil, changes...)
	for i, committed := range w.resume(before, changes...) {
		w.afterKill(flights[i], committed, changes[i].seen)
	}
}

// afterKill asks for the same bytes again: a row that is there gives its signature.
func (w *walk) afterKill(f *flight, committed, seen bool) {
	outcome := "nothing committed"
	if committed {
		outcome = "committed, no answer"
	}
	if seen {
		outcome = "committed, answered"
	} else {
		w.Tally.NeverReleased++
	}
	w.count("HSM asked", "HSM signs and kill", outcome)
	w.askNow(f.payload)
}

func (w *walk) killRegistering(t *rapid.T) {
	at := place{someKey.Draw(t, "key"), someChain.Draw(t, "chain")}
	// Not from 0, which the list of registrations does not tell from no floor.
	from := max(limited(max(w.floors[at], 0)+rapid.Int64Range(-1, 2).Draw(t, "from")), w.heads[at], 1)
	if from > math.MaxInt32 {
		return
	}
	state, before := w.standing(at), w.clone()
	outcome := w.register(at, from)
	c := &change{apply: func(r ratchet) { r.register(at, from) }, said: []string{outcome}}
	nothing := w.String() == before.String()
	w.killAfter(fmt.Sprintf("register %d %d %d", at.key, at.chain, from), commitDelay.Draw(t, "microseconds"), nil, c)
	c.seen = c.seen && !nothing // an answer to what changes nothing says nothing of a commit
	what := map[bool]string{true: "committed", false: "nothing committed"}
	for _, committed := range w.resume(before, c) {
		if nothing {
			what[committed] = "nothing to commit"
		}
		w.count(state, "register and kill", what[committed])
	}
}

// killClosing kills a clean stop on its way, or one that waits for the HSM.
func (w *walk) killClosing(t *rapid.T) {
	if w.closing {
		t.Skip()
	}
	state := "idle"
	if len(w.lines) > 0 {
		state = "HSM asked"
	}
	closed := &change{apply: func(ratchet) {}, said: w.close()}
	w.killAfter("close", openingDelay.Draw(t, "microseconds"), nil, closed)
	left := w.left()
	w.resume(w.ratchet)
	w.count(state, "close and kill", "as it was, "+left)
}

// killOpening kills an opening on its way, of a file that was closed or killed.
func (w *walk) killOpening(t *rapid.T) {
	state := "killed"
	if len(w.lines) == 0 && !w.closing && rapid.Bool().Draw(t, "closed before") {
		state = "closed"
		w.do("close", w.close()...)
	} else {
		w.killAfter("", 0, nil)
		w.start()
	}
	if w.err != nil {
		return
	}
	w.killAfter(fmt.Sprintf("open %s %d", w.path, maxGap), openingDelay.Draw(t, "microseconds"), []string{"opened"})
	left := w.left()
	w.resume(w.ratchet)
	w.count(state, "open and kill", "as it was, "+left)
}

// left is which files a kill has left beside the database.
func (w *walk) left() string {
	wal, err := os.Stat(w.path + "-wal")
	state := "-wal"
	switch {
	case err != nil:
		state = "no -wal"
	case wal.Size() == 0:
		state = "empty -wal"
	}
	if _, err := os.Stat(w.path + "-opening"); err == nil {
		state += " and -opening"
	}
	return state
}

// losses are ways to lose the marks that are in the -wal only.
var losses = map[string]func(wal string) error{
	"removed": os.Remove,
	"emptied": func(wal string) error { return os.Truncate(wal, 0) },
	"replaced by its copy": func(wal string) error {
		return errors.Join(copyTo(wal, wal+".copy"), os.Rename(wal+".copy", wal))
	},
	"replaced by an empty one": func(wal string) error {
		return errors.Join(os.WriteFile(wal+".new", nil, 0o600), os.Rename(wal+".new", wal))
	},
}

func copyTo(from, to string) error {
	source, err := os.Open(from) //nolint:gosec // in the walk's own folder
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.Create(to) //nolint:gosec // in the walk's own folder
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// lose kills, loses the -wal and wants the file refused, also when it is tried again,
// or opened with all that it ever had: nothing was in the -wal then. After a refusal the
// keys are registered in a new file, each from above what it signed.
func (w *walk) lose(t *rapid.T) {
	how := rapid.SampledFrom([]string{"removed", "emptied", "replaced by an empty one", "replaced by its copy"}).Draw(t,
		"how")
	w.killAfter("", 0, nil)
	w.fail(losses[how](w.path + "-wal"))
	w.start()
	if w.opensWhole() {
		w.do("state", w.String())
		w.count("killed, -wal "+how, "open", "opened, as it was")
		return
	}
	w.open("failed suspect")
	w.count("killed, -wal "+how, "open", "refused: suspect")
	for _, at := range w.places() {
		w.heads[at] = max(w.heads[at], w.above(at))
	}
	w.newFile()
	w.count("no file", "create", "opened")
	for _, at := range sortedPlaces(w.heads) {
		w.registerNow(at, w.heads[at])
	}
}

// opensWhole opens a file that has lost its -wal, and reports whether it was taken.
func (w *walk) opensWhole() bool {
	if w.err != nil {
		return false
	}
	w.lines, w.closing = make(lines), false
	command := fmt.Sprintf("open %s %d", w.path, maxGap)
	w.trace = append(w.trace, command)
	w.fail(w.process.send(command))
	said := <-w.process.lines
	if said != "opened" && said != "failed suspect" {
		w.fail(fmt.Errorf("%s: %q, want it opened or refused", command, said))
	}
	return said == "opened"
}

// above is the level from which a key may sign again when all marks are lost.
func (r ratchet) above(at place) int64 {
	from := max(r.floors[at], 0)
	for slot, last := range r.rows {
		if slot.Key == at.key && slot.Chain == at.chain {
			from = max(from, last.level+1)
		}
	}
	return from
}
