package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pawl/internal/logtest"
	"pawl/ratchet"
	"pawl/tezos"
)

// serviceUser is the one of the Dockerfile, and stranger another.
const (
	serviceUser = 65532
	stranger    = 65531
)

// rightsStand is a rig whose files have odd rights in turn. Each file that keys.json names is one of
// its own, in folders of their own, so that one right is wrong at a time.
type rightsStand struct {
	*rig
	random *rand.Rand
	level  int32
}

// TestAroundRights: whatever the rights of a file or what lies in its place, the start refuses and names
// it, or the keys sign, with a warning where somebody else might have a hand in it. Rights that change
// later stop no signature, or readiness tells.
func TestAroundRights(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	s := &rightsStand{rig: newRig(t), random: partAround.random()}
	s.spread(t)
	t.Run("at the start", s.atTheStart)
	t.Run("in place of a file", s.inPlaceOfAFile)
	t.Run("of a service", s.ofAService)
	t.Run("while it runs", s.whileItRuns)
	if _, err := s.oracle.merge(s.card); err != nil {
		t.Error(err)
	}
}

// spread moves the files of the rig into folders of their own.
func (s *rightsStand) spread(t *testing.T) {
	t.Helper()
	for from, to := range map[string]string{
		"card/client.pem": "tls/client.pem", "card/client-key.pem": "tls/client-key.pem", "card/ca.pem": "ca/ca.pem",
	} {
		must(t, os.MkdirAll(filepath.Dir(s.path(to)), 0o755))
		text, err := os.ReadFile(s.path(from))
		must(t, err)
		must(t, os.WriteFile(s.path(to), text, 0o600))
	}
	must(t, os.Mkdir(s.path("blobs"), 0o755))
	must(t, os.Mkdir(s.path("marks"), 0o755))
	for _, suffix := range []string{"", "-last"} { // a move within the file system keeps the inode
		if err := os.Rename(s.ratchet()+suffix, s.path("marks/ratchet.db"+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	var file map[string]any
	text, err := os.ReadFile(s.config())
	must(t, err)
	must(t, json.Unmarshal(text, &file))
	file["cert_path"], file["key_path"], file["cacert_path"] = "tls/client.pem", "tls/client-key.pem", "ca/ca.pem"
	file["db"] = "marks/ratchet.db"
	entry := file["keys"].(map[string]any)[s.keys[0].Hash().String()].(map[string]any)
	must(t, os.WriteFile(s.path("blobs/sk.hex"), []byte(entry["secret_key"].(string)), 0o600))
	delete(entry, "secret_key")
	entry["secret_key_file"] = "blobs/sk.hex"
	text, err = json.Marshal(file)
	must(t, err)
	must(t, os.WriteFile(s.config(), text, 0o600))
}

func (s *rightsStand) path(name string) string { return filepath.Join(s.dir, name) }

// use is what others may do to a file without a harm that forbids the start.
type use struct {
	name    string
	allowed fs.FileMode // permissions of others that are no trouble
	warned  fs.FileMode // those that are warned of
}

// uses are the files and folders that decide what is signed, or are secret.
var uses = []use{
	{"keys.json", 0o011, 0o044},
	{"tls/client.pem", 0o055, 0},
	{"ca/ca.pem", 0o055, 0},
	{"tls/client-key.pem", 0, 0},
	{"blobs/sk.hex", 0, 0o055},
	{"marks/ratchet.db", 0, 0o055},
	{"marks/ratchet.db-last", 0, 0o055},
	{"tls", 0o055, 0},
	{"ca", 0o055, 0},
	{"blobs", 0o055, 0},
	{"marks", 0o055, 0},
	{"", 0o055, 0},
	{"..", 0o055, 0o022},
}

// atTheStart gives each file modes of chance, and another owner.
func (s *rightsStand) atTheStart(t *testing.T) {
	s.bakes(t, s.attempt(t, 0))
	began := time.Now()
	for n := 0; partAround.goesOn(began, n, 2*len(uses)); n++ {
		use := uses[n%len(uses)]
		path := s.path(use.name)
		was, err := os.Stat(path)
		must(t, err)
		others := fs.FileMode(s.random.IntN(0o100))
		if n < len(uses) { // the worst that is not fatal, each once
			others = use.allowed | use.warned
		}
		must(t, os.Chmod(path, was.Mode().Perm()&0o700|others))
		what := fmt.Sprintf("%s with %03o for others", use.name, others)
		outcome := "signs"
		a := s.attempt(t, 0)
		switch fatal, warned := others&^(use.allowed|use.warned) != 0, others&use.warned != 0; {
		case fatal:
			outcome = "refused to start, naming it"
			a.refuses(t, what, path)
		case warned:
			outcome = "signs, with a warning"
			s.bakes(t, a)
			a.warns(t, what, path)
		default:
			s.bakes(t, a)
		}
		total.happened(partAround, "rights: modes of chance", outcome)
		must(t, os.Chmod(path, was.Mode()))

		must(t, os.Chown(path, stranger, -1))
		a = s.attempt(t, 0)
		if use.name == ".." {
			s.bakes(t, a)
			a.warns(t, what+" of a stranger", path)
		} else {
			a.refuses(t, what+" of a stranger", path)
		}
		total.happened(partAround, "rights: a stranger's file", "refused to start, naming it; above the folder, a warning")
		must(t, os.Chown(path, 0, -1))
	}
	s.bakes(t, s.attempt(t, 0))
}

// inPlaceOfAFile puts what is no file, or has no end, in the place of each.
func (s *rightsStand) inPlaceOfAFile(t *testing.T) {
	for _, use := range uses {
		path := s.path(use.name)
		if info, err := os.Stat(path); err != nil || info.IsDir() || strings.HasSuffix(path, "-last") {
			continue
		}
		must(t, os.Rename(path, path+".kept"))
		for name, place := range map[string]func() error{
			"a pipe":   func() error { return unix.Mkfifo(path, 0o600) },
			"a device": func() error { return os.Symlink("/dev/zero", path) },
			"a folder": func() error { return os.Mkdir(path, 0o700) },
			"nothing":  func() error { return nil },
		} {
			must(t, place())
			s.attempt(t, 0).refuses(t, name+" in place of "+use.name, path)
			total.happened(partAround, "rights: "+name+" in place of a file", "refused to start at once, naming it")
			if name != "nothing" {
				must(t, os.Remove(path))
			}
		}
		must(t, os.Rename(path+".kept", path))
	}
	s.bakes(t, s.attempt(t, 0))
}

// ofAService runs the daemon as a user of its own, with files that root lends it as systemd does.
func (s *rightsStand) ofAService(t *testing.T) {
	s.serveAs(t, serviceUser)
	defer s.serveAs(t, 0)
	lent := []string{"keys.json", "tls/client-key.pem", "blobs/sk.hex", "tls/client.pem", "ca/ca.pem"}
	lend := func(owner int, mode fs.FileMode) {
		for _, name := range lent {
			must(t, os.Chown(s.path(name), owner, serviceUser)) // the group stands for the access list
			must(t, os.Chmod(s.path(name), mode))
		}
	}
	key := s.path("tls/client-key.pem")
	lend(0, 0o440)
	a := s.attempt(t, serviceUser)
	s.bakes(t, a)
	a.warnsOfNothing(t, "lent by root")
	total.happened(partAround, "rights: files of root, lent as LoadCredential does", "signs")
	lend(0, 0o444)
	s.attempt(t, serviceUser).refuses(t, "lent to the world", key)
	lend(stranger, 0o440)
	s.attempt(t, serviceUser).refuses(t, "lent by a stranger", key)
	lend(serviceUser, 0o440)
	s.attempt(t, serviceUser).refuses(t, "lent by the service itself", key)
	a = s.attempt(t, serviceUser, "CREDENTIALS_DIRECTORY="+s.dir)
	s.bakes(t, a)
	a.warnsOfNothing(t, "in the folder of credentials")
	total.happened(partAround, "rights: secrets lent by others, or to the world", "refused to start, naming them")
	lend(serviceUser, 0o600)
}

// serveAs gives all files to the user.
func (s *rightsStand) serveAs(t *testing.T, user int) {
	t.Helper()
	must(t, filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, user, user))
	}))
	for _, open := range []string{filepath.Dir(s.dir), programs.dir} { // else nobody but root gets through
		must(t, os.Chmod(open, 0o755))
	}
}

// whileItRuns changes rights under a daemon that is a user of its own: root's would pass any.
func (s *rightsStand) whileItRuns(t *testing.T) {
	s.serveAs(t, serviceUser)
	defer s.serveAs(t, 0)
	a := s.attempt(t, serviceUser)
	began := time.Now()
	for n := 0; partAround.goesOn(began, n, 3*len(uses)); n++ {
		use := uses[n%len(uses)]
		path := s.path(use.name)
		was, err := os.Stat(path)
		must(t, err)
		mode := fs.FileMode(s.random.IntN(0o1000))
		owner := []int{0, serviceUser, stranger}[s.random.IntN(3)]
		must(t, os.Chmod(path, mode))
		must(t, os.Chown(path, owner, -1))
		outcome := "signs"
		if signed, last := s.tries(a); !signed {
			outcome = "does not sign, and readiness tells"
			if a.ready() {
				t.Errorf("%q of user %d with mode %v: %v, and readiness is true:\n%s", use.name, owner, mode, last, a.said)
			}
		}
		total.happened(partAround, "rights: changed while it runs", outcome)
		must(t, os.Chown(path, serviceUser, -1))
		must(t, os.Chmod(path, was.Mode()))
		if outcome != "signs" {
			a.d.kill()
			a = s.attempt(t, serviceUser)
		}
	}
	s.bakes(t, a)
}

// attempt is a start of the daemon: d listens, or the program has ended.
type attempt struct {
	d    *daemon
	said *logtest.Buffer
}

// attempt starts the daemon as that user. It listens or ends within seconds, whatever is wrong.
func (s *rightsStand) attempt(t *testing.T, user uint32, env ...string) *attempt {
	t.Helper()
	a := &attempt{said: new(logtest.Buffer), d: &daemon{
		started: time.Now(),
		cmd:     exec.Command(s.pawl, "serve", "--config", s.config(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
		client:  &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
		exited:  make(chan struct{}),
		log:     &tail{listening: make(chan logLine, 1)},
	}}
	a.d.cmd.Env = append(os.Environ(), env...)
	a.d.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	stderr, err := a.d.cmd.StderrPipe()
	must(t, err)
	must(t, a.d.cmd.Start())
	go func() {
		defer close(a.d.exited)
		a.d.log.read(io.TeeReader(stderr, a.said))
		_ = a.d.cmd.Wait() // killed, or refused
	}()
	t.Cleanup(a.d.kill)
	select {
	case line := <-a.d.log.listening:
		a.d.url, a.d.admin = "http://"+line.Address, "http://"+line.Admin
	case <-a.d.exited:
	case <-time.After(time.Minute):
		t.Fatalf("pawl serve neither listens nor ends:\n%s", a.said)
	}
	return a
}

func (a *attempt) listens() bool { return a.d.url != "" }

// refuses wants that the start was refused, with the name of the file in the errors.
func (a *attempt) refuses(t *testing.T, what, path string) {
	t.Helper()
	if a.listens() {
		a.d.kill()
		t.Errorf("%s: pawl serve starts, want a refusal that names %s:\n%s", what, path, a.said)
		return
	}
	named := false
	for line := range strings.Lines(a.said.String()) {
		named = named || strings.HasPrefix(line, "pawl: error: ") && strings.Contains(line, path)
	}
	if code := a.d.cmd.ProcessState.ExitCode(); code != 1 || !named || strings.Contains(a.said.String(), "goroutine ") {
		t.Errorf("%s: exit code %d, want 1 and an error that names %s:\n%s", what, code, path, a.said)
	}
}

// warns wants a warning that names the file.
func (a *attempt) warns(t *testing.T, what, path string) {
	t.Helper()
	for line := range strings.Lines(a.said.String()) {
		if strings.Contains(line, `"severity":"WARN"`) && strings.Contains(line, path) {
			return
		}
	}
	t.Errorf("%s: no warning names %s:\n%s", what, path, a.said)
}

// warnsOfNothing wants no warning of the configuration.
func (a *attempt) warnsOfNothing(t *testing.T, what string) {
	t.Helper()
	if strings.Contains(a.said.String(), `"msg":"configuration"`) {
		t.Errorf("%s: warnings:\n%s", what, a.said)
	}
}

// bakes wants a signature of each key, and stops the daemon cleanly.
func (s *rightsStand) bakes(t *testing.T, a *attempt) {
	t.Helper()
	if !a.listens() {
		t.Fatalf("pawl serve did not start:\n%s", a.said)
	}
	for range s.keys {
		if signed, last := s.tries(a); !signed {
			t.Errorf("%v:\n%s", last, a.said)
		}
	}
	must(t, a.d.cmd.Process.Signal(syscall.SIGTERM))
	<-a.d.exited
	if code := a.d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d after SIGTERM:\n%s", code, a.said)
	}
}

// tries asks for a new slot; keys and kinds take turns.
func (s *rightsStand) tries(a *attempt) (signed bool, last answer) {
	s.level++
	n := int(s.level)
	mark := ratchet.Mark{
		Key: s.keys[n%len(s.keys)].Hash(), ChainID: chain, Kind: []tezos.Kind{tezos.Block, tezos.Attestation}[n/len(s.keys)%2], Level: s.level,
	}
	last = s.post(a.d, ask{mark, 0})
	return last.status == http.StatusOK, last
}

// ready reports whether the daemon runs and says of itself that each key can sign. A probe that has
// failed may take a moment to be told.
func (a *attempt) ready() bool {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		res, err := a.d.client.Get(a.d.admin + "/readyz")
		if err != nil {
			return false // it has ended
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return false
		}
	}
	return true
}
