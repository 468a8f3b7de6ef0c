package fault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// squatter is another user of the host, who takes what can be taken.
type squatter struct {
	t   *testing.T
	fds []int
}

// otherUser is nobody's uid.
const otherUser = 65534

// asOther runs do as another user, on a thread that ends with it.
func (s *squatter) asOther(do func() error) {
	s.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		const keep = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, otherUser, keep); errno != 0 {
			done <- errno
			return
		}
		done <- do()
	}()
	if err := <-done; err != nil {
		s.t.Fatalf("the other user: %v", err)
	}
}

// socket makes one that is closed with the test.
func (s *squatter) socket(flags int) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
	if err == nil {
		s.fds = append(s.fds, fd)
	}
	return fd, err
}

// bind takes a name that is free, and listens unless backlog is negative.
func (s *squatter) bind(name string, backlog int) {
	s.t.Helper()
	s.asOther(func() error {
		fd, err := s.socket(0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: name})
		}
		if errors.Is(err, unix.EADDRINUSE) {
			return nil
		}
		if err == nil && backlog >= 0 {
			err = unix.Listen(fd, backlog)
		}
		return err
	})
}

// crowd connects as often as the queue of a socket takes.
func (s *squatter) crowd(name string) {
	s.t.Helper()
	s.asOther(func() error {
		for range 300 {
			fd, err := s.socket(unix.SOCK_NONBLOCK)
			if err != nil {
				return err
			}
			if err := unix.Connect(fd, &unix.SockaddrUnix{Name: name}); errors.Is(err, unix.EAGAIN) ||
				errors.Is(err, unix.ECONNREFUSED) {
				return nil
			} else if err != nil {
				return err
			}
		}
		return nil
	})
}

// leave gives all back.
func (s *squatter) leave() {
	for _, fd := range s.fds {
		_ = unix.Close(fd)
	}
	s.fds = nil
}

// squats are what another user can do to the lock of a key, whose name is known to all.
var squats = []struct {
	name string
	do   func(s *squatter, lock string)
}{
	{"listens under the name of the lock", func(s *squatter, lock string) { s.bind(lock, 16) }},
	{"has the name of the lock and does not listen", func(s *squatter, lock string) { s.bind(lock, -1) }},
	{"has the name and takes no connection", func(s *squatter, lock string) { s.bind(lock, 0); s.crowd(lock) }},
	{"listens under 200 names that begin so", func(s *squatter, lock string) {
		for n := range 200 {
			s.bind(fmt.Sprint(lock, "-", n), 1)
		}
	}},
	{"connects to the lock and stays", func(s *squatter, lock string) { s.crowd(lock) }},
	{"tries the folder and its files", func(s *squatter, _ string) {}},
}

// TestAroundOtherUsers: another user takes what can be taken, before a start and while the daemon runs.
// It starts and signs all the same, says who it is, and a second daemon on the key is refused.
func TestAroundOtherUsers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user as well")
	}
	r := newRig(t)
	random := partAround.random()
	began := time.Now()
	level := int32(1)
	for n := 0; partAround.goesOn(began, n, 2*len(squats)); n++ {
		squat := squats[n%len(squats)]
		before := n/len(squats)%2 == 0
		key := r.keys[random.IntN(len(r.keys))].Hash()
		lock := "@pawl-key-" + key.String()
		s := &squatter{t: t}
		if before {
			squat.do(s, lock)
		}
		d := r.start(t)
		if !before {
			squat.do(s, lock)
		}
		s.triesFiles(r.dir)
		r.signsFor(t, d, level, squat.name)
		level++
		r.refusesSecond(t, n, key)
		if warned := strings.Contains(d.log.String(), "another user claims the lock of a key"); warned && !before {
			t.Errorf("%s, after the start: the log warns of it", squat.name)
		} else if named := before && squat.name == squats[0].name; named && !warned {
			t.Errorf("%s: the log does not say so:\n%s", squat.name, d.log)
		}
		s.leave()
		r.signsFor(t, d, level, "the other user left")
		level++
		d.kill()
		when := "while it runs"
		if before {
			when = "before the start"
		}
		total.happened(partAround, "another user, "+when+": "+squat.name, "started and signed; a second daemon refused")
	}
	if err := r.oracle.verdict(); err != nil {
		t.Error(err)
	}
}

// signsFor has each key sign a slot of each kind.
func (r *rig) signsFor(t *testing.T, d *daemon, level int32, what string) {
	t.Helper()
	for _, key := range r.keys {
		for _, kind := range []tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation} {
			mark := ratchet.Mark{Key: key.Hash(), ChainID: chain, Kind: kind, Level: level}
			if a := r.post(d, ask{mark, 0}); a.status != http.StatusOK {
				t.Fatalf("%s: %v, want a signature; the log:\n%s", what, a, d.log)
			}
		}
	}
}

// triesFiles has the other user open everything in the folder, which would let him lock it.
func (s *squatter) triesFiles(dir string) {
	s.t.Helper()
	var opened []string
	s.asOther(func() error {
		return filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return nil //nolint:nilerr // what he cannot enter he cannot take
			}
			if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				opened = append(opened, path)
				_ = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
				s.fds = append(s.fds, fd)
			}
			return nil
		})
	})
	for _, path := range opened {
		if strings.HasPrefix(filepath.Base(path), "ratchet.db") || strings.HasSuffix(path, "keys.json") {
			s.t.Errorf("another user can open %s", path)
		}
	}
}

// refusesSecond starts a daemon of the same user on a ratchet of its own.
func (r *rig) refusesSecond(t *testing.T, n int, key tezos.PublicKeyHash) {
	t.Helper()
	dir := filepath.Join(r.dir, fmt.Sprint("second-", n))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ratchet.db")
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	db, err := ratchettest.OpenDB(t.Context(), path, ratchettest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range r.keys {
		if err := db.Register(t.Context(), key.Hash(), chain, 1_000_000); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(r.config())
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(r.dir, "second.json")
	other := strings.Replace(string(text), `"ratchet.db"`, fmt.Sprintf("%q", path), 1)
	if err := os.WriteFile(config, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.pawl, "serve", "--config", config, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	output, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "another daemon on this host serves the key: process ") {
		t.Errorf("a second daemon on key %v: %v, want it refused:\n%s", key, err, output)
	}
}
