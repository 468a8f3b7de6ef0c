package fault_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pawl/softcard"
)

// clockEnv names the file with the seconds by which the wall clock of the patched program is wrong.
const clockEnv = "PAWL_FAULT_CLOCK"

// clockPatch puts a function before the one of the kernel (vdso(7)) that the runtime asks for the
// time. The wall clock of the whole program is then as wrong as the file says at each moment, in all
// libraries too. The monotonic clock is right.
var clockPatch = patch{"cmd/pawl/clock.go", "", `package main

// #include <sys/syscall.h>
// #include <time.h>
// #include <unistd.h>
//
// static volatile const long *wrong;
//
// static int wrong_gettime(clockid_t id, struct timespec *ts) {
// 	int failed = syscall(SYS_clock_gettime, id, ts);
// 	if (id == CLOCK_REALTIME)
// 		ts->tv_sec += *wrong;
// 	return failed;
// }
//
// static void *set_clock(const void *seconds) {
// 	wrong = seconds;
// 	return wrong_gettime;
// }
import "C"

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

//go:linkname vdsoClockgettimeSym runtime.vdsoClockgettimeSym
var vdsoClockgettimeSym uintptr

func init() {
	file, err := os.Open(os.Getenv("` + clockEnv + `"))
	if err != nil {
		panic(err)
	}
	seconds, err := unix.Mmap(int(file.Fd()), 0, 8, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	vdsoClockgettimeSym = uintptr(C.set_clock(unsafe.Pointer(&seconds[0])))
	_ = file.Close()
}
`}

const year = 365 * 24 * time.Hour

// clockStep is how wrong the clock becomes while the daemon signs.
type clockStep struct {
	name     string
	by       time.Duration
	outdated bool // the certificates of the card are not valid then: they are so from an hour ago, for ten years
}

var clockSteps = []clockStep{
	{"an hour back", -time.Hour, false},
	{"a year ahead", year, false},
	{"a year back", -year, true},
	{"eleven years ahead", 11 * year, true},
}

// TestAroundClock: no verdict, no signature and no time-out depends on the wall clock. A connection
// that is there goes on; a new one may find certificates that are not valid, and then readiness, the
// log and the metrics tell.
func TestAroundClock(t *testing.T) {
	t.Parallel()
	for _, step := range clockSteps {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			h := newHSMRig(t, clockPatch)
			defer h.judge(t)
			began := time.Now()
			for round := 0; !t.Failed() && partAround.goesOn(began, round, 1); round++ {
				h.liveThrough(t, step)
			}
		})
	}
}

// liveThrough has the clock go wrong, and right again.
func (h *hsmRig) liveThrough(t *testing.T, step clockStep) {
	t.Helper()
	h.stepWhileSigning(t, step)
	h.verdicts(t, step.name)
	if *campaignTime > 0 || !step.outdated { // it takes some seconds
		h.timesOut(t, step.name)
	}
	if step.outdated {
		h.reconnectsOutdated(t, step.name)
	} else {
		h.reconnects(t, step.name)
		h.restarts(t, step.name)
		h.setClock(t, 0)
	}
	h.verdicts(t, step.name+", then right again")
}

func (r *rig) clock() string { return filepath.Join(r.dir, "clock") }

// setClock makes the wall clock of the daemon wrong, now and when it starts.
func (r *rig) setClock(t *testing.T, by time.Duration) {
	t.Helper()
	file, err := os.OpenFile(r.clock(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	seconds := binary.NativeEndian.AppendUint64(nil, uint64(by/time.Second))
	if _, err := file.WriteAt(seconds, 0); err != nil {
		t.Fatal(err)
	}
}

// stepWhileSigning steps the clock while the card has a call of each key.
func (h *hsmRig) stepWhileSigning(t *testing.T, step clockStep) {
	t.Helper()
	asks := h.oneEach()
	before := h.card.total()
	h.soft.Card.SetFaults(&softcard.Fault{Call: "SignSingle", Late: 300 * time.Millisecond, Times: len(asks)})
	answers := make(chan []answer, 1)
	go func() { answers <- h.postAll(h.daemon, asks, nil) }()
	h.waitUntil(t, "the card has a call of each key", func() bool { return h.card.total() >= before+len(asks) })
	h.setClock(t, step.by)
	for _, a := range <-answers {
		if a.status != http.StatusOK {
			t.Errorf("the clock went %s in a call: %v, want a signature", step.name, a)
		}
		h.recovered(t, "the clock went "+step.name, a)
	}
	h.soft.Card.SetFaults()
	total.happenedTimes(partAround, "clock "+step.name+", in a call of the card", "signed", len(asks))
}

// verdicts are those of each key and kind: what is new is signed, the same bytes get the same
// signature, other bytes and what is below get none.
func (h *hsmRig) verdicts(t *testing.T, name string) {
	t.Helper()
	for _, key := range h.keys {
		for _, kind := range kinds {
			h.next(key, kind)
			a := h.next(key, kind)
			below := a // of the same chain
			below.mark.Level--
			first := h.want(t, name, a, http.StatusOK)
			if again := h.want(t, name, a, http.StatusOK); again.signature != first.signature {
				t.Errorf("%s: %v and again %v, want the same", name, first, again)
			}
			h.want(t, name, a.rival(), http.StatusConflict)
			h.want(t, name, below, http.StatusConflict)
		}
	}
	total.happenedTimes(partAround, "clock "+name, "the verdicts of each key and kind are the same", 1)
}

// timesOut has a card that hangs, and a client that does: both are given up, not at once and not
// never.
func (h *hsmRig) timesOut(t *testing.T, name string) {
	t.Helper()
	const twoTries = 4 * time.Second
	a := h.next(h.keys[0], kinds[0])
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.daemon.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprint(conn, "GET /authorized_keys HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	h.soft.Card.SetFaults(&softcard.Fault{Call: "SignSingle", Hang: true})
	began := time.Now()
	got := h.ask(a)
	took := time.Since(began)
	if got.status != http.StatusInternalServerError || took < twoTries-time.Second || took > patience {
		t.Errorf("%s, a card that hangs: %v after %v, want 500 after %v or a little more", name, got, took, twoTries)
	}
	h.soft.Card.SetFaults()
	h.allReady(t)
	h.recovered(t, name+", a card that hung", got)
	if err := conn.SetReadDeadline(began.Add(patience)); err != nil {
		t.Fatal(err)
	}
	for err == nil { // an answer may come before the end
		_, err = conn.Read(make([]byte, 512))
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		t.Errorf("%s: a client that hangs is still there after %v", name, patience)
	}
	total.happened(partAround, "clock "+name+", a card and a client that hang", "given up in their time")
}

// cutOff ends all connections to the card, which is back at once.
func (h *hsmRig) cutOff(t *testing.T) {
	t.Helper()
	h.soft.Card.Cut()
	h.soft.Stop()
	for _, key := range h.keys {
		h.waitUnready(t, key, "")
	}
	h.soft.Start(t)
}

// reconnects wants a new connection.
func (h *hsmRig) reconnects(t *testing.T, name string) {
	t.Helper()
	h.cutOff(t)
	h.allReady(t)
	h.verdicts(t, name+", with a new connection")
}

// reconnectsOutdated wants to be told why there is no new connection, and one when the clock is
// right again.
func (h *hsmRig) reconnectsOutdated(t *testing.T, name string) {
	t.Helper()
	const reason = "certificate" // its words are those of package x509, or say which file has ended
	h.cutOff(t)
	asks := h.oneEach()
	for i, key := range h.keys {
		h.waitUnready(t, key, reason)
		h.want(t, name, asks[i], http.StatusInternalServerError)
	}
	log := h.daemon.log.String()
	if !strings.Contains(log, `"msg":"HSM server left out"`) || !strings.Contains(log, reason) {
		t.Errorf("the log does not say that the certificate is not valid: %s", log)
	}
	h.setClock(t, 0)
	h.allReady(t)
	for _, a := range asks {
		h.recovered(t, name, answer{ask: a})
	}
	total.happened(partAround, "clock "+name+", the connection is lost",
		"readiness and log tell of the certificate; ready again with the clock")
}

// restarts has another process know what was signed.
func (h *hsmRig) restarts(t *testing.T, name string) {
	t.Helper()
	a := h.next(h.keys[0], kinds[0])
	first := h.want(t, name, a, http.StatusOK)
	h.daemon.kill()
	h.daemon = h.start(t)
	h.allReady(t)
	if again := h.want(t, name+", a new process", a, http.StatusOK); again.signature != first.signature {
		t.Errorf("%s, a new process: %v, want %v", name, again, first)
	}
	h.verdicts(t, name+", a new process")
}
