package fault_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pawl/ratchet"
	"pawl/tezos"
)

// unlockedPatches take out what keeps a second process from a ratchet and from a
// key: the flock, SQLite's exclusive mode, the look at the -wal, which the second
// cuts short as it opens, and the socket.
var unlockedPatches = []patch{
	{"ratchet/sqlite/filelock.go", "unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)", "unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)"},
	{"ratchet/sqlite/sqlite.go", "\"&_locking_mode=EXCLUSIVE\"", "\"&_locking_mode=NORMAL\""},
	{"ratchet/sqlite/sqlite.go", "{\"locking_mode\", \"exclusive\"}", "{\"locking_mode\", \"normal\"}"},
	{"internal/hostlock/keylock.go", "uid == 0 || uid == os.Geteuid()", "uid < 0 && uid == os.Geteuid()"},
	{"ratchet/sqlite/identity.go", "case now.size < seen.size:", "case false:"},
}

// stopTime is how long a process sleeps that has a signature in its hands.
func stopTime() time.Duration {
	if *campaignTime > 0 {
		return 30 * time.Second
	}
	return 2 * time.Second
}

// writeTime is how long pawl has for an answer (server, writeTimeout).
const writeTime = 10 * time.Second

// TestStoppedProcess: a process is stopped when it has the HSM's signature and has not
// committed. A second one, forced past all locks, signs another payload of the slot.
// When the first goes on the transaction decides, not what it remembers.
func TestStoppedProcess(t *testing.T) {
	t.Parallel()
	r := newRig(t, append(unlockedPatches, pointPatches...)...)
	first := r.start(t)
	first.client.Timeout = 2 * time.Minute
	r.warm(t, first)
	for i, kind := range kinds {
		key := r.keys[i]
		mark := ratchet.Mark{Key: key.Hash(), ChainID: chain, Kind: kind, Level: 2000, Round: 1}
		withdraw := r.order(t, afterHSM, 1, syscall.SIGSTOP)
		late := make(chan answer, 1)
		go func() { late <- r.post(first, ask{mark, 0}) }()
		first.await(t, "stopped", func() bool { return first.state() == 'T' })
		withdraw()

		second := r.start(t)
		won := r.post(second, ask{mark, 1})
		if won.status != http.StatusOK {
			t.Fatalf("the second process: %v, want a signature", won)
		}
		time.Sleep(stopTime())
		second.kill()
		total.add(func(t *tally) { t.kills++ })
		if err := first.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		got := <-late
		outcome := fmt.Sprint("answered ", got.status)
		if got.err != nil && stopTime() > writeTime {
			outcome = "not answered, the time for it was over"
		} else if got.status != http.StatusConflict {
			t.Errorf("the first process after its sleep: %v, want 409", got)
		}
		total.happened(partProcess, fmt.Sprintf("stopped for %v with the HSM's signature in its hands, another process signs meanwhile", stopTime()), outcome)
		if again := r.post(first, ask{mark, 1}); again.signature != won.signature {
			t.Errorf("the first process, asked for what the second has signed: %v, want %s", again, won.signature)
		}
	}
	if err := r.oracle.verdict(); err != nil {
		t.Error(err)
	}
}

// TestTwoProcesses: two processes forced past all locks are asked for conflicting
// payloads of the same slots at the same time. Each slot has one winner.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	r := newRig(t, append(unlockedPatches, pointPatches...)...)
	daemons := []*daemon{r.start(t), r.start(t)}
	began := time.Now()
	level := int32(0)
	for ; partProcess.goesOn(began, int(level), 30); level++ {
		var all sync.WaitGroup
		var signed atomic.Int32
		for variant := range 8 {
			key := r.keys[level%3]
			mark := ratchet.Mark{Key: key.Hash(), ChainID: chainOf(key, int(level/9)), Kind: kinds[level/3%3], Level: level, Round: 0}
			all.Go(func() {
				a := r.post(daemons[variant%2], ask{mark, variant})
				for tries := 0; a.status >= http.StatusInternalServerError && tries < 10; tries++ { // a busy database
					a = r.post(daemons[variant%2], a.ask)
				}
				switch {
				case a.status == http.StatusOK:
					signed.Add(1)
				case a.status != http.StatusConflict:
					t.Errorf("%v, want 200 or 409", a)
				}
			})
		}
		all.Wait()
		if n := signed.Load(); n != 1 {
			t.Errorf("level %d: %d of 8 conflicting payloads have a signature, want 1", level, n)
		}
		total.happened(partProcess, "two processes on one ratchet, forced past the locks, 8 conflicting payloads", fmt.Sprint(signed.Load(), " signed"))
	}
	if _, err := r.oracle.merge(r.card); err != nil {
		t.Error(err)
	}
}

// TestTerminationUnderLoad: SIGTERM while clients ask. Who was heard gets an answer,
// the exit code is 0, and the next process has all that was released.
func TestTerminationUnderLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	random := partProcess.random()
	began := time.Now()
	level := int32(1)
	for lives := 0; partProcess.goesOn(began, lives, 5); lives++ {
		d := r.start(t)
		r.warm(t, d)
		var all sync.WaitGroup
		var signed atomic.Int32
		answers := make(chan answer, 1<<16)
		for client := range 6 {
			key := r.keys[client%3]
			mark := ratchet.Mark{Key: key.Hash(), ChainID: chainOf(key, client), Kind: kinds[client/3], Level: level}
			all.Go(func() {
				for mark.Level < level+1000 {
					a := r.post(d, ask{mark, 0})
					answers <- a
					if a.err != nil { // it listens no more, or has closed a connection that was idle
						return
					}
					if a.status == http.StatusOK {
						signed.Add(1)
					}
					mark.Level++
				}
			})
		}
		enough := 1 + random.Int32N(100)
		d.await(t, "signing", func() bool { return signed.Load() >= enough })
		if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		<-d.exited
		close(answers)
		r.judgeTermination(t, d, answers)
		level += 1000
	}
	if _, err := r.oracle.merge(r.card); err != nil {
		t.Error(err)
	}
}

// judgeTermination wants nothing lost: no signature of the card for a client without
// an answer, and the very signatures from the next process.
func (r *rig) judgeTermination(t *testing.T, d *daemon, answers <-chan answer) {
	t.Helper()
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0; the log:\n%s", code, d.log)
	}
	next := r.start(t)
	defer next.kill()
	last := make(map[ratchet.Mark]answer)
	for a := range answers {
		switch {
		case a.err != nil && len(r.card.of(a.digest())) > 0:
			t.Errorf("%v: no answer, though the card has signed", a)
		case a.err != nil || a.status == http.StatusServiceUnavailable:
		case a.status != http.StatusOK:
			t.Errorf("%v under load, want 200, or 503 at the end", a)
		default:
			slot := a.mark
			slot.Level = 0
			last[slot] = a
		}
	}
	for _, a := range last {
		if again := r.post(next, a.ask); again.signature != a.signature {
			t.Errorf("after SIGTERM %v, want %s", again, a.signature)
		}
	}
	total.happened(partProcess, "SIGTERM under load", "exit 0, nothing lost")
}

// warm has each key sign once.
func (r *rig) warm(t *testing.T, d *daemon) {
	t.Helper()
	for _, key := range r.keys {
		mark := ratchet.Mark{Key: key.Hash(), ChainID: chain, Kind: tezos.Block, Level: 0}
		if a := r.post(d, ask{mark, 0}); a.status != http.StatusOK && a.status != http.StatusConflict {
			t.Fatal(a)
		}
	}
}

// state is that of the process in the kernel's eyes (proc_pid_stat(5)).
func (d *daemon) state() byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[0]
}

// await waits for a condition that must come about soon.
func (d *daemon) await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for start := time.Now(); !condition(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("the daemon is not %s; its log:\n%s", what, d.log)
		}
	}
}
