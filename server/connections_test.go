package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pawl/server"
	"pawl/signer/hsm"
	"pawl/softcard/cardtest"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// narrow serves the rig at one more address, with few connections.
func (r *rig) narrow(t *testing.T, limit int) (addr string) {
	t.Helper()
	return serveAt(t, r.server, server.Listener{Name: "narrow", Handler: r.server.Handler(), Connections: limit})
}

// metric returns the value of a metric, by its name and labels as they are served.
func (r *rig) metric(t *testing.T, name string) int {
	t.Helper()
	want := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\d+)$`)
	var found []string
	for start := time.Now(); found == nil; { // a listener may be about to be served
		found = want.FindStringSubmatch(do(t, "GET", r.admin+"/metrics", "").body)
		if time.Since(start) > 10*time.Second {
			t.Fatalf("metrics lack %s", name)
		}
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// closed returns how many connections of a listener were closed for a reason.
func (r *rig) closed(t *testing.T, listener, reason string) int {
	t.Helper()
	return r.metric(t, fmt.Sprintf("pawl_connections_closed_total{listener=%q,reason=%q}", listener, reason))
}

// count returns how many log lines have all these texts.
func (b *buffer) count(texts ...string) (n int) {
lines:
	for _, line := range b.Lines() {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		n++
	}
	return n
}

// send opens a connection and sends text on it.
func send(t *testing.T, addr, text string) net.Conn {
	t.Helper()
	conn := dial(t, addr)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// dialFrom opens a connection from another address of this host.
func dialFrom(t *testing.T, from, addr string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the server may have closed it
	return conn
}

// isOpen reports whether a connection that is owed nothing is still open.
func isOpen(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// flood is pipelined requests whose answers fill every buffer between a client and the server.
var flood = strings.Repeat("GET /authorized_keys HTTP/1.1\r\nHost: x\r\n\r\n", 100_000)

// TestWaitingConnectionsGiveWay: in whatever way a stranger holds every connection of a listener,
// new ones are served, and one warning tells of it.
func TestWaitingConnectionsGiveWay(t *testing.T) {
	t.Parallel()
	const limit = 8
	rig := newRig(t, setup{})
	cert, key := newAuthority(t, t.TempDir(), "ca").leaf(t, "server")
	secure, err := server.TLSConfig(cert, key, "")
	if err != nil {
		t.Fatal(err)
	}
	post := "POST " + rig.keyPath(0) + " HTTP/1.1\r\nHost: x\r\n"
	tests := []struct {
		name, begin string
		hold        func(conn net.Conn)
	}{
		{"idle", "", func(conn net.Conn) { ping(t, conn) }},
		{"no byte", "", nil},
		{"half a head", "GET /authorized_keys HTTP/1.1\r\nHo", nil},
		{"half a body", post + "Content-Length: 100\r\n\r\n\"13", nil},
		{"no body", "GET /authorized_keys HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", nil},
		{"half a chunk", post + "Transfer-Encoding: chunked\r\n\r\n10\r\n\"", nil},
		{"answers not read", "", func(conn net.Conn) { go func() { _, _ = io.WriteString(conn, flood) }() }},
		{"half a handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", nil},
	}
	var level atomic.Int32
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at := server.Listener{Name: tt.name, Handler: rig.server.Handler(), Connections: limit}
			if tt.name == "half a handshake" {
				at.TLS = secure
			}
			addr := serveAt(t, rig.server, at)
			for range limit {
				conn := send(t, addr, tt.begin)
				if tt.hold != nil {
					tt.hold(conn)
				}
			}
			for range 3 {
				askAcross(t, rig, addr, at.TLS != nil, level.Add(1))
			}
			if rig.closed(t, tt.name, "full")+rig.closed(t, tt.name, "share") == 0 {
				t.Error("no connection gave way: the signatures waited for something else")
			}
			here := `"listener":"` + tt.name + `"`
			full, share := rig.log.count(`"reason":"full"`, here), rig.log.count(`"reason":"share"`, here)
			if full > 1 || share > 1 || full+share == 0 {
				t.Errorf("%d and %d warnings, want one", full, share)
			}
		})
	}
}

// askAcross asks for a signature at another address of the rig.
func askAcross(t *testing.T, rig *rig, addr string, secure bool, level int32) {
	t.Helper()
	if secure { // any answer will do: a handshake is through
		conn := dialTLS(t, addr)
		ping(t, conn)
		return
	}
	payload := tezostest.Attestation(level, 0, 1)
	got := do(t, "POST", "http://"+addr+rig.keyPath(0), quoted(payload))
	if got.status != 200 && got.status != 409 { // subtests ask in any order
		t.Errorf("level %d: %d %s", level, got.status, got.body)
	}
}

// TestThousandsOfConnections: the default limit holds, and more connections than it has keep no
// baker out.
func TestThousandsOfConnections(t *testing.T) {
	t.Parallel()
	const many = server.DefaultConnections + 100
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur < 2*many+1000 { // both ends are here
		t.Skipf("%d files may be open, the test needs %d: %v", files.Cur, 2*many+1000, err)
	}
	rig := newRig(t, setup{})
	addr := rig.narrow(t, 0)
	for i := range many {
		dialFrom(t, fmt.Sprintf("127.0.0.%d", i%2+2), addr)
	}
	for level := range int32(3) {
		payload := tezostest.Attestation(level+1, 0, 1)
		checkSigned(t, do(t, "POST", "http://"+addr+rig.keyPath(0), quoted(payload)), rig.keys[0], payload)
	}
	if limit := rig.metric(t, `pawl_connections_limit{listener="narrow"}`); limit != server.DefaultConnections {
		t.Errorf("limit %d, want %d", limit, server.DefaultConnections)
	}
	if n := rig.closed(t, "narrow", "full"); n == 0 {
		t.Error("no connection gave way")
	}
}

// TestRequestsInFlightDoNotGiveWay: with nothing but requests in flight, a new connection waits.
func TestRequestsInFlightDoNotGiveWay(t *testing.T) {
	t.Parallel()
	const limit = 3
	held := make(chan struct{})
	rig := newRig(t, setup{wrap: func(key hsm.Key) hsm.Key {
		return fakeKey{key, func(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
			<-held
			return key.Sign(ctx, m)
		}}
	}})
	addr := rig.narrow(t, limit)
	payload := tezostest.Attestation(1, 0, 1)
	answers := make(chan reply, limit)
	for range limit {
		go func() { answers <- do(t, "POST", "http://"+addr+rig.keyPath(0), quoted(payload)) }()
	}
	for start := time.Now(); rig.metric(t, `pawl_connections{listener="narrow"}`) < limit; {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the requests do not arrive")
		}
	}
	time.Sleep(100 * time.Millisecond) // now their payloads are in
	waiting := make(chan struct{})
	go func() { defer close(waiting); ping(t, dial(t, addr)) }()
	select {
	case <-waiting:
		t.Error("a connection over the limit was served beside the requests in flight")
	case <-time.After(300 * time.Millisecond):
	}
	close(held)
	for range limit {
		checkSigned(t, <-answers, rig.keys[0], payload)
	}
	<-waiting
}

// TestSourceThatOpensTheMost gives way itself: another source's idle connection is older, and
// stays. What comes from it goes on.
func TestSourceThatOpensTheMost(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	addr := rig.narrow(t, 16)
	honest := dialFrom(t, "127.0.0.1", addr)
	ping(t, honest)
	slow := dialFrom(t, "127.0.0.3", addr)
	if _, err := io.WriteString(slow, "GET /authorized_keys HTTP/1.1\r\nHo"); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		dialFrom(t, "127.0.0.2", addr)
	}
	for start := time.Now(); rig.closed(t, "narrow", "share") < 50-12; {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%d of the stranger's connections were closed, want %d: it has its share of 12",
				rig.closed(t, "narrow", "share"), 50-12)
		}
	}
	if !isOpen(t, honest) {
		t.Error("the connection of another source was closed")
	}
	if _, err := io.WriteString(slow, "st: x\r\n\r\n"); err != nil {
		t.Error(err)
	}
	if answer, err := io.ReadAll(io.LimitReader(slow, 15)); err != nil || string(answer) != "HTTP/1.1 200 OK" {
		t.Errorf("a slow request of another source: %q %v", answer, err)
	}
	if open := rig.metric(t, `pawl_connections{listener="narrow"}`); open > 14 {
		t.Errorf("%d connections open, want 14", open)
	}
}

// TestManySources: with no source that has many, the one that has waited longest gives way, and
// idle ones before those that may be asking.
func TestManySources(t *testing.T) {
	t.Parallel()
	const limit = 64
	rig := newRig(t, setup{})
	addr := rig.narrow(t, limit)
	asking := dialFrom(t, "127.0.1.1", addr)
	resting := dialFrom(t, "127.0.1.2", addr)
	ping(t, resting)
	for i := range limit - 2 {
		dialFrom(t, fmt.Sprintf("127.0.2.%d", i+1), addr)
	}
	ping(t, dialFrom(t, "127.0.1.3", addr)) // one too many
	if isOpen(t, resting) {
		t.Error("the idle connection is open, and one that asks gave way")
	}
	if !isOpen(t, asking) {
		t.Error("a connection that asks gave way though another was idle")
	}
	for i := range 3 {
		ping(t, dialFrom(t, fmt.Sprintf("127.0.1.%d", i+4), addr))
	}
	if full := rig.closed(t, "narrow", "full"); full != 4 {
		t.Errorf("%d connections gave way, want 4", full)
	}
}

// TestWhichGivesWay: an idle connection does first, then the oldest whose answer nobody takes, then the
// oldest whose request should have arrived, after a second if an answer is on its way. One that is busy
// shields none behind it.
func TestWhichGivesWay(t *testing.T) {
	t.Parallel()
	const young, late, old = time.Millisecond, time.Second / 2, time.Second
	type c = server.Waiting
	for name, tt := range map[string]struct {
		opened []server.Waiting // in this order
		want   int              // -1: none
		soon   bool
	}{
		"the one idle for longest":        {[]c{{server.Reading, old}, {server.Idle, old}, {server.Idle, young}}, 1, false},
		"the oldest":                      {[]c{{server.Writing, old}, {server.Reading, old}}, 0, false},
		"unread before arriving":          {[]c{{server.Reading, old}, {server.ReadingBody, old}, {server.Writing, old}}, 2, false},
		"the older of two arriving":       {[]c{{server.Reading, old}, {server.Reading, old}, {server.InFlight, young}}, 0, false},
		"no request in flight":            {[]c{{server.InFlight, old}, {server.ReadingBody, old}}, 1, false},
		"none but requests in flight":     {[]c{{server.InFlight, old}, {server.InFlight, old}}, -1, false},
		"soon":                            {[]c{{server.InFlight, old}, {server.Reading, young}}, -1, true},
		"soon, when its answer is out":    {[]c{{server.InFlight, young}}, -1, true},
		"the one behind a busy one":       {[]c{{server.Reading, young}, {server.InFlight, young}, {server.Reading, old}}, 2, false},
		"an arriving one is spared":       {[]c{{server.Reading, late}, {server.Writing, young}}, -1, true},
		"but not for another arriving":    {[]c{{server.Reading, late}, {server.ReadingBody, young}}, 0, false},
		"no answer that is being written": {[]c{{server.Writing, young}, {server.ReadingBody, old}}, 1, false},
	} {
		got, soon := server.GivesWay(tt.opened...)
		if got != tt.want || soon != tt.soon {
			t.Errorf("%s: %d, soon %v; want %d, %v", name, got, soon, tt.want, tt.soon)
		}
	}
}

// TestFirstByte: a connection has five seconds for its first byte. One that sends none is counted
// and told of.
func TestFirstByte(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	addr := rig.narrow(t, 16)
	late, silent := dial(t, addr), dial(t, addr)
	gone := dial(t, addr)
	if err := gone.Close(); err != nil { // a probe of the port is no trouble
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	ping(t, late)
	if n, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes, %v; want the end of the connection", n, err)
	}
	if n := rig.closed(t, "narrow", "silent"); n != 1 {
		t.Errorf("%d connections counted, want 1", n)
	}
	if n := rig.log.count(`"reason":"silent"`, silent.LocalAddr().String()); n != 1 {
		t.Errorf("%d lines tell of it, want 1", n)
	}
}

// TestStopDoesNotWaitForStrangers: requests that have not arrived whole, and answers that nobody
// reads, do not stretch a stop. A request in flight is answered.
func TestStopDoesNotWaitForStrangers(t *testing.T) {
	t.Parallel()
	const flight = 3 * time.Second
	rig := newRig(t, setup{slowDisk: flight})
	ln := cardtest.Listen(t, "127.0.0.1:0")
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- rig.server.Serve(ctx, server.Listener{Listener: ln, Handler: rig.server.Handler()}) }()
	for _, begin := range []string{
		"", "GET /authorized_keys HTTP/1.1\r\nHo",
		"POST " + rig.keyPath(0) + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n\"13",
		"GET /authorized_keys HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
		flood,
	} {
		conn := dial(t, ln.Addr().String())
		go func() { _, _ = io.WriteString(conn, begin) }() // as far as the server reads
	}
	payload := tezostest.Attestation(2, 0, 1)
	answered := make(chan reply, 1)
	go func() { answered <- do(t, "POST", "http://"+ln.Addr().String()+rig.keyPath(0), quoted(payload)) }()
	time.Sleep(time.Second)
	start := time.Now()
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if took := time.Since(start); took > flight+time.Second {
		t.Errorf("the stop took %v, with a flight of %v", took, flight)
	}
	checkSigned(t, <-answered, rig.keys[0], payload)
}

// failing is a listener whose Accept fails some times first.
type failing struct {
	net.Listener
	err   error
	times atomic.Int32
}

func (f *failing) Accept() (net.Conn, error) {
	if f.times.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: f.err}
	}
	return f.Listener.Accept()
}

// TestAcceptFails: a listener outlives errors that pass, at a measured pace and with one line. When
// descriptors or memory are short, connections that wait give way.
func TestAcceptFails(t *testing.T) {
	t.Parallel()
	const times = 5
	for err, shed := range map[error]int{
		syscall.EMFILE: times, syscall.ENFILE: times, syscall.ENOMEM: times, syscall.ENOBUFS: times,
		syscall.EPERM: 0, syscall.EPROTO: 0,
	} {
		t.Run(err.Error(), func(t *testing.T) {
			t.Parallel()
			rig := newRig(t, setup{})
			ln := &failing{Listener: cardtest.Listen(t, "127.0.0.1:0"), err: err}
			addr := serveAt(t, rig.server, server.Listener{Listener: ln, Name: "narrow", Handler: rig.server.Handler()})
			for range 2 * times {
				ping(t, dial(t, addr)) // and is idle
			}
			ln.times.Store(times) // after the Accept that has begun
			ping(t, dial(t, addr))
			ping(t, dial(t, addr))
			if n := rig.closed(t, "narrow", "full"); n != shed {
				t.Errorf("%d connections gave way, want %d", n, shed)
			}
			if n := rig.log.count("connections cannot be accepted"); n != 1 {
				t.Errorf("%d lines, want 1", n)
			}
		})
	}
	rig := newRig(t, setup{})
	ln := &failing{Listener: cardtest.Listen(t, "127.0.0.1:0"), err: syscall.EINVAL}
	ln.times.Store(1)
	if err := rig.server.Serve(t.Context(), server.Listener{Listener: ln, Handler: rig.server.Handler()}); err == nil {
		t.Error("an error that does not pass: Serve goes on")
	}
}

// TestBuffersAreBounded: what the kernel holds of a connection does not grow with what its client
// does not read. Connections have the buffers of their listener.
func TestBuffersAreBounded(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	ln, ok := cardtest.Listen(t, "127.0.0.1:0").(*net.TCPListener)
	if !ok {
		t.Fatal("no TCP listener")
	}
	serveAt(t, rig.server, server.Listener{Listener: ln, Name: "narrow", Handler: rig.server.Handler()})
	ping(t, dial(t, ln.Addr().String()))
	raw, err := ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		for _, option := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
			if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, option); n != 32<<10 || err != nil {
				t.Errorf("buffer of %d bytes, %v; want 32 KiB", n, err)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}
