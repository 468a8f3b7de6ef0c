//go:build amd64

package fault_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
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

	"pawl/ratchet"
	"pawl/tezos"
)

// cutScene is a ratchet in a folder of its own, the programs that work with it one
// after the other, and the recorder that looks on.
type cutScene struct {
	*rig
	recorder *recorder
	wrong    string // what a program with wrong lines shall do wrongly
	home     string // of keys.json and the keys' files
	config   string
	keys     []tezos.PublicKeyHash
	given    map[string]ask // every signature that was answered
	random   *rand.Rand
	level    int32
	chains   byte // in use
}

// newScene has nothing yet: the ratchet and the keys are for the recorder to see.
func newScene(t *testing.T, r *rig, random *rand.Rand) *cutScene {
	t.Helper()
	home := t.TempDir()
	s := &cutScene{
		rig: r, home: home, config: filepath.Join(home, "keys.json"), given: make(map[string]ask),
		random: random, level: 1000, chains: 1,
	}
	folder := filepath.Join(home, "ledger")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.recorder, err = newRecorder(folder); err != nil {
		t.Fatal(err)
	}
	s.writeConfig(t)
	return s
}

// writeConfig writes the rig's keys.json without its keys and with another ratchet.
func (s *cutScene) writeConfig(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(s.rig.config())
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"cert_path", "key_path", "cacert_path"} {
		config[file] = filepath.Join(s.dir, config[file].(string))
	}
	config["db"], config["keys"] = s.path(), map[string]any{}
	delete(config, "witness") // commands without a keys.json have the same one then
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *cutScene) path() string { return filepath.Join(s.recorder.folder, ratchetName) }

// found: the ratchet and three keys, and another one that is registered by hand: that would confine one
// of the three to its chain.
func (s *cutScene) found(t *testing.T) {
	t.Helper()
	s.command(t, "ratchet", "init", s.path())
	s.recorder.note(diskStep{kind: stepMade})
	for _, kind := range []string{"tz1", "tz2", "tz3"} {
		s.makeKey(t, kind)
	}
	s.command(t, "ratchet", "register", other, "--chain", s.chain(0).String(), "--from-level", "7", "--db", s.path())
}

// other is a key that signs nothing.
const other = "tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z"

// retire has commands change the ratchet between two lives.
func (s *cutScene) retire(t *testing.T) {
	t.Helper()
	s.command(t, "ratchet", "raise", other, "--chain", s.chain(0).String(), "--level", "9", "--db", s.path())
	s.command(t, "ratchet", "retire", other, "--reason", "sold", "--db", s.path())
	key, err := tezos.ParsePublicKeyHash(other)
	must(t, err)
	s.recorder.note(diskStep{kind: stepRetired, key: key})
}

func (s *cutScene) makeKey(t *testing.T, kind string) {
	t.Helper()
	lines := strings.Split(s.command(t, "createtezoskey", kind, "--add", "--config", s.config, "--dir", s.home), "\n")
	if len(lines) < 4 {
		t.Fatalf("createtezoskey said %q", lines)
	}
	key, err := tezos.ParsePublicKey(lines[2])
	if err != nil {
		t.Fatal(err)
	}
	s.oracle.keys[key.Hash()] = key
	s.keys = append(s.keys, key.Hash())
	s.recorder.note(diskStep{kind: stepRegistered, key: key.Hash()})
}

// command runs a command to its good end and returns what it printed.
func (s *cutScene) command(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(s.pawl, args...)
	outOf, errOf := pipeOf(t, &cmd.Stdout), pipeOf(t, &cmd.Stderr)
	p := s.trace(t, cmd)
	out, _ := io.ReadAll(outOf)
	_, _ = io.Copy(&stderr, errOf)
	<-p.ended
	if p.err != nil || p.status.ExitStatus() != 0 {
		t.Fatalf("pawl %v: status %d, %v\n%s", args, p.status.ExitStatus(), p.err, &stderr)
	}
	return string(out)
}

// pipeOf makes a pipe from a program whose end nobody waits for with exec.Cmd.
func pipeOf(t *testing.T, to *io.Writer) *os.File {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	*to = writer
	t.Cleanup(func() { _ = reader.Close() })
	return reader
}

func (s *cutScene) trace(t *testing.T, cmd *exec.Cmd) *traced {
	t.Helper()
	cmd.Env = append(os.Environ(), wrongEnv+"="+s.wrong)
	p, err := s.recorder.start(cmd)
	for _, end := range []io.Writer{cmd.Stdout, cmd.Stderr} {
		if file, ok := end.(*os.File); ok && file != nil {
			_ = file.Close()
		}
	}
	if err != nil {
		t.Skipf("ptrace: %v", err)
	}
	t.Cleanup(p.kill)
	return p
}

func (p *traced) kill() {
	select {
	case <-p.ended:
	default:
		_ = unix.Kill(p.pid, unix.SIGKILL)
		<-p.ended
	}
}

// serve starts the daemon and waits until it listens.
func (s *cutScene) serve(t *testing.T) (*daemon, *traced) {
	t.Helper()
	cmd := exec.Command(s.pawl, "serve", "--config", s.config, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	d := &daemon{client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}, log: &tail{listening: make(chan logLine, 1)}}
	stderr := pipeOf(t, &cmd.Stderr)
	p := s.trace(t, cmd)
	go d.log.read(stderr)
	t.Cleanup(d.client.CloseIdleConnections)
	select {
	case line := <-d.log.listening:
		d.url = "http://" + line.Address
	case <-p.ended:
		t.Fatalf("pawl serve ended before it listened: %v\n%s", p.err, d.log)
	case <-time.After(time.Minute):
		t.Fatalf("pawl serve does not listen:\n%s", d.log)
	}
	return d, p
}

// end ends the daemon with a signal.
func (s *cutScene) end(t *testing.T, d *daemon, p *traced, sig syscall.Signal) {
	t.Helper()
	d.client.CloseIdleConnections()
	if err := unix.Kill(p.pid, sig); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if p.err != nil {
		t.Fatal(p.err)
	}
	if sig == unix.SIGTERM && p.status.ExitStatus() != 0 {
		t.Fatalf("pawl serve: status %d\n%s", p.status.ExitStatus(), d.log)
	}
}

func (s *cutScene) chain(n byte) tezos.ChainID { return tezos.ChainID{0x7a, 0x06, 0xa7, 0x70 + n} }

// next is the ask for the next slot of a key.
func (s *cutScene) next(key tezos.PublicKeyHash, chain byte, kind tezos.Kind) ask {
	s.level++
	return ask{mark: ratchet.Mark{Key: key, ChainID: s.chain(chain), Kind: kind, Level: s.level, Round: s.random.Int32N(3)}}
}

// alone asks for n signatures one after the other.
func (s *cutScene) alone(t *testing.T, d *daemon, n int) {
	t.Helper()
	for range n {
		key, kind, chain := s.keys[s.random.IntN(len(s.keys))], kinds[s.random.IntN(len(kinds))], byte(s.random.IntN(int(s.chains)))
		if !s.may(key, chain) {
			chain = 0
		}
		s.sign(t, d, s.next(key, chain, kind))
	}
}

// may reports whether a key may sign on a chain: the first was registered for one by
// hand, the others were never used.
func (s *cutScene) may(key tezos.PublicKeyHash, chain byte) bool {
	return chain == 0 || key != s.keys[0]
}

// together asks for signatures with all kinds and all keys that may sign on a chain at
// once: they share commits.
func (s *cutScene) together(t *testing.T, d *daemon, chain byte) {
	t.Helper()
	var asks []ask
	for _, key := range s.keys {
		for _, kind := range kinds {
			if s.may(key, chain) {
				asks = append(asks, s.next(key, chain, kind))
			}
		}
	}
	s.sign(t, d, asks...)
}

// grow asks on a chain that was not used, which adds rows.
func (s *cutScene) grow(t *testing.T, d *daemon) {
	t.Helper()
	const most = 8 // chains of a key that was never used
	if s.chains < most {
		s.chains++
	}
	s.together(t, d, s.chains-1)
}

// sign has every ask answered with a signature.
func (s *cutScene) sign(t *testing.T, d *daemon, asks ...ask) {
	t.Helper()
	for _, a := range s.postAll(d, asks, nil) {
		for tries := 0; tries < 10 && a.status >= http.StatusInternalServerError; tries++ {
			a = s.post(d, a.ask) // a machine that is short of time
		}
		if a.status == http.StatusConflict && strings.Contains(a.text, "fenced (unwitnessed)") { // after a power cut
			s.level++
			a.mark.Level = s.level
			a = s.post(d, a.ask)
		}
		if a.status != http.StatusOK {
			t.Fatalf("%v, want a signature; the daemon's log:\n%s", a, d.log)
		}
		s.given[a.signature] = a.ask
	}
}

// rest asks for enough to make the daemon rest, and waits until it has: the -wal is
// copied into the database and begun anew.
func (s *cutScene) rest(t *testing.T, d *daemon) {
	t.Helper()
	at := s.recorder.length()
	for range 2 {
		s.together(t, d, 0)
	}
	s.together(t, d, s.chains-1)
	for _, wanted := range []func(diskStep) bool{
		func(o diskStep) bool { return o.kind == stepWrite && o.file == databaseFile },
		func(o diskStep) bool { return o.kind == stepSync && o.file == databaseFile },
		func(o diskStep) bool { return o.kind == stepSync && o.file != databaseFile },
	} {
		var err error
		if at, err = s.recorder.await(at, wanted); err != nil {
			t.Fatalf("waiting for the daemon to rest: %v; its log:\n%s", err, d.log)
		}
	}
}

// databaseFile is the number of the database: it is made first, and once.
const databaseFile = 0

// recording ends the scene. Each answer is one that was got, and each that was got is
// recorded: the recorder has missed none.
func (s *cutScene) recording(t *testing.T) *recording {
	t.Helper()
	rec := s.recorder.seen
	missed := maps.Clone(s.given)
	for i, o := range rec.ops {
		if i < rec.from || o.kind != stepAnswer {
			continue
		}
		a, ok := s.given[o.text]
		if !ok {
			t.Fatalf("the recorder saw an answer %s, which nobody got", o.text)
		}
		rec.ops[i].ask = a
		delete(missed, o.text)
	}
	if len(missed) > 0 {
		t.Fatalf("the recorder missed %d of %d answers: %v", len(missed), len(s.given), missed)
	}
	return rec
}

// fill commits until the -wal has as many pages as make SQLite checkpoint by itself,
// in the middle of a commit.
func (s *cutScene) fill(t *testing.T, d *daemon) {
	t.Helper()
	from := s.recorder.length()
	checkpoint := func(o diskStep) bool { return o.kind == stepWrite && o.file == databaseFile }
	for range 1000 { // a group is a page at least
		s.together(t, d, byte(s.random.IntN(int(s.chains))))
		if s.recorder.seenSince(from, checkpoint) {
			return
		}
	}
	t.Fatal("no checkpoint after 1000 commits")
}

// inherit begins with what another scene has left after a cut, all of it durable.
func (s *cutScene) inherit(t *testing.T, from *cutScene, state snapshot, must *promises) {
	t.Helper()
	s.keys, s.chains, s.level = from.keys, from.chains, from.level
	config, err := os.ReadFile(from.config)
	if err != nil {
		t.Fatal(err)
	}
	s.config = filepath.Join(from.home, filepath.Base(s.home)+".json") // beside the keys' files
	s.home = from.home
	config = bytes.ReplaceAll(config, []byte(from.path()), []byte(s.path()))
	if err := os.WriteFile(s.config, config, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := state.lay(s.recorder.folder, from.recorder.seen.identities); err != nil {
		t.Fatal(err)
	}
	if err := s.recorder.begin(must, from.recorder.seen.everTold()); err != nil {
		t.Fatal(err)
	}
}
