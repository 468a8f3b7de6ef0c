//go:build amd64

package fault_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
)

// replay cuts the power at every step of a recording and judges what is left.
type replay struct {
	*recording
	random  *rand.Rand
	wanted  int // states that are chosen at random
	thin    int // of the places one in so many is cut at
	scratch string
	ever    map[ratchet.Mark]toldSignature

	mu       sync.Mutex
	outcomes map[cutOutcome]int
	states   int
	bad      int     // of the states: they break a promise
	broken   []error // the first few
}

// cutOutcome is a row of the report.
type cutOutcome struct{ class, outcome string }

func (o cutOutcome) compare(other cutOutcome) int {
	return cmp.Or(cmp.Compare(o.class, other.class), cmp.Compare(o.outcome, other.outcome))
}

// cutState is a folder after a cut, and what it must hold.
type cutState struct {
	class string
	step  int
	files snapshot
	must  *promises
	twice bool // opened again after it was closed
}

func newReplay(r *recording, random *rand.Rand, wanted int, scratch string) *replay {
	return &replay{recording: r, random: random, wanted: wanted, thin: 1, scratch: scratch, ever: r.everTold(), outcomes: make(map[cutOutcome]int)}
}

// run judges all states, on all processors.
func (r *replay) run() error {
	states := make(chan cutState, 2*runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for i := range errs {
		workers.Go(func() {
			errs[i] = r.judgeAll(filepath.Join(r.scratch, fmt.Sprint("state", i)), states)
			for range states { // after an error: the others must not wait
			}
		})
	}
	for _, strict := range []bool{false, true} {
		r.cutEverywhere(strict, states)
	}
	close(states)
	workers.Wait()
	return errors.Join(errs...)
}

// cutEverywhere cuts before each step but those that change no state, and at the end.
func (r *replay) cutEverywhere(strict bool, states chan<- cutState) {
	each := float64(r.wanted) / float64(2*(len(r.ops)-r.from+1))
	disk, must := &cutDisk{strict: strict}, &promises{}
	var synced, changed bool // since the last cut
	for at := 0; at <= len(r.ops); at++ {
		if at >= r.from && (at == len(r.ops) || !r.ops[at].told()) {
			r.cutAt(disk, cutState{step: at, must: must}, synced, changed, each, states)
			synced, changed = false, false
		}
		if at == len(r.ops) {
			return
		}
		switch o := r.ops[at]; {
		case o.told():
			must = must.with(o)
			synced, changed = true, true // more is required of the same files
		case o.kind == stepSync, o.kind == stepSyncNames:
			synced = true
		default:
			changed = true
		}
		disk.do(r.ops[at])
	}
}

// cutAt cuts in all ways at one place. In strict mode that is only of interest while a
// name is not durable. A long -wal takes long to read: of its many alike steps every
// tenth will do, and of all places one in thin.
func (r *replay) cutAt(disk *cutDisk, s cutState, synced, changed bool, each float64, states chan<- cutState) {
	const long = 1 << 20
	if disk.strict && len(disk.changes) == 0 || disk.size() > long && r.random.IntN(10) > 0 || r.random.IntN(r.thin) > 0 {
		return
	}
	cut := func(f cutFate) {
		s.class, s.files, s.twice = f.String(), disk.cut(f, r.random), r.random.IntN(8) == 0
		if disk.strict {
			s.class += ", names only with the folder"
		}
		states <- s
	}
	if changed && !disk.strict {
		cut(keepAll)
	}
	if synced || disk.strict {
		cut(loseAll)
	}
	if !disk.unsynced() {
		return
	}
	for n := each; n >= 1 || r.random.Float64() < n; n-- {
		cut(keepFirst + cutFate(r.random.IntN(int(cutFates-keepFirst))))
	}
}

// judgeAll judges states in a folder of its own until there are no more.
func (r *replay) judgeAll(folder string, states <-chan cutState) error {
	for s := range states {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		if err := s.files.lay(folder, r.identities); err != nil {
			return err
		}
		got := s.must.judge(folder, r.ever)
		if s.twice && got.loss == nil && got.refused == nil {
			got = s.must.judge(folder, r.ever)
		}
		r.count(s, got)
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	return nil
}

func (r *replay) count(s cutState, got judgement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states++
	r.outcomes[cutOutcome{s.class, got.outcome}]++
	broken := cmp.Or(got.loss, got.refused)
	if broken == nil {
		return
	}
	r.bad++
	if len(r.broken) < 5 {
		r.broken = append(r.broken, fmt.Errorf("%s, after step %d of %d, %s: %w", s.class, s.step, len(r.ops), r.describe(s.step-1), broken))
	}
}

// describe says what a step is.
func (r *replay) describe(step int) string {
	if step < 0 {
		return "none"
	}
	o := r.ops[step]
	if file := o.file; o.kind == stepWrite || o.kind == stepTruncate || o.kind == stepSync {
		o.name = r.ops[slices.IndexFunc(r.ops, func(c diskStep) bool { return c.kind == stepCreate && c.file == file })].name
	}
	if o.kind == stepWrite {
		return fmt.Sprintf("%s of %d bytes at %d of %s", o.kind, len(o.data), o.offset, o.name)
	}
	return fmt.Sprint(o.kind, " ", o.name)
}

// scratchFolder is one in memory, if there is one: 100,000 states are some ten
// million calls that nobody has to wait for a disk for.
func scratchFolder(fallback string) (folder string, remove func()) {
	const shm = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(shm, &st); err == nil && st.Type == unix.TMPFS_MAGIC {
		if folder, err := os.MkdirTemp(shm, "pawl-powercut-"); err == nil {
			return folder, func() { _ = os.RemoveAll(folder) }
		}
	}
	return fallback, func() {}
}
