package fault_test

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"pawl/ratchet"
)

const (
	clients = 8
	// stepsPerLife is how often the clients ask at most before the daemon dies.
	stepsPerLife = 3
)

// campaign is the state of TestKillCampaign.
type campaign struct {
	*rig
	random       *rand.Rand
	level, round int32
	requests     int
	repeated     int            // requests that were answered 500 or 503
	tally        map[string]int // kills by window
}

// The windows in which a kill can fall. Each kill is counted in those of which
// it left a witness: a signature in the card's log that nobody had got.
const (
	betweenSignatureAndCommit = "a signature was made and nobody got it: signed anew"      // the next life did not know it
	betweenCommitAndReply     = "a signature was stored and nobody got it: the stored one" // the next life released it without asking the card
)

// TestKill kills the daemon under eight clients that send the same and conflicting
// payloads, at named points and at random moments, and has them ask again after each
// restart. No slot may ever get a second signature, and the card's log has to show
// that the kills fell where it hurts.
func TestKill(t *testing.T) {
	t.Parallel()
	kills, witnesses := 200, 10
	if testing.Short() {
		kills, witnesses = 20, 1
	}
	c := &campaign{rig: newRig(t, pointPatches...), random: partKill.random(), level: 1000, tally: make(map[string]int)}
	began := time.Now()
	d := c.start(t)
	killed := 0
	// Where a kill falls is for the scheduler to say: go on until both windows were hit often enough.
	for ; partKill.goesOn(began, killed, kills) || killed < 5*kills && c.least() < witnesses; killed++ {
		d = c.life(t, d)
		if err := c.oracle.verdict(); err != nil {
			t.Fatalf("after kill %d: %v", killed+1, err)
		}
	}
	unreleased, err := c.oracle.merge(c.card)
	if err != nil {
		t.Error(err)
	}
	t.Logf("kills=%d %v requests=%d repeated=%d signatures_of_card=%d released=%d never_released=%d slots=%d took=%v",
		killed, c.tally, c.requests, c.repeated, c.card.total(), c.oracle.releases, unreleased, len(c.oracle.slots), time.Since(began).Round(time.Millisecond))
	if got := c.least(); got < witnesses || unreleased == 0 {
		t.Errorf("%d kills, only %v, and %d signatures that nobody got: each window wants %d, or the campaign proves nothing", killed, c.tally, unreleased, witnesses)
	}
}

// least is how often the window that was hit less was hit.
func (c *campaign) least() int {
	return min(c.tally[betweenSignatureAndCommit], c.tally[betweenCommitAndReply])
}

// life lets the clients ask d until it is killed, starts the next daemon and
// has it asked for the same again.
func (c *campaign) life(t *testing.T, d *daemon) *daemon {
	t.Helper()
	g := drawTrigger(c.random)
	last := c.askUntilDead(t, d, g)
	d.kill()
	if slices.Contains(points, point(g)) && !d.log.pointReached() {
		g = "at last, after the answers" // it was asked for less than the order wanted
	}
	next := c.start(t)
	c.oracle.stands(t, next)
	c.refusesForbidden(t, next, c.level)
	again := c.askAgain(t, next, last)
	c.oracle.stands(t, next)
	c.count(g, c.windows(t, d, next, last, again))
	return next
}

// count notes a kill.
func (c *campaign) count(g trigger, windows map[string]bool) {
	total.add(func(t *tally) { t.kills++ })
	if len(windows) == 0 {
		windows = map[string]bool{"all that was signed had been answered": true}
	}
	for window := range windows {
		c.tally[window]++
		total.happened(partKill, "killed "+string(g), window)
	}
}

// askUntilDead returns what became of the requests of the step in which d died.
func (c *campaign) askUntilDead(t *testing.T, d *daemon, g trigger) []answer {
	t.Helper()
	for range c.random.IntN(stepsPerLife) {
		asks := c.nextStep()
		c.postPatiently(t, d, asks)
	}
	asks := c.nextStep()
	onAnswer, disarm := c.arm(t, g, c.random, d, asks)
	answers := c.postAll(d, asks, onAnswer)
	d.strike() // unless the trigger has
	disarm()
	return answers
}

// postPatiently has all asks answered with 200 or 409. A machine that is short of
// time may make the daemon say 500 or 503, which burns nothing: then it is asked
// again.
func (c *campaign) postPatiently(t *testing.T, d *daemon, asks []ask) []answer {
	t.Helper()
	answers := c.postAll(d, asks, nil)
	for i := range answers {
		for tries := 1; tries < 10 && answers[i].status >= http.StatusInternalServerError; tries++ {
			c.repeated++
			answers[i] = c.post(d, asks[i])
		}
		if a := answers[i]; a.err != nil || a.status != http.StatusOK && a.status != http.StatusConflict {
			t.Fatalf("%v, want 200 or 409; the daemon's log:\n%s", a, d.log)
		}
	}
	return answers
}

// nextStep goes up and gives each client something to ask: eight slots at once,
// which commit together, or four slots with two clients each that send the same
// or conflicting payloads.
func (c *campaign) nextStep() []ask {
	if c.random.IntN(4) == 0 {
		c.round++
	} else {
		c.level, c.round = c.level+1, 0
	}
	var marks []ratchet.Mark
	for _, key := range c.keys {
		for _, kind := range kinds {
			for _, id := range chainsOf(key) {
				marks = append(marks, ratchet.Mark{Key: key.Hash(), ChainID: id, Kind: kind, Level: c.level, Round: c.round})
			}
		}
	}
	c.random.Shuffle(len(marks), func(i, j int) { marks[i], marks[j] = marks[j], marks[i] })
	crowded := c.random.IntN(3) == 0
	asks := make([]ask, clients)
	for i := range asks {
		asks[i] = ask{mark: marks[i]}
		if crowded {
			asks[i] = ask{mark: marks[i/2], variant: i % 2 * c.random.IntN(2)}
		}
	}
	c.requests += len(asks)
	return asks
}

// askAgain has every slot of a step asked again by a client of its own, for
// both payloads in any order and then once more. One of them, and only one, is
// signed, always with the same bytes.
func (c *campaign) askAgain(t *testing.T, d *daemon, step []answer) []answer {
	t.Helper()
	conflictFirst := c.random.IntN(2)
	marks := make(map[ratchet.Mark]bool)
	for _, a := range step {
		marks[a.mark] = true
	}
	var all []answer
	for i := range 4 {
		var asks []ask
		for mark := range marks {
			asks = append(asks, ask{mark, (i + conflictFirst) % 2})
		}
		c.requests += len(asks)
		all = append(all, c.postPatiently(t, d, asks)...)
	}
	signed := make(map[ratchet.Mark]int)
	for _, a := range all {
		if a.status == http.StatusOK {
			signed[a.mark]++
		}
	}
	for mark := range marks {
		if signed[mark] != 2 {
			t.Fatalf("%v: two payloads, asked twice each, got %d signatures, want 2 of one of them:\n%v", ask{mark: mark}, signed[mark], all)
		}
	}
	return all
}

// windows returns those in which the kill of dead fell. A witness is a payload
// that the card had signed before the kill, of a slot that nobody had an answer for.
// What the next life answers tells what had become of it.
func (c *campaign) windows(t *testing.T, dead, next *daemon, step, again []answer) map[string]bool {
	t.Helper()
	answered := make(map[ratchet.Mark]bool)
	for _, a := range step {
		answered[a.mark] = answered[a.mark] || a.err == nil
	}
	hit := make(map[string]bool)
	for _, a := range step {
		made := c.card.between(a.digest(), dead.started, dead.killedAt)
		if answered[a.mark] || len(made) == 0 {
			continue
		}
		if c.committed(t, a.ask, made, next, again) {
			hit[betweenCommitAndReply] = true
		} else {
			hit[betweenSignatureAndCommit] = true
		}
	}
	return hit
}

// committed reports whether the signature that nobody had got is the one that the
// next daemon has released, without another one of the card.
func (c *campaign) committed(t *testing.T, a ask, made []signature, next *daemon, again []answer) bool {
	t.Helper()
	if len(c.card.between(a.digest(), next.started, time.Now())) > 0 {
		return false
	}
	for _, b := range again {
		if b.ask != a || b.status != http.StatusOK {
			continue
		}
		for _, s := range made {
			if s.is(b.signature) {
				return true
			}
		}
		t.Fatalf("%v: released %s, which the card had not made", a, b.signature)
	}
	return false
}
