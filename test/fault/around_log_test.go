package fault_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pawl/ratchet"
	"pawl/softcard"
	"pawl/tezos"
)

// smallQueue makes the queue of the log small, so that it is full sooner.
var smallQueue = []patch{
	{"internal/latelog/latelog.go", "maxLines = 8192", "maxLines = 256"},
	{"internal/latelog/latelog.go", "reserved = 1024", "reserved = 64"},
}

// queuePatches is smallQueue. A campaign has the time to fill the real one.
func queuePatches() []patch {
	if *campaignTime > 0 {
		return nil
	}
	return smallQueue
}

// TestAroundLog: whatever becomes of the log, signing goes on, the lines that were dropped are
// counted, and SIGTERM ends the daemon cleanly and in time.
func TestAroundLog(t *testing.T) {
	t.Parallel()
	for _, trouble := range logTroubles {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, queuePatches()...)
			began := time.Now()
			level := int32(1)
			for lives := 0; partAround.goesOn(began, lives, 1); lives++ {
				level = r.liveWithLog(t, trouble, level)
				if t.Failed() {
					t.FailNow()
				}
				total.happened(partAround, "log: "+trouble.name, "signing went on, lines were counted, SIGTERM was a clean stop")
			}
			if _, err := r.oracle.merge(r.card); err != nil {
				t.Error(err)
			}
		})
	}
}

// liveWithLog has a daemon sign until lines are dropped, and some more, and stops it.
func (r *rig) liveWithLog(t *testing.T, trouble logTrouble, level int32) (next int32) {
	t.Helper()
	stderr, begin := trouble.open(t)
	d := r.startWithLog(t, stderr, trouble.limit)
	begin()
	least := int32(100)
	for end := time.Now().Add(2 * time.Minute); ; least += 100 {
		r.bake(t, d, level, level+100)
		level += 100
		dropped := d.dropped(t)
		if t.Failed() || dropped > 0 && (trouble.slow || dropped >= uint64(least)) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d lines are counted as dropped", dropped)
		}
	}
	r.bake(t, d, level, level+100)
	d.terminate(t)
	if _, err := os.Stat(r.ratchet() + "-wal"); err == nil {
		t.Error("the ratchet was not closed cleanly")
	}
	return level + 100
}

// startWithLog runs the daemon with its log there, and waits until it is ready.
func (r *rig) startWithLog(t *testing.T, stderr *os.File, limit int) *daemon {
	t.Helper()
	listen, admin := freeAddress(t), freeAddress(t)
	args := []string{r.pawl, "serve", "--config", r.config(), "--listen", listen, "--admin", admin}
	if limit > 0 { // in units of 512 bytes
		args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -f %d; exec "$@"`, limit<<20/512), "sh"}, args...)
	}
	d := &daemon{
		started: time.Now(), url: "http://" + listen, admin: "http://" + admin,
		cmd: exec.Command(args[0], args[1:]...), client: &http.Client{Timeout: 30 * time.Second},
		exited: make(chan struct{}), log: &tail{},
	}
	d.cmd.Stderr = stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(d.exited); _ = d.cmd.Wait() }()
	t.Cleanup(d.kill)
	d.await(t, "ready", func() bool {
		res, err := d.client.Get(d.admin + "/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return d
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// bake is what bakers do from one level to another: each key signs each kind, and its public key
// is asked for. All are answered.
func (r *rig) bake(t *testing.T, d *daemon, from, to int32) {
	t.Helper()
	var all sync.WaitGroup
	var failed atomic.Bool
	for _, key := range r.keys {
		for _, kind := range kinds {
			all.Go(func() {
				for level := from; level < to && !failed.Load(); level++ {
					mark := ratchet.Mark{Key: key.Hash(), ChainID: chain, Kind: kind, Level: level}
					if a := r.post(d, ask{mark, 0}); a.status != http.StatusOK && !failed.Swap(true) {
						t.Errorf("%v, want a signature", a)
					}
					if err := d.get("/keys/" + key.Hash().String()); err != nil && !failed.Swap(true) {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
}

// get wants 200.
func (d *daemon) get(path string) error {
	res, err := d.client.Get(d.url + path)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s %v, want 200", path, res.Status, err)
	}
	return nil
}

// dropped is how many lines of the log the daemon has dropped.
func (d *daemon) dropped(t *testing.T) (lines uint64) {
	t.Helper()
	res, err := d.client.Get(d.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	for scanner := bufio.NewScanner(res.Body); scanner.Scan(); {
		if n, _ := fmt.Sscanf(scanner.Text(), "pawl_log_lines_dropped_total %d", &lines); n == 1 {
			return lines
		}
	}
	t.Fatal("no metric of dropped lines")
	return 0
}

// terminate sends SIGTERM, and wants a clean stop.
func (d *daemon) terminate(t *testing.T) {
	t.Helper()
	const stopTime = 10 * time.Second // the last lines may take one, and this machine some
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.exited:
	case <-time.After(stopTime):
		t.Fatalf("SIGTERM has not ended it after %v", stopTime)
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d (%v) after SIGTERM, want 0", code, d.cmd.ProcessState)
	}
}

// TestAroundLogThatIsReadAgain: a reader that comes back is told how many lines it has missed, and
// gets all others.
func TestAroundLogThatIsReadAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, queuePatches()...)
	read, write := pipe(t)
	d := r.startWithLog(t, write, 0)
	level := int32(1)
	var dropped uint64
	for ; dropped == 0; level += 100 {
		r.bake(t, d, level, level+100)
		dropped = d.dropped(t)
	}
	lines := make(chan string, 1<<16)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(read); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	told := awaitTold(t, lines, d.dropped(t))
	_ = write.Close() // ours: the log ends with the daemon
	r.bake(t, d, level, level+1)
	d.terminate(t)
	signed := 0
	var last string
	for last = range lines {
		if strings.Contains(last, `"msg":"signed"`) {
			signed++
		}
	}
	if want := len(r.keys) * len(kinds); signed != want || !strings.Contains(last, `"msg":"stopped"`) {
		t.Errorf("%d signatures logged after that, and at last %s; want %d and the stop", signed, last, want)
	}
	if told {
		total.happened(partAround, "log: its reader stops, then reads on", "told of all that were dropped")
	}
}

// awaitTold reads until as many lines are told of as were dropped.
func awaitTold(t *testing.T, lines <-chan string, dropped uint64) bool {
	t.Helper()
	var told uint64
	for end := time.After(time.Minute); told < dropped; {
		select {
		case line := <-lines:
			var fields struct {
				Msg   string
				Lines uint64
			}
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if fields.Msg == "log lines dropped" {
				told += fields.Lines
			}
		case <-end:
			t.Fatalf("%d lines are told of, want %d", told, dropped)
		}
	}
	if told != dropped {
		t.Errorf("%d lines are told of, want %d", told, dropped)
	}
	return told == dropped
}

// TestAroundLogInACall: an error that is logged amid a signature holds it up as little as any other
// line, also when the queue is full of errors.
func TestAroundLogInACall(t *testing.T) {
	t.Parallel()
	h := newHSMRig(t, smallQueue...)
	defer h.judge(t)
	h.daemon.kill()
	_, write := pipe(t)
	h.daemon = h.startWithLog(t, write, 0)
	for h.daemon.dropped(t) == 0 {
		h.unknownLayouts(t, 100)
	}
	for _, a := range h.oneEach() { // one at a time: of several at once, a key could get two of the bad ones
		h.soft.Card.SetFaults(&softcard.Fault{Call: "SignSingle", Spoil: softcard.FlipBits(7), Times: 1})
		h.corrupted.Add(1)
		answered := h.post(h.daemon, a)
		if answered.status != http.StatusOK {
			t.Errorf("the first try got a bad signature: %v, want that of the second", answered)
		}
		h.recovered(t, "an error amid the call", answered)
	}
	h.soft.Card.SetFaults()
	h.daemon.terminate(t)
	h.daemon = h.start(t)
	total.happened(partAround, "log: its reader stops, a bad signature is an error in it", "the second try was signed")
}

// unknownLayouts asks each key for what no protocol has: a person must act, so it is an error.
func (h *hsmRig) unknownLayouts(t *testing.T, times int) {
	t.Helper()
	const tagAt = 37
	for range times {
		for _, key := range h.keys {
			payload := ask{ratchet.Mark{Key: key.Hash(), ChainID: chain, Kind: tezos.Attestation, Level: 1}, 0}.payload()
			payload[tagAt] = 0x2a
			body := strings.NewReader(`"` + hex.EncodeToString(payload) + `"`)
			res, err := h.daemon.client.Post(h.daemon.url+"/keys/"+key.Hash().String(), "application/json", body)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusBadRequest {
				t.Fatalf("an unknown layout: %s, want 400", res.Status)
			}
		}
	}
}
