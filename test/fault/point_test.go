package fault_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// point is a named place of the sign path.
type point string

// The points, in the order in which a request passes them.
const (
	beforeHSM    point = "before HSM"
	afterHSM     point = "after HSM reply"
	beforeCommit point = "before commit"
	afterCommit  point = "after commit before reply"
)

var points = []point{beforeHSM, afterHSM, beforeCommit, afterCommit}

// pointPatches set the points into the ratchet, through which each signature goes.
var pointPatches = []patch{
	{"ratchet/point.go", "", "package ratchet\n" + pointSource},
	{"ratchet/sqlite/point.go", "", "package sqlite\n" + pointSource},
	{"ratchet/flight.go", "\tfresh, err := f.sign(ctx, f.message)\n", "\tat(\"" + string(beforeHSM) + "\")\n\tfresh, err := f.sign(ctx, f.message)\n"},
	{"ratchet/flight.go", "\treturn r.place(f, fresh, time.Since(start))\n", "\tat(\"" + string(afterHSM) + "\")\n\treturn r.place(f, fresh, time.Since(start))\n"},
	{"ratchet/sqlite/transact.go", "\tif err := db.commit(ctx); err != nil {\n", "\tat(\"" + string(beforeCommit) + "\")\n\tif err := db.commit(ctx); err != nil {\n"},
	{"ratchet/sqlite/transact.go", "\tdb.report(time.Since(start), marksIn(batch))\n", "\tat(\"" + string(afterCommit) + "\")\n\tdb.report(time.Since(start), marksIn(batch))\n"},
}

// pointEnv names the file in which such a program finds, each time that it comes to a
// point, what to do: "after HSM reply,3,9" is to send itself signal 9 when it comes
// there the third time since the file is there.
const pointEnv = "PAWL_FAULT_POINT"

// pointSource says on standard error that the point was reached, then sends the
// signal. From SIGKILL the calling thread does not come back, from SIGSTOP not before
// SIGCONT.
const pointSource = `
import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

var pointPassed atomic.Int64

func at(point string) {
	order, err := os.ReadFile(os.Getenv("` + pointEnv + `"))
	if err != nil {
		pointPassed.Store(0)
		return
	}
	words := strings.Split(string(order), ",")
	nth, _ := strconv.ParseInt(words[1], 10, 64)
	if words[0] != point || pointPassed.Add(1) != nth {
		return
	}
	signal, _ := strconv.Atoi(words[2])
	_, _ = os.Stderr.WriteString("{\"msg\":\"` + pointReached + `\"}\n")
	_ = syscall.Kill(os.Getpid(), syscall.Signal(signal))
	if syscall.Signal(signal) == syscall.SIGKILL {
		select {}
	}
	time.Sleep(100 * time.Millisecond) // a stop reaches this thread last
}
`

const pointReached = "fault point reached"

// order has the daemon send itself a signal when it comes to p for the n-th time from
// now on; withdraw ends that.
func (r *rig) order(t *testing.T, p point, n int, signal syscall.Signal) (withdraw func()) {
	t.Helper()
	draft := r.orders() + ".new"
	if err := os.WriteFile(draft, fmt.Appendf(nil, "%s,%d,%d", p, n, signal), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(draft, r.orders()); err != nil { // never half an order
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(r.orders()); err != nil {
			t.Error(err)
		}
	}
}

// orders is the file of pointEnv.
func (r *rig) orders() string { return filepath.Join(r.dir, "orders") }

// TestPointsAreNotBuiltIn: a normal build knows nothing of the points.
func TestPointsAreNotBuiltIn(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{buildPatched(t, pointPatches...): true, build(t): false} {
		program, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(program, []byte(pointEnv)); got != want {
			t.Errorf("%s in the program: %t, want %t", pointEnv, got, want)
		}
	}
}
