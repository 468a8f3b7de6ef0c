package fault_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pawl/ratchet"
	"pawl/server"
	"pawl/tezos"
)

// TestDisk breaks what the ratchet stands on, under the real daemon. Whatever happens to
// the disk and its files, no slot gets a second signature, what was released is there at
// the next start that pawl allows, and each start that it refuses says why in one line.
func TestDisk(t *testing.T) {
	t.Parallel()
	pawl, shim, random := build(t), newIOShim(t), partDisk.random()
	s := newDiskStand(t, pawl, t.TempDir(), shim, random)
	began := time.Now()
	for done := 0; partDisk.goesOn(began, done, 1); done++ {
		t.Run("errors", s.errors)
		t.Run("opening and closing", s.openingAndClosing)
		t.Run("stopped", s.damagedWhileStopped)
		t.Run("running", s.damagedWhileRunning)
		t.Run("of two times", s.ofTwoTimes)
		t.Run("owners", s.owners)
		t.Run("tmpfs", func(t *testing.T) { onTmpfs(t, pawl, shim, random) })
		t.Run("ext4", func(t *testing.T) { onExt4(t, pawl, shim, random) })
		if t.Failed() {
			t.Fatalf("in round %d, seed %d", done+1, *campaignSeed)
		}
	}
	s.count(t)
	t.Logf("%d disk faults, %d signatures released, %d slots, %v", s.faults, s.oracle.releases, len(s.oracle.slots), time.Since(began).Round(time.Millisecond))
}

// diskStand is a rig whose daemons may die and may refuse to start, and the marks that
// they have to answer for.
type diskStand struct {
	*rig
	shim   *ioShim
	random *rand.Rand
	level  int32
	last   map[ratchet.Mark]answer // the highest release of each key and kind, by its mark at level 0
	open   map[tezos.Digest]bool   // what was asked for and neither signed nor refused
	faults int
	away   int             // files put away
	more   []tezos.ChainID // that keys are registered for, beside chains
}

func newDiskStand(t *testing.T, pawl, dir string, shim *ioShim, random *rand.Rand) *diskStand {
	t.Helper()
	s := &diskStand{
		rig:  &rig{dir: dir, pawl: pawl, card: newCardLog()},
		shim: shim, random: random, level: 1000, last: make(map[ratchet.Mark]answer), open: make(map[tezos.Digest]bool),
	}
	s.configure(t, s.startCard(t).Config())
	s.oracle = newOracle(s.keys)
	return s
}

// diskDaemon is a daemon with all that it said.
type diskDaemon struct {
	*daemon
	said *transcript
}

// transcript keeps what a process wrote.
type transcript struct {
	mu   sync.Mutex
	text []byte
}

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	return len(p), nil
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}

// launch starts the program, and waits until it serves or has ended.
func (s *diskStand) launch(t *testing.T, config string) (d *diskDaemon, serves bool) {
	t.Helper()
	d = &diskDaemon{said: new(transcript), daemon: &daemon{
		started: time.Now(),
		cmd:     exec.Command(s.pawl, "serve", "--config", config, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
		client:  &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
		exited:  make(chan struct{}),
		log:     &tail{listening: make(chan logLine, 1)},
	}}
	d.cmd.Env = s.shim.environment()
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.exited)
		d.log.read(io.TeeReader(stderr, d.said))
		_ = d.cmd.Wait() // its exit code is looked at
	}()
	t.Cleanup(d.kill)
	select {
	case line := <-d.log.listening:
		d.url, d.admin = "http://"+line.Address, "http://"+line.Admin
		return d, true
	case <-d.exited:
		return d, false
	case <-time.After(time.Minute):
		t.Fatalf("pawl serve neither serves nor ends:\n%s", d.said)
	}
	return nil, false
}

// serve starts the program, which must serve.
func (s *diskStand) serve(t *testing.T) *diskDaemon {
	t.Helper()
	d, serves := s.launch(t, s.config())
	if !serves {
		t.Fatalf("pawl serve ended before it listened, seed %d:\n%s", *campaignSeed, d.said)
	}
	return d
}

// refuses starts the program, which must refuse to serve, and say so in one line that
// has want in it.
func (s *diskStand) refuses(t *testing.T, config string, want string) {
	t.Helper()
	d, serves := s.launch(t, config)
	if serves {
		d.kill()
		t.Errorf("pawl serve starts, want a refusal with %q", want)
		return
	}
	d.saysWhy(t, want)
}

// refusesOrFences starts the program, which must refuse to serve as refuses says, or serve and say that marks
// may be missing, with want: then no slot that was signed before is signed again.
func (s *diskStand) refusesOrFences(t *testing.T, config, want string) (fenced bool) {
	t.Helper()
	d, serves := s.launch(t, config)
	if !serves {
		d.saysWhy(t, want)
		return false
	}
	if said := d.said.String(); !strings.Contains(said, "marks are missing") && !strings.Contains(said, "was moved or copied") ||
		!strings.Contains(said, want) {
		t.Errorf("pawl serve starts, want a refusal or a fence, with %q:\n%s", want, said)
	}
	s.rivalsRefused(t, d)
	d.kill()
	return true
}

// rivalsRefused asks for each slot that was signed, with other bytes.
func (s *diskStand) rivalsRefused(t *testing.T, d *diskDaemon) {
	t.Helper()
	var asks []ask
	for _, a := range s.last {
		asks = append(asks, ask{a.mark, 1 - a.variant})
	}
	s.patiently(t, d, asks, http.StatusConflict)
}

// maxMissed is how many levels a fence may cost that a request sets.
const maxMissed = 3

// passesFence asks on until all keys sign again.
func (s *diskStand) passesFence(t *testing.T, d *diskDaemon) {
	t.Helper()
	for range maxMissed {
		s.patiently(t, d, s.asks(), http.StatusOK, http.StatusConflict)
		s.patiently(t, d, s.asksMore(), http.StatusOK, http.StatusConflict)
	}
	s.signs(t, d)
	s.signsMore(t, d)
}

// saysWhy checks the exit code of a program that ended by itself and its one line.
func (d *diskDaemon) saysWhy(t *testing.T, want string) {
	t.Helper()
	said := d.said.String()
	_, line, _ := strings.Cut("\n"+said, "\npawl: error: ")
	line, _, _ = strings.Cut(line, "\n")
	if code := d.cmd.ProcessState.ExitCode(); code != 1 || strings.Count(said, "pawl: error: ") != 1 || strings.Contains(said, "goroutine ") || !strings.Contains(line, want) {
		t.Errorf("exit code %d, want 1 and one line with %q:\n%s", code, want, said)
	}
}

// ends waits until the program has ended by itself.
func (d *diskDaemon) ends(t *testing.T, want string) {
	t.Helper()
	select {
	case <-d.exited:
		d.saysWhy(t, want)
	case <-time.After(30 * time.Second):
		t.Fatalf("pawl serve goes on, want it to end with %q:\n%s", want, d.log)
	}
}

// stop ends the program with SIGTERM, and returns its exit code.
func (d *diskDaemon) stop(t *testing.T) int {
	t.Helper()
	d.client.CloseIdleConnections()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.exited:
	case <-time.After(30 * time.Second):
		t.Fatalf("pawl serve does not stop:\n%s", d.log)
	}
	return d.cmd.ProcessState.ExitCode()
}

// asks is one slot of each key, kind and chain that it may sign on, at the next level.
func (s *diskStand) asks() (asks []ask) {
	s.level++
	for _, key := range s.keys {
		for _, kind := range kinds {
			for _, c := range chainsOf(key) {
				mark := ratchet.Mark{Key: key.Hash(), ChainID: c, Kind: kind, Level: s.level, Round: s.random.Int32N(3)}
				asks = append(asks, ask{mark, s.random.IntN(2)})
			}
		}
	}
	return asks
}

// ask has all asks answered at once, and notes what was released.
func (s *diskStand) ask(d *diskDaemon, asks []ask) []answer {
	answers := s.postAll(d.daemon, asks, nil)
	for _, a := range answers {
		switch a.status {
		case http.StatusOK:
			s.last[place(a.mark)] = a
		case http.StatusConflict:
		default:
			s.open[a.digest()] = true
		}
	}
	return answers
}

// place is the mark of a slot without its level and round.
func place(m ratchet.Mark) ratchet.Mark {
	m.Level, m.Round = 0, 0
	return m
}

// signs has the next level signed by a daemon that is well. A machine short of time may
// make it say 500 or 503, which burns nothing.
func (s *diskStand) signs(t *testing.T, d *diskDaemon) []answer {
	t.Helper()
	return s.patiently(t, d, s.asks(), http.StatusOK)
}

// patiently asks until all have one of the statuses.
func (s *diskStand) patiently(t *testing.T, d *diskDaemon, asks []ask, statuses ...int) []answer {
	t.Helper()
	wanted := make(map[int]bool)
	for _, status := range statuses {
		wanted[status] = true
	}
	answers := s.ask(d, asks)
	for i := range answers {
		for tries := 0; tries < 10 && answers[i].status >= http.StatusInternalServerError; tries++ {
			answers[i] = s.ask(d, asks[i:i+1])[0]
		}
		if a := answers[i]; a.err != nil || !wanted[a.status] {
			t.Fatalf("%v, want %v, seed %d; the daemon:\n%s", a, statuses, *campaignSeed, d.log)
		}
	}
	return answers
}

// answersFor has a daemon asked for all that a former one released, with other bytes,
// and for the slots of its last step with the same and with other bytes, in any order
// and twice: one payload of each slot is signed, always with the same bytes, and it is
// the one that was released.
func (s *diskStand) answersFor(t *testing.T, d *diskDaemon, step []answer) {
	t.Helper()
	if changed := s.changed(t, d); len(changed) > 0 {
		t.Fatalf("seed %d, marks were lost: %v", *campaignSeed, changed)
	}
	var asks []ask
	for _, a := range s.last {
		asks = append(asks, ask{a.mark, 1 - a.variant})
	}
	s.patiently(t, d, asks, http.StatusConflict)
	s.refusesForbidden(t, d.daemon, s.level)
	first, signed := s.random.IntN(2), make(map[ratchet.Mark][]answer)
	for i := range 4 {
		asks = nil
		for _, a := range step {
			asks = append(asks, ask{a.mark, (i + first) % 2})
		}
		for _, a := range s.patiently(t, d, asks, http.StatusOK, http.StatusConflict) {
			if a.status == http.StatusOK {
				signed[a.mark] = append(signed[a.mark], a)
			}
		}
	}
	for _, a := range step {
		got := signed[a.mark]
		if len(got) != 2 || got[0] != got[1] || a.status == http.StatusOK && got[0] != a {
			t.Fatalf("%v: two payloads, asked twice each, got %v, want 2 signatures of one of them, that of the first answer", a, got)
		}
	}
	s.judge(t)
}

// judge asks the oracle.
func (s *diskStand) judge(t *testing.T) {
	t.Helper()
	if err := s.oracle.verdict(); err != nil {
		t.Fatalf("seed %d: %v", *campaignSeed, err)
	}
}

// count compares with the card's log, and counts what the card made for nobody.
func (s *diskStand) count(t *testing.T) {
	t.Helper()
	if _, err := s.oracle.merge(s.card); err != nil {
		t.Errorf("seed %d: %v", *campaignSeed, err)
	}
}

// counts says what came of a fault.
func (s *diskStand) counts(fault, outcome string) {
	s.faults++
	total.add(func(all *tally) { all.diskFaults++ })
	total.happened(partDisk, fault, outcome)
}

// entries reads what the daemon says that it has, by place.
func (d *diskDaemon) entries(t *testing.T) map[ratchet.Mark]ratchet.StoredMark {
	t.Helper()
	res, err := d.client.Get(d.admin + "/ratchet")
	if err != nil {
		t.Fatalf("%v:\n%s", err, d.log)
	}
	defer func() { _ = res.Body.Close() }()
	var told server.Ratchet
	if err := json.NewDecoder(res.Body).Decode(&told); err != nil {
		t.Fatalf("/ratchet: %d %v", res.StatusCode, err)
	}
	entries := make(map[ratchet.Mark]ratchet.StoredMark)
	for _, m := range told.Marks {
		entry, err := m.Stored()
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		entries[place(entry.Mark)] = entry
	}
	return entries
}

// changed lists the releases that a daemon does not have as they were: nothing but what
// a former one may have stored and not released may stand above them.
func (s *diskStand) changed(t *testing.T, d *diskDaemon) (lost []string) {
	t.Helper()
	entries := d.entries(t)
	for at, a := range s.last {
		m := entries[at]
		same := m.Mark == a.mark && m.Digest == a.digest() && m.Signature != nil
		if !same && (m.Level <= a.mark.Level || !s.open[m.Digest]) {
			lost = append(lost, fmt.Sprintf("%v is now (%d,%d) with %v", a, m.Level, m.Round, m.Digest))
		}
	}
	return lost
}

// readiness is the status of a path of the admin listener, 0 when nobody answers.
func (d *diskDaemon) readiness(path string) int {
	res, err := d.client.Get(d.admin + path)
	if err != nil {
		return 0
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// becomes waits until /readyz has a status. Watchers look every second.
func (d *diskDaemon) becomes(t *testing.T, status int) {
	t.Helper()
	got := 0
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got = d.readiness("/readyz"); got == status {
			return
		}
	}
	t.Fatalf("/readyz stays %d, want %d:\n%s", got, status, d.log)
}

func (s *diskStand) run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(s.pawl, args...).CombinedOutput(); err != nil {
		t.Fatalf("pawl %v: %v\n%s", args, err, out)
	}
}
