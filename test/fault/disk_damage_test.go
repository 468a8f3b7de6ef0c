package fault_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// damagedWhileStopped befalls the files between two daemons. A start that is refused
// writes nothing.
func (s *diskStand) damagedWhileStopped(t *testing.T) {
	s.keepOlder(t)
	d := s.serve(t)
	for i, damage := range slices.Concat(ofAKilled, ofAStopped) {
		step := s.signs(t, d)
		d.end(t, i >= len(ofAKilled))
		mend := damage.befall(t, s)
		left := s.contents(t)
		if s.refusesOrFences(t, s.config(), damage.want) {
			d = s.goesOnFenced(t, damage.name)
			continue
		}
		if now := s.contents(t); !slices.Equal(now, left) {
			t.Errorf("%s: the refused start changed files: %d bytes, were %d", damage.name, lengths(now), lengths(left))
		}
		d = s.goesOn(t, damage.name, "refused to start", mend, step)
	}
	for _, change := range rot {
		for range repetitions() {
			d = s.rots(t, d, change)
		}
	}
}

// damagedWhileRunning befalls the files of a daemon that runs: it releases nothing more
// and ends.
func (s *diskStand) damagedWhileRunning(t *testing.T) {
	s.keepOlder(t)
	d := s.serve(t)
	for _, damage := range ofARunning {
		s.signs(t, d)
		mend := damage.befall(t, s)
		step := s.ask(d, s.asks())
		for _, a := range step {
			if a.err == nil && a.status < http.StatusInternalServerError {
				t.Errorf("%s: %v, want nothing released", damage.name, a)
			}
		}
		d.ends(t, damage.want)
		d = s.goesOn(t, damage.name, "released nothing more and ended with an error", mend, step)
	}
	for _, change := range rot {
		for range repetitions() {
			d = s.rotsRunning(t, d, change)
		}
	}
}

// repetitions is how often what falls at random is done in one round.
func repetitions() int {
	if *campaignTime > 0 {
		return 5
	}
	return 1
}

// goesOn takes the damage back, or else the way out, and returns the next daemon, which
// has answered for what was released.
func (s *diskStand) goesOn(t *testing.T, name, outcome string, mend func(), step []answer) *diskDaemon {
	t.Helper()
	if mend == nil {
		s.wayOut(t)
		s.counts(name, outcome+"; a new ratchet went on above all levels before")
		d := s.serve(t)
		s.signs(t, d)
		return d
	}
	mend()
	d := s.serve(t)
	s.answersFor(t, d, step)
	s.counts(name, outcome+"; put back, the next start served what was released")
	return d
}

// goesOnFenced has the keys that a start has fenced sign again, above all levels before.
func (s *diskStand) goesOnFenced(t *testing.T, name string) *diskDaemon {
	t.Helper()
	d := s.serve(t)
	s.rivalsRefused(t, d)
	if moved := d.readiness("/readyz") != http.StatusOK && strings.Contains(string(s.readyz(t, d)), "unfence"); moved {
		d.end(t, true)
		for _, c := range chains {
			s.run(t, "ratchet", "unfence", "--all", "--chain", c.String(), "--level", strconv.Itoa(int(s.level)+1), "--config", s.config())
		}
		d = s.serve(t)
		s.signs(t, d)
		s.counts(name, "started fenced, and signed nothing before it was unfenced")
		return d
	}
	s.passesFence(t, d)
	s.counts(name, "started fenced, signed nothing of before, and then the next levels")
	return d
}

// readyz is what /readyz says.
func (s *diskStand) readyz(t *testing.T, d *diskDaemon) []byte {
	t.Helper()
	res, err := d.client.Get(d.admin + "/readyz")
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return text
}

// contents is what lies at the paths of the ratchet.
func (s *diskStand) contents(t *testing.T) (all []string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-journal", "-opening", "-shm"} {
		content, err := os.ReadFile(s.ratchet() + suffix)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(err == nil)+string(content))
	}
	return all
}

func lengths(contents []string) (n []int) {
	for _, c := range contents {
		n = append(n, len(c))
	}
	return n
}

// rotting changes the content of one file of the ratchet.
type rotting struct {
	name, suffix string
	change       func(s *diskStand, content []byte) []byte
}

var rot = []rotting{
	{"database truncated", "", truncated},
	{"-wal truncated", "-wal", truncated},
	{"bits of the database flipped", "", flipped},
	{"bits of the -wal flipped", "-wal", flipped},
}

func truncated(s *diskStand, content []byte) []byte { return content[:s.random.IntN(len(content))] }

func flipped(s *diskStand, content []byte) []byte {
	content = slices.Clone(content)
	for range 1 << s.random.IntN(10) {
		content[s.random.IntN(len(content))] ^= 1 << s.random.IntN(8)
	}
	return content
}

// spoil changes what a rotting changes and no other byte: a daemon may be writing.
func (s *diskStand) spoil(t *testing.T, r rotting) {
	t.Helper()
	file, err := os.OpenFile(s.ratchet()+r.suffix, os.O_RDWR, 0)
	must(t, err)
	was := read(t, file.Name())
	is := r.change(s, was)
	for i := range is {
		if is[i] != was[i] {
			_, err = file.WriteAt(is[i:i+1], int64(i))
			must(t, err)
		}
	}
	if len(is) < len(was) {
		must(t, file.Truncate(int64(len(is))))
	}
	must(t, file.Close())
}

// rots changes a file of a killed daemon, and returns the next one.
func (s *diskStand) rots(t *testing.T, d *diskDaemon, r rotting) *diskDaemon {
	t.Helper()
	step := s.signs(t, d)
	d.kill()
	database, wal := read(t, s.ratchet()), read(t, s.ratchet()+"-wal")
	s.spoil(t, r)
	return s.startsRotten(t, r.name, step, func() {
		overwrite(t, s.ratchet(), database)
		overwrite(t, s.ratchet()+"-wal", wal)
	})
}

// rotsRunning changes a file of a daemon that runs, and goes on to sign and may rest. Only
// then is it killed, unless it has ended by itself.
func (s *diskStand) rotsRunning(t *testing.T, d *diskDaemon, r rotting) *diskDaemon {
	t.Helper()
	step := s.signs(t, d)
	s.spoil(t, r)
	for range s.random.IntN(4) {
		step = s.ask(d, s.asks())
	}
	if s.random.IntN(2) == 0 {
		d.rests(t, s.ratchet()+"-wal")
	}
	select {
	case <-d.exited:
		d.saysWhy(t, "ratchet")
	default:
		d.kill()
	}
	return s.startsRotten(t, r.name+" while it runs", step, nil)
}

// rests waits for a write to the -wal that nobody asked for, or a second.
func (d *diskDaemon) rests(t *testing.T, wal string) {
	t.Helper()
	before := modified(wal)
	for end := time.Now().Add(time.Second); time.Now().Before(end) && modified(wal).Equal(before); {
		time.Sleep(10 * time.Millisecond)
	}
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// startsRotten judges the start on a file whose content was changed: it is refused, or its
// keys are fenced, or every mark and every registration is as it was.
func (s *diskStand) startsRotten(t *testing.T, name string, step []answer, mend func()) *diskDaemon {
	t.Helper()
	s.judge(t)
	d, serves := s.launch(t, s.config())
	if !serves {
		d.saysWhy(t, s.dir)
		if _, err := os.Lstat(s.ratchet() + "-wal"); os.IsNotExist(err) {
			mend = nil // closed cleanly, as for a registration that is gone: there is no file to write into
		}
		return s.goesOn(t, name, "refused to start", mend, step)
	}
	if strings.Contains(d.said.String(), "marks are missing") {
		s.rivalsRefused(t, d)
		s.passesFence(t, d)
		s.counts(name, "served fenced: nothing of before was signed again, and the next levels were")
		return d
	}
	if changed := s.changed(t, d); len(changed) > 0 {
		t.Fatalf("%s, seed %d: serves, though %d marks of %d are others: %v", name, *campaignSeed, len(changed), len(s.last), changed)
	}
	s.answersFor(t, d, step)
	if refused := s.unregistered(d); refused != nil {
		t.Fatalf("%s, seed %d: serves, though %v", name, *campaignSeed, refused)
	}
	s.counts(name, "served, every mark as it was released")
	return d
}

// unregistered asks for the next marks and finds an answer that says that a key is not
// registered, or from a higher level on. It is safe, but not what was there.
func (s *diskStand) unregistered(d *diskDaemon) *answer {
	for _, a := range s.ask(d, s.asks()) {
		if a.status == http.StatusConflict && strings.Contains(a.text, "regist") {
			return &a
		}
	}
	return nil
}
