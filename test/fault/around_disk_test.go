package fault_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAroundDisk fills the disk that ratchet and log share. Signing goes on from the
// blocks that the -wal has already; when it cannot, readiness tells.
func TestAroundDisk(t *testing.T) {
	t.Parallel()
	pawl, shim, random := build(t), newIOShim(t), partAround.random()
	began := time.Now()
	for done := 0; partAround.goesOn(began, done, 1) && !t.Failed(); done++ {
		t.Run("tmpfs", func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("pawl-test", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=32m"); err != nil {
				t.Skipf("mounting a tmpfs: %v", err)
			}
			t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
			fullDiskAround(t, "tmpfs", pawl, dir, shim, random)
		})
		t.Run("ext4", func(t *testing.T) {
			fullDiskAround(t, "ext4", pawl, newExt4(t).dir, shim, random)
		})
	}
}

// fullDiskAround has the disk filled by requests that write to the log, and by others.
func fullDiskAround(t *testing.T, name, pawl, dir string, shim *ioShim, random *rand.Rand) {
	t.Helper()
	s := newDiskStand(t, pawl, dir, shim, random)
	if !reserves(t, dir) {
		t.Skipf("%s cannot allocate beyond the end of a file", name)
	}
	d := s.serveLoggingTo(t, filepath.Join(dir, "log"))
	s.signs(t, d)
	d.floods(t, 2000)
	s.fill(t)
	s.fillsLog(t, d)
	s.goesOnSigning(t, d, name)
	s.signsNoMore(t, d, name)
	d.kill()
	s.count(t)
}

// reserves reports whether the file system has what the ratchet asks of it.
func reserves(t *testing.T, dir string) bool {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, "probe"))
	must(t, err)
	defer func() { _ = os.Remove(file.Name()) }()
	defer func() { _ = file.Close() }()
	return unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 1<<16) == nil
}

// serveLoggingTo starts the program with its log in a file.
func (s *diskStand) serveLoggingTo(t *testing.T, path string) *diskDaemon {
	t.Helper()
	file, err := os.Create(path)
	must(t, err)
	defer func() { _ = file.Close() }() // the program has its own
	d := &diskDaemon{said: new(transcript), daemon: &daemon{
		started: time.Now(),
		cmd:     exec.Command(s.pawl, "serve", "--config", s.config(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
		client:  &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
		exited:  make(chan struct{}),
		log:     &tail{listening: make(chan logLine, 1)},
	}}
	d.cmd.Env, d.cmd.Stderr = s.shim.environment(), file
	must(t, d.cmd.Start())
	go func() {
		defer close(d.exited)
		_ = d.cmd.Wait() // it is killed
	}()
	t.Cleanup(d.kill)
	d.await(t, "listening", func() bool {
		for line := range bytes.Lines(read(t, path)) {
			var said logLine
			if json.Unmarshal(line, &said) == nil && said.Msg == "listening" {
				d.url, d.admin = "http://"+said.Address, "http://"+said.Admin
				return true
			}
		}
		return false
	})
	return d
}

// floods pipelines requests for a path that is not there, over one connection. Each may
// write a line to the log.
func (d *diskDaemon) floods(t *testing.T, n int) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	go func() {
		_, _ = io.WriteString(conn, strings.Repeat("GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", n))
	}()
	answers := bufio.NewReader(conn)
	for range n {
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			return // it may close a connection that asks for nothing
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

// fillsLog has the last block of the log filled too: not a byte is left.
func (s *diskStand) fillsLog(t *testing.T, d *diskDaemon) {
	t.Helper()
	d.floods(t, 100)
	file, err := os.OpenFile(s.filler(), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	for err == nil {
		_, err = file.Write(make([]byte, 512))
	}
	_ = file.Sync() // may say that there is no room
	must(t, file.Close())
}

// goesOnSigning asks on the full disk for more than fits into the -wal as it was: all is
// signed, and readiness says so.
func (s *diskStand) goesOnSigning(t *testing.T, d *diskDaemon, name string) {
	t.Helper()
	const steps = 30 // of 15 marks; each step is a commit of two pages at least
	for step := range steps {
		answers := s.signs(t, d)
		if ready := d.readiness("/readyz"); ready != http.StatusOK {
			t.Fatalf("full %s, step %d: signed, and /readyz is %d", name, step, ready)
		}
		if step == steps/2 {
			d.rests(t, s.ratchet()+"-wal")
		}
		if step == steps-1 {
			s.answersFor(t, d, answers)
		}
	}
	total.happenedTimes(partAround, "full "+name+" shared with the log", "signed from the blocks of the -wal, ready", steps)
}

// toldOrOver waits until readiness tells of a refusal, or all is signed again: a rest
// may have made room in the -wal before anybody looked.
func (s *diskStand) toldOrOver(t *testing.T, d *diskDaemon, step []answer) (outcome string, last []answer) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if d.readiness("/readyz") == http.StatusServiceUnavailable {
			return "refused and not ready, then ready again without a restart", step
		}
		step = s.ask(d, s.asks())
		if !slices.ContainsFunc(step, func(a answer) bool { return a.status != http.StatusOK }) {
			return "refused until a rest made room in the -wal", step
		}
	}
	t.Fatalf("nothing is signed, and /readyz is 200:\n%s", d.log)
	return "", nil
}

// signsNoMore takes the blocks beyond the end of the -wal away, and fills the disk again:
// what cannot be stored is refused, readiness tells, and both end with the cause.
func (s *diskStand) signsNoMore(t *testing.T, d *diskDaemon, name string) {
	t.Helper()
	s.empty(t)
	wal := s.ratchet() + "-wal"
	must(t, os.Truncate(wal, int64(len(read(t, wal)))))
	s.fill(t)
	s.fillsLog(t, d)
	var step []answer
	refused := 0
	for steps := 0; refused == 0 && steps < 200; steps++ {
		step = s.ask(d, s.asks())
		for _, a := range step {
			switch {
			case a.notStored():
				refused++
			case a.status != http.StatusOK && !a.hsmFailed():
				t.Errorf("full %s: %v, want a signature or 500 and that nothing was signed", name, a)
			}
		}
	}
	outcome := "signed on: the -wal was overwritten"
	if refused > 0 {
		outcome, step = s.toldOrOver(t, d, step)
	}
	s.empty(t)
	d.becomes(t, http.StatusOK)
	s.answersFor(t, d, step)
	total.happened(partAround, "full "+name+" shared with the log, no blocks for the -wal", outcome)
}
