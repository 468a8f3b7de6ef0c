package fault_test

import (
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attack goes on until it is stopped, and says once that it is under way.
type attack struct {
	name string
	run  func(l *load, underway func(), stop <-chan struct{})
}

var attacks = []attack{
	{"slow heads and bodies from 2,000 sockets", (*load).slowSockets},
	{"floods of bodies and heads", (*load).floods},
}

// baker is an honest client, who asks for one signature after the other.
type baker struct {
	name      string
	keepAlive bool // octez-baker keeps no connection: it opens one for each request
}

var bakers = []baker{{"a kept connection", true}, {"new connections", false}}

// latency measures how long honest requests take while the daemon is left alone and
// while it is attacked, in turns, so that what else happens on the machine is in both.
func (l *load) latency(t *testing.T) {
	wantDescriptors(t, 5000)
	for _, a := range attacks {
		for _, b := range bakers {
			l.staysQuick(t, a, b)
		}
	}
}

// wantDescriptors skips where this process may not open so many.
func wantDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < n {
		t.Skipf("at most %d descriptors, want %d", limit.Cur, n)
	}
}

// staysQuick wants the 99th percentile under an attack within a factor of the quiet one. A
// campaign has time to measure again where a machine had other things to do, and to see
// twice that it is so; the short form only says that nobody is locked out.
func (l *load) staysQuick(t *testing.T, a attack, b baker) {
	t.Helper()
	requests, tries, wanted, factor, slack := 150, 3, 1, 10.0, 250*time.Millisecond
	if *campaignTime > 0 {
		requests, tries, wanted, factor, slack = 1000, 6, 2, 2, 0
	}
	good := 0
	var said []string
	for range tries {
		quiet, attacked := l.measure(t, a, b, requests)
		said = append(said, fmt.Sprintf("%v quiet, %v attacked (%.1f times)", quiet, attacked, float64(attacked)/float64(quiet)))
		if attacked <= max(time.Duration(factor*float64(quiet)), slack) {
			if good++; good == wanted {
				break
			}
		}
	}
	t.Logf("p99 with %s under %s: %v", b.name, a.name, said)
	if good < wanted {
		t.Errorf("p99 with %s under %s: %v; want at most %.0f times the quiet one", b.name, a.name, said, factor)
	}
	total.happened(partLoad, a.name+", "+b.name, fmt.Sprintf("p99 %s", said[len(said)-1]))
}

// measure takes both by turns, and returns the 99th percentiles.
func (l *load) measure(t *testing.T, a attack, b baker, requests int) (quiet, attacked time.Duration) {
	t.Helper()
	const turns = 3
	var quietTimes, attackedTimes []time.Duration
	client := &daemon{url: l.d.url, client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: !b.keepAlive}}}
	defer client.client.CloseIdleConnections()
	runtime.GC() // what earlier tests left would be paid for by the first
	l.times(t, client, turns)
	for range turns {
		quietTimes = append(quietTimes, l.times(t, client, requests/turns)...)
		underway, stop := make(chan struct{}), make(chan struct{})
		var attacking sync.WaitGroup
		attacking.Go(func() { a.run(l, sync.OnceFunc(func() { close(underway) }), stop) })
		<-underway
		attackedTimes = append(attackedTimes, l.times(t, client, requests/turns)...)
		l.wantBounded(t)
		close(stop)
		attacking.Wait()
	}
	return percentile(quietTimes, 99), percentile(attackedTimes, 99)
}

func percentile(times []time.Duration, n int) time.Duration {
	slices.Sort(times)
	return times[(len(times)*n-1)/100].Round(10 * time.Microsecond)
}

// times has n new slots signed, one after the other, or as many as begin within two seconds.
func (l *load) times(t *testing.T, d *daemon, n int) (took []time.Duration) {
	t.Helper()
	for start := time.Now(); len(took) < n && time.Since(start) < 2*time.Second; {
		began := time.Now()
		a := l.post(d, ask{l.slot(), 0})
		took = append(took, time.Since(began))
		if a.status != http.StatusOK {
			t.Fatalf("%v, want a signature", a)
		}
	}
	return took
}

// slowSockets keeps 2,000 connections open, half of them in the head of a request and
// half in its body, and sends a byte on each every second. What the daemon closes is
// opened again.
func (l *load) slowSockets(underway func(), stop <-chan struct{}) {
	const sockets = 2000
	conns := make([]net.Conn, sockets)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	for {
		began := time.Now()
		for i := range conns {
			conns[i] = l.slowSocket(conns[i], i%2 == 0)
		}
		underway()
		select {
		case <-stop:
			return
		case <-time.After(time.Second - time.Since(began)):
		}
	}
}

// slowSocket sends a byte, or opens a connection where none is.
func (l *load) slowSocket(conn net.Conn, inTheHead bool) net.Conn {
	if conn != nil {
		if _, err := conn.Write([]byte("0")); err == nil {
			return conn
		}
		_ = conn.Close()
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.d.url, "http://"))
	if err != nil {
		return nil
	}
	start := head(l.keys[0].Hash().String(), "Content-Length: 1000\r\n") + `"`
	if inTheHead {
		start = "POST /keys/0"
	}
	_, _ = conn.Write([]byte(start)) // the next write tells
	return conn
}

// floods sends the abuses that are not slow, two at a time, with a pause after each: an
// attacker who takes the processors of the machine says nothing of the daemon.
func (l *load) floods(underway func(), stop <-chan struct{}) {
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() {
			for n := i; ; n++ {
				if a := abuses[n%len(abuses)]; !a.slow {
					_, _ = l.d.suffers(a, l.keys[0].Hash().String()) // judged by abuse
				}
				underway()
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	all.Wait()
}
