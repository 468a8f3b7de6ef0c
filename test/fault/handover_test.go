package fault_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHandover hands the keys from one host to the other and back, at random moments, while a baker asks both at
// each level. Daemons and commands are killed on either side. No slot is signed twice, and a handover costs one
// level at the most.
func TestHandover(t *testing.T) {
	t.Parallel()
	r := newRig(t, hostPatches...)
	m := &moving{rig: r, caller: newCaller(r), hosts: [2]*host{r.newHost(t, "one", ""), r.newHost(t, "two", "")}}
	m.hosts[0].found(t, 1)
	m.hosts[1].do(t, "ratchet", "init")
	m.daemons[0] = m.hosts[0].start(t)
	m.levels(3)
	began, n, worst := time.Now(), 0, 0
	for ; !t.Failed() && partHandover.goesOn(began, n, 4); n++ {
		from := m.level
		m.handOver(t, n)
		if missed := m.missedFrom(from); missed > 1 {
			t.Errorf("handover %d at level %d: %d levels missed", n, m.at, missed)
		}
		worst = max(worst, m.missedFrom(from))
	}
	r.judged(t)
	total.add(func(all *tally) { all.handovers += n })
	total.happened(partMoving, "handover between two hosts", fmt.Sprintf("%d levels missed at the most", worst))
	t.Logf("handovers=%d levels=%d missed=%d", n, m.level, m.missedFrom(0))
}

// moving is two hosts, of which one signs below a level and the other from it on.
type moving struct {
	*rig
	*caller
	hosts   [2]*host
	daemons [2]*daemon // nil while it does not run
	level   int32
	at      int32 // of the last handover
}

// levels has both asked at some levels.
func (m *moving) levels(n int) {
	for range n {
		m.level++
		m.caller.level(m.level, m.daemons[0], m.daemons[1])
	}
}

// handOver hands over from the host that signs to the other, at a level to come.
func (m *moving) handOver(t *testing.T, n int) {
	t.Helper()
	random := partMoving.random()
	for range n {
		random.Uint64()
	}
	from, to := n%2, 1-n%2
	ahead := 1 + random.IntN(4)
	m.at = m.level + int32(ahead)
	file := filepath.Join(m.dir, fmt.Sprintf("handover-%d.json", n))
	level := fmt.Sprint(m.at)
	if random.IntN(2) == 0 {
		level = fmt.Sprintf("+%d", ahead)
	}
	m.ends(t, from, random.IntN(2) == 0)
	m.sure(t, m.hosts[from], file, random.IntN(3) == 0, "ratchet", "handover", "--to", file, "--at", level)
	m.daemons[from] = m.hosts[from].start(t)
	m.levels(random.IntN(ahead)) // below the level the former one signs on
	if m.daemons[to] != nil {
		m.ends(t, to, random.IntN(2) == 0)
	}
	m.sure(t, m.hosts[to], "", random.IntN(3) == 0, "ratchet", "import", file)
	m.daemons[to] = m.hosts[to].start(t)
	m.levels(ahead + 2)
	for _, h := range m.hosts { // by mistake, once more: where it was taken and where it was given
		if out, err := h.command("ratchet", "import", file, "--dry-run"); err == nil && h == m.hosts[from] {
			t.Errorf("what host %s gave can be taken there:\n%s", h.name, out)
		}
	}
	must(t, os.Remove(file))
}

// ends kills or stops a daemon.
func (m *moving) ends(t *testing.T, host int, kill bool) {
	t.Helper()
	if kill {
		m.daemons[host].kill()
	} else {
		m.daemons[host].stopped(t)
	}
	m.daemons[host] = nil
}

// sure runs a command until it was carried out. With kill it is killed at some moment, and run again; it may
// have made the file, or have changed the ratchet, by then.
func (m *moving) sure(t *testing.T, h *host, file string, kill bool, args ...string) {
	t.Helper()
	if kill {
		cmd := exec.Command(h.pawl, append(args, "--config", h.keysJSON())...)
		cmd.Env = append(os.Environ(), h.environment()...)
		must(t, cmd.Start())
		time.Sleep(time.Duration(m.level%40) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		total.add(func(all *tally) { all.kills++ })
	}
	for range 3 {
		if _, err := os.Lstat(file); file != "" && err == nil {
			return
		}
		out, err := h.command(args...)
		if err == nil {
			return
		}
		_, again, found := strings.Cut(out, "handed over from level ")
		if !found { // at +N, of which the level is told
			t.Fatalf("host %s: pawl %s: %v\n%s", h.name, strings.Join(args, " "), err, out)
		}
		var at int32
		_, err = fmt.Sscan(again, &at)
		must(t, err)
		args[len(args)-1] = fmt.Sprint(at)
	}
	t.Fatalf("host %s: pawl %s is never carried out", h.name, strings.Join(args, " "))
}
