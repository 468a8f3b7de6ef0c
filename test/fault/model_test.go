package fault_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pawl/test/fault/model"
)

// startRatchet is the process of model.Start: this program, for TestRatchetChild. What
// it leaves behind when it is killed lies in dir.
func startRatchet(dir, lie string) model.Start {
	return func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRatchetChild$")
		cmd.Env = append(os.Environ(), childVariable+"="+lie, "TMPDIR="+dir)
		cmd.Stderr = os.Stderr
		return cmd
	}
}

// longCampaign is one in which every transition of the model is to be seen.
const longCampaign = 10 * time.Minute

// TestModel walks at random through all that a ratchet can meet, beside a model of it.
// It goes on until it saw what it must.
func TestModel(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"nofailfile": "true", "checks": "5", "steps": "60"} {
		setRapid(t, name, value)
	}
	t.Run("lies are seen", seesLies)
	walks, want, began := model.NewTally(), model.Basic, time.Now()
	if *campaignTime >= longCampaign {
		want = model.Expected
	}
	random, seeded, extra := partModel.random(), seedGiven(t), 0
	for n := 0; !t.Failed() && (partModel.goesOn(began, n, 1) || extra < 20 && len(walks.Missing(want)) > 0); n++ {
		if !partModel.goesOn(began, n, 1) {
			extra++
		}
		if !seeded {
			setRapid(t, "seed", strconv.FormatUint(random.Uint64()|1, 10)) // 0 would be the clock's
		}
		t.Run(fmt.Sprintf("walks %d", n), rapid.MakeCheck(func(rt *rapid.T) { walk(rt, t.TempDir(), walks) }))
	}
	reportWalks(t, walks)
	if missing := walks.Missing(want); len(missing) > 0 {
		t.Errorf("never happened: %q", missing)
	}
}

// walk makes one, and takes its files away: there are many walks in a campaign.
func walk(rt *rapid.T, dir string, walks *model.Tally) {
	defer func() { _ = os.RemoveAll(dir) }()
	o := model.Options{Start: startRatchet(dir, honest), Dir: dir, Tally: walks, Fatal: func(err error) { rt.Fatal(err) }}
	if *campaignTime > 0 && rapid.IntRange(0, 15).Draw(rt, "hangs") == 11 {
		o.Hangs = 1
	}
	_ = model.Walk(rt, o) // an error is Fatal's
}

// seesLies: a process that does what no ratchet may is told from one, each time.
func seesLies(t *testing.T) {
	for _, lie := range lies {
		var noticed error
		for n := 0; n < 20 && noticed == nil; n++ {
			rapid.Check(t, func(rt *rapid.T) {
				if dir := t.TempDir(); noticed == nil {
					noticed = model.Walk(rt, model.Options{Start: startRatchet(dir, lie), Dir: dir, Tally: model.NewTally()})
				}
			})
		}
		if noticed == nil {
			t.Errorf("%s: not noticed", lie)
		}
	}
}

// TestModelHang has the HSM hang for one of two payloads of a slot. Its callers get an
// error after five seconds, and the other one its signature.
func TestModelHang(t *testing.T) {
	t.Parallel()
	walks, dir := model.NewTally(), t.TempDir()
	if err := model.Hang(model.Options{Start: startRatchet(dir, honest), Dir: dir, Hangs: 1, Tally: walks}); err != nil {
		t.Fatal(err)
	}
	reportWalks(t, walks)
}

// reportWalks adds what walks did to that of the campaign.
func reportWalks(t *testing.T, walks *model.Tally) {
	t.Helper()
	for transition, times := range walks.Transitions {
		total.happenedTimes(partModel, transition.State+": "+transition.Command, transition.Outcome, times)
	}
	total.add(func(sum *tally) {
		sum.requests += walks.Requests
		sum.kills += walks.Kills
		sum.neverReleased += walks.NeverReleased
	})
	t.Logf("requests=%d kills=%d processes=%d never_released=%d\n%s", walks.Requests, walks.Kills, walks.Processes, walks.NeverReleased, walks)
}

// setRapid sets a flag of rapid's, which has no other way.
func setRapid(t *testing.T, name, value string) {
	t.Helper()
	if err := flag.Set("rapid."+name, value); err != nil {
		t.Fatal(err)
	}
}

// seedGiven reports whether somebody wants a walk again.
func seedGiven(t *testing.T) bool {
	t.Helper()
	f := flag.Lookup("rapid.seed")
	if f == nil {
		t.Fatal(errors.New("rapid has no flag for its seed"))
	}
	return f.Value.String() != "0"
}
