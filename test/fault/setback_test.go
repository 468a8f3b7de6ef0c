package fault_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// partMoving is what moves, copies and sets back ratchets: handovers for the most part, and each of twelve
// set-backs.
var (
	partMoving   = part{"moving", 0.4}
	partHandover = part{partMoving.name, partMoving.share * 3 / 4}
	partSetBack  = part{partMoving.name, partMoving.share / 4 / 12}
)

// drillLevels is how many levels a baker asks for after the ratchet was set back.
func drillLevels() int {
	if *campaignTime > 0 {
		return 200
	}
	return 20
}

// TestSetBackDrills sets the ratchet of a host back, with all that lies beside it, and asks on for what a baker
// asks. No slot is signed twice. Without a node three levels are missed at the most, with one it is one.
func TestSetBackDrills(t *testing.T) {
	t.Parallel()
	r := newRig(t, hostPatches...)
	drills := map[string]func(*setBack, *testing.T){
		"in place, after a clean stop":               (*setBack).inPlaceStopped,
		"in place, after a kill":                     (*setBack).inPlaceKilled,
		"in place, kept of a daemon that ran":        (*setBack).inPlaceOfRunning,
		"disk image":                                 (*setBack).diskImage,
		"disk image, inodes without birth times":     (*setBack).oldDiskImage,
		"another file with the inode of the old one": (*setBack).inodeReused,
	}
	n := 0
	for name, drill := range drills {
		for _, withNode := range []bool{false, true} {
			n++
			drilled := &setBack{rig: r, host: fmt.Sprintf("h%02d", n), node: withNode, caller: newCaller(r), level: int32(10_000 * n)}
			what := name
			if withNode {
				what += ", with a node"
			}
			t.Run(what, func(t *testing.T) {
				began := time.Now()
				for round := 0; !t.Failed() && partSetBack.goesOn(began, round, 1) && round < 20; round++ {
					drilled.host = fmt.Sprintf("%c%02d", 'h'+rune(round), len(what)%100)
					drilled.level += 1000
					drill(drilled, t)
				}
				r.judged(t)
			})
		}
	}
}

// setBack is one drill.
type setBack struct {
	*rig
	*caller
	host  string
	node  bool
	level int32 // of the chain
}

// begin makes a host with a ratchet, and has it sign some levels.
func (s *setBack) begin(t *testing.T, folder string) (*host, *daemon) {
	t.Helper()
	h := s.newHost(t, s.host, folder)
	if s.node {
		h.nodeAt(t, s.nodeOf(t))
	}
	h.found(t, s.level)
	d := h.start(t)
	s.sign(t, d, 5)
	return h, d
}

// nodeOf is a node whose head is the level of the chain.
func (s *setBack) nodeOf(t *testing.T) string {
	t.Helper()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"chain_id":%q,"level":%d,"timestamp":%q}`, chain.String(), atomic.LoadInt32(&s.level),
			time.Now().UTC().Format(time.RFC3339))
	}))
	t.Cleanup(node.Close)
	return node.URL
}

// sign has a daemon that is well sign some levels.
func (s *setBack) sign(t *testing.T, d *daemon, levels int) {
	t.Helper()
	for range levels {
		if signed := s.caller.level(atomic.AddInt32(&s.level, 1), d); signed[0] != s.slotsOfALevel() {
			t.Fatalf("level %d: %d of %d slots signed:\n%s", s.level, signed[0], s.slotsOfALevel(), d.log)
		}
	}
}

// goesOn asks for the level that was signed last, again and of other bytes, and for those that follow.
func (s *setBack) goesOn(t *testing.T, h *host) {
	t.Helper()
	d := h.start(t)
	defer d.kill()
	if said := d.log.String(); !strings.Contains(said, "rolled_back") {
		t.Errorf("the daemon does not say that it was set back:\n%s", said)
	}
	s.caller.level(s.level, d)
	first := s.level + 1
	for range drillLevels() {
		s.caller.level(atomic.AddInt32(&s.level, 1), d)
	}
	missed, most := s.missedFrom(first), 3
	if s.node {
		most = 1
	}
	if missed > most {
		t.Errorf("%d levels missed, want %d at the most; the daemon:\n%s", missed, most, d.log)
	}
	total.happened(partMoving, "set back", fmt.Sprintf("%d levels missed, with a node: %t", missed, s.node))
}

func (s *setBack) inPlaceStopped(t *testing.T) {
	t.Helper()
	h, d := s.begin(t, "")
	d.stopped(t)
	older := h.files(t)
	d = h.start(t)
	s.sign(t, d, 7)
	d.stopped(t)
	h.putBack(t, older)
	s.goesOn(t, h)
}

func (s *setBack) inPlaceKilled(t *testing.T) {
	t.Helper()
	h, d := s.begin(t, "")
	d.stopped(t)
	older := h.files(t)
	d = h.start(t)
	s.sign(t, d, 7)
	d.kill()
	h.putBack(t, older)
	s.goesOn(t, h)
}

func (s *setBack) inPlaceOfRunning(t *testing.T) {
	t.Helper()
	h, d := s.begin(t, "")
	older := h.files(t)
	s.sign(t, d, 7)
	d.kill()
	h.putBack(t, older)
	s.goesOn(t, h)
}

// diskImage sets the whole file system back, with its inodes and their birth times.
func (s *setBack) diskImage(t *testing.T) {
	t.Helper()
	s.onImage(t, newExt4(t))
}

func (s *setBack) oldDiskImage(t *testing.T) {
	t.Helper()
	s.onImage(t, newExt4(t, "-I", "128"))
}

func (s *setBack) onImage(t *testing.T, m *ext4) {
	t.Helper()
	h, d := s.begin(t, m.dir)
	d.stopped(t)
	must(t, m.unmount())
	older := read(t, m.image)
	must(t, m.mount())
	d = h.start(t)
	s.sign(t, d, 7)
	d.kill()
	must(t, m.unmount())
	must(t, os.WriteFile(m.image, older, 0o600))
	must(t, m.mount())
	s.goesOn(t, h)
}

// inodeReused removes the ratchet and puts a copy of it in its place, where the file system gives it the same
// inode and knows no birth times.
func (s *setBack) inodeReused(t *testing.T) {
	t.Helper()
	m := newExt4(t, "-I", "128")
	h, d := s.begin(t, m.dir)
	d.stopped(t)
	older := h.files(t)
	d = h.start(t)
	s.sign(t, d, 7)
	d.stopped(t)
	was := inodeOf(t, h.db())
	for name := range h.files(t) {
		must(t, os.Remove(filepath.Join(h.folder, name)))
	}
	must(t, os.WriteFile(h.db(), older["ratchet.db"], 0o600))
	if inodeOf(t, h.db()) != was {
		t.Skip("the file system gave the copy another inode")
	}
	s.goesOn(t, h)
}

// TestInPlace does to a file system what is no set-back: the keys sign at once afterwards, at any level.
func TestInPlace(t *testing.T) {
	t.Parallel()
	r := newRig(t, hostPatches...)
	m := newExt4(t)
	s := &setBack{rig: r, host: "inp", caller: newCaller(r), level: 1000}
	h, d := s.begin(t, m.dir)
	unmounted := func(program string, args ...string) func() {
		return func() {
			must(t, m.unmount())
			if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
				t.Skipf("%s: %v %s", program, err, out)
			}
			must(t, m.mount())
		}
	}
	for _, change := range []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"mounted again, on another device", unmounted("true")},
		{"checked", unmounted("e2fsck", "-f", "-p", m.image)},
		{"grown", unmounted("sh", "-c", "e2fsck -f -p "+m.image+" && truncate -s 16M "+m.image+" && resize2fs "+m.image)},
		{"another mode", func() { must(t, os.Chmod(h.folder, 0o750)) }},
		{"moved within the file system", func() {
			to := filepath.Join(m.dir, "moved")
			must(t, os.MkdirAll(to, 0o700))
			for name := range h.files(t) {
				must(t, os.Rename(filepath.Join(h.folder, name), filepath.Join(to, name)))
			}
			h.folder = to
			h.configure(t)
		}},
	} {
		for _, kill := range []bool{false, true} {
			if kill {
				d.kill()
			} else {
				d.stopped(t)
			}
			change.do()
			d = h.start(t)
			for _, why := range []string{"unwitnessed", "rolled_back", "moved"} {
				if strings.Contains(d.log.String(), `"verdict":"`+why) {
					t.Errorf("%s, killed: %t: the daemon finds it %s:\n%s", change.name, kill, why, d.log)
				}
			}
			atomic.AddInt32(&s.level, 1000)
			s.sign(t, d, 1)
		}
		total.happened(partMoving, "no set-back: "+change.name, "signed at once")
	}
	r.judged(t)
}

// TestClone starts a copy of the folder of a daemon that runs, on another host. Both are alive: the copy signs
// nothing until it is told that the first one has stopped.
func TestClone(t *testing.T) {
	t.Parallel()
	r := newRig(t, hostPatches...)
	first, second := r.newHost(t, "one", ""), r.newHost(t, "two", "")
	first.found(t, 1)
	a, c := first.start(t), newCaller(r)
	level := int32(0)
	for range 10 {
		level++
		c.level(level, a)
	}
	second.putBack(t, first.files(t))
	b := second.start(t)
	for range drillLevels() {
		level++
		if signed := c.level(level, a, b); signed[0] != c.slotsOfALevel() || signed[1] != 0 {
			t.Fatalf("level %d: the first signed %d slots, its copy %d; the copy:\n%s", level, signed[0], signed[1], b.log)
		}
	}
	b.stopped(t)
	if out, err := second.command("ratchet", "unfence", "--all", "--level", "5"); err == nil {
		t.Errorf("unfenced at a level that was signed:\n%s", out)
	}
	a.kill() // for good
	second.do(t, "ratchet", "unfence", "--all", "--level", fmt.Sprint(level+2))
	b = second.start(t)
	for range 10 {
		level++
		c.level(level, b)
	}
	if missed := c.missedFrom(1); missed != 1 {
		t.Errorf("%d levels missed, want that below the one that was named:\n%s", missed, b.log)
	}
	r.judged(t)
	total.happened(partMoving, "clone", fmt.Sprintf("signed nothing in %d levels", drillLevels()))
}

// stopped ends a daemon with SIGTERM.
func (d *daemon) stopped(t *testing.T) {
	t.Helper()
	d.client.CloseIdleConnections()
	must(t, d.cmd.Process.Signal(os.Interrupt))
	select {
	case <-d.exited:
	case <-time.After(30 * time.Second):
		t.Fatalf("pawl serve does not stop:\n%s", d.log)
	}
}

func inodeOf(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("stat", "-c", "%i", path).Output()
	must(t, err)
	return string(out)
}
