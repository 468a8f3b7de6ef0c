//go:build amd64

package fault_test

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPowerCut records what pawl does to the disk, cuts the power at each step and
// opens what is left: whatever was answered before must be there, with the very same
// signature.
//
// A disk may lose of what was not synced what it likes, in any order and by sectors of
// 512 bytes. It does not lie: what it has synced stays. A name is durable when the
// folder was synced, or on other file systems when the new file was; both are tried.
// Nor may a power cut leave a ratchet that pawl then refuses: who has to register his
// keys anew, with a distance to what they may have signed, misses rounds.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	c := newCuts(t)
	began := time.Now()
	c.judge(t, c.record(t, usualLives))
	c.judge(t, c.afterCut(t))
	for partPowerCut.goesOn(began, c.states, 0) && !t.Failed() {
		c.judge(t, c.record(t, c.randomLives))
		c.judge(t, c.afterCut(t))
	}
	c.print(t, time.Since(began))
}

// cuts is the state of TestPowerCut.
type cuts struct {
	*rig
	random   *rand.Rand
	wanted   int // states chosen at random of each recording
	scratch  string
	last     *cutScene
	states   int
	outcomes map[cutOutcome]int
}

func newCuts(t *testing.T) *cuts {
	t.Helper()
	c := &cuts{rig: newRig(t), random: partPowerCut.random(), wanted: 1200, outcomes: make(map[cutOutcome]int)}
	if *campaignTime > 0 {
		c.wanted = 20_000
	}
	folder, remove := scratchFolder(t.TempDir())
	t.Cleanup(remove)
	c.scratch = folder
	return c
}

// record plays lives of the daemon on a new ratchet.
func (c *cuts) record(t *testing.T, lives func(*testing.T, *cutScene)) *recording {
	t.Helper()
	c.last = newScene(t, c.rig, c.random)
	c.last.found(t)
	lives(t, c.last)
	return c.last.recording(t)
}

// usualLives: a first life with single and grouped commits, new rows, and rests, which
// ends well; one that is killed; one more.
func usualLives(t *testing.T, s *cutScene) {
	t.Helper()
	d, p := s.serve(t)
	s.alone(t, d, 3)
	s.together(t, d, 0)
	for range 3 {
		s.grow(t, d)
	}
	s.rest(t, d)
	s.alone(t, d, 2)
	s.grow(t, d)
	s.end(t, d, p, unix.SIGTERM)
	s.retire(t)

	d, p = s.serve(t)
	s.alone(t, d, 2)
	s.together(t, d, 1)
	s.end(t, d, p, unix.SIGKILL)

	d, p = s.serve(t)
	s.grow(t, d)
	s.rest(t, d)
	s.alone(t, d, 1)
	s.end(t, d, p, unix.SIGTERM)
}

// randomLives are a few that anything may happen in.
func (c *cuts) randomLives(t *testing.T, s *cutScene) {
	t.Helper()
	for range 2 + c.random.IntN(3) {
		c.randomLife(t, s)
	}
}

func (c *cuts) randomLife(t *testing.T, s *cutScene) {
	t.Helper()
	d, p := s.serve(t)
	for range c.random.IntN(6) {
		switch c.random.IntN(4) {
		case 0:
			s.alone(t, d, 1+c.random.IntN(4))
		case 1:
			s.together(t, d, byte(c.random.IntN(int(s.chains))))
		case 2:
			s.grow(t, d)
		case 3:
			s.rest(t, d)
		}
	}
	if c.random.IntN(6) == 0 {
		s.fill(t, d)
	}
	s.end(t, d, p, []unix.Signal{unix.SIGTERM, unix.SIGKILL}[c.random.IntN(2)])
}

// judge replays a recording, if there is one.
func (c *cuts) judge(t *testing.T, rec *recording) {
	t.Helper()
	if rec == nil {
		return
	}
	r := newReplay(rec, c.random, c.wanted, c.scratch)
	if *campaignTime == 0 {
		r.thin = 4
	}
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	for _, broken := range r.broken {
		t.Errorf("seed %d: %v", *campaignSeed, broken)
	}
	c.states += r.states
	total.add(func(y *tally) { y.powercutStates += r.states })
	for what, times := range r.outcomes {
		c.outcomes[what] += times
		total.happenedTimes(partPowerCut, what.class, what.outcome, times)
	}
}

func (c *cuts) print(t *testing.T, took time.Duration) {
	t.Helper()
	t.Logf("%d states in %v, seed %d", c.states, took.Round(time.Millisecond), *campaignSeed)
	for _, what := range slices.SortedFunc(maps.Keys(c.outcomes), cutOutcome.compare) {
		t.Logf("%7d  %s: %s", c.outcomes[what], what.class, what.outcome)
	}
	if err := c.oracle.verdict(); err != nil {
		t.Error(err)
	}
}

// afterCut has daemons start on what a power cut of the last scene left, to be cut
// again while they recover and later. It is nil if that state is refused, which is then
// judged elsewhere.
func (c *cuts) afterCut(t *testing.T) *recording {
	t.Helper()
	state, must := c.anyCut()
	before := c.last.recorder.seen
	folder := filepath.Join(c.scratch, "before")
	defer func() { _ = os.RemoveAll(folder) }()
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := state.lay(folder, before.identities); err != nil {
		t.Fatal(err)
	}
	if must.judge(folder, before.everTold()).refused != nil {
		return nil
	}
	next := newScene(t, c.rig, c.random)
	next.inherit(t, c.last, state, must)
	c.last = next
	c.randomLives(t, next)
	return next.recording(t)
}

// anyCut is one of those that have a choice, after the keys were registered.
func (c *cuts) anyCut() (snapshot, *promises) {
	rec := c.last.recorder.seen
	for {
		at := rec.from + c.random.IntN(len(rec.ops)-rec.from)
		must := &promises{}
		for _, o := range rec.ops[:at] {
			must = must.with(o)
		}
		disk := rec.disk(c.random.IntN(2) == 0, at)
		if len(must.registered) == len(c.last.keys) && disk.unsynced() {
			return disk.cut(keepFirst+cutFate(c.random.IntN(int(cutFates-keepFirst))), c.random), must
		}
	}
}
