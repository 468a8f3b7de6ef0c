package fault_test

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// leaving is the point at which a client hangs up.
type leaving uint8

// The points.
const (
	inTheHead leaving = iota
	afterTheHead
	inTheBody
	afterTheBody  // at once, with what is in flight
	beforeTheWord // a little later, before or just after the answer
	leavings
)

func (p leaving) String() string {
	return [...]string{"in the head", "after the head", "in the body", "right after the body", "before the answer"}[p]
}

// hangUp has clients leave at each point, with a FIN or a RST, while others ask for
// other slots. The outcome of a slot is not theirs to decide: the same bytes get the
// signature next, the card makes one in all, and other bytes get none.
func (l *load) hangUp(t *testing.T) {
	began := time.Now()
	times := 0
	for ; quarter.goesOn(began, times, 10*int(leavings)) && times < 100*slotsOfACampaign; times++ {
		l.leaveOnce(t, leaving(times%int(leavings)))
		if t.Failed() {
			t.Fatalf("time %d, seed %d", times+1, *campaignSeed)
		}
	}
	t.Logf("%d clients hung up: %.0f a second", times, float64(times)/time.Since(began).Seconds())
}

func (l *load) leaveOnce(t *testing.T, p leaving) {
	t.Helper()
	gone, beside := ask{l.slot(), 0}, ask{l.slot(), 0}
	reset, pause := l.random.IntN(2) == 0, time.Duration(l.random.Int64N(int64(3*time.Millisecond)))
	cut := l.random.IntN(1 << 20)
	l.oracle.asks(gone.payload())
	var both sync.WaitGroup
	var other answer
	both.Go(func() { other = l.post(l.d, beside) })
	if err := l.d.leave(gone, p, cut, reset, pause); err != nil {
		t.Errorf("%v: %v", p, err)
	}
	both.Wait()
	if other.status != http.StatusOK {
		t.Errorf("beside a client that hung up %v: %v, want a signature", p, other)
	}
	if p < afterTheBody {
		if made := l.madeFor(gone); made != 0 {
			t.Errorf("%v: the card made %d signatures for a request that never came", p, made)
		}
	}
	first := l.post(l.d, gone)
	conflict := l.post(l.d, ask{gone.mark, 1})
	again := l.post(l.d, gone)
	if first.status != http.StatusOK || again != first || conflict.status != http.StatusConflict {
		t.Errorf("after one who hung up %v: %v, other bytes %v, again %v; want a signature, 409, the same", p, first, conflict, again)
	}
	if made := l.madeFor(gone); made != 1 {
		t.Errorf("%v: the card made %d signatures for the payload, want 1", p, made)
	}
	countRequests(1) // post counts the others
	total.happened(partLoad, "client hangs up "+p.String(), "the next one with the same bytes got the signature, other bytes none")
}

// leave sends a request as far as p, and hangs up.
func (d *daemon) leave(a ask, p leaving, cut int, reset bool, pause time.Duration) error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		return err
	}
	body := `"` + hex.EncodeToString(a.payload()) + `"`
	head := fmt.Sprintf("POST /keys/%v HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", a.mark.Key, len(body))
	part := head + body
	switch p {
	case inTheHead:
		part = part[:1+cut%(len(head)-1)]
	case afterTheHead:
		part = head
	case inTheBody:
		part = part[:len(head)+1+cut%(len(body)-1)]
	case afterTheBody, beforeTheWord, leavings:
	}
	if _, err := conn.Write([]byte(part)); err != nil {
		return err
	}
	if p == beforeTheWord {
		for start := time.Now(); time.Since(start) < pause; { // a timer is late by more
		}
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	return conn.Close()
}
