package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pawl/server"
	"pawl/signer/hsm"
	"pawl/softcard/cardtest"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// TestSignatureThatADiskHeld: a signature is sent even if the disk held it beyond every deadline of
// the request.
func TestSignatureThatADiskHeld(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{slowDisk: 11 * time.Second})
	payload := tezostest.Attestation(77, 0, 1)
	got := rig.post(t, 0, payload)
	checkSigned(t, got, rig.keys[0], payload)
	if _, fields := rig.log.line(t, got.id()); fields["elapsed"].(float64) < 11_000 {
		t.Errorf("elapsed %v ms, want that of the disk", fields["elapsed"])
	}
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, foreign := newAuthority(t, dir, "ca"), newAuthority(t, dir, "foreign")
	cert, key := ca.leaf(t, "server")
	client := loadPair(t, ca, "client")
	stranger := loadPair(t, foreign, "stranger")
	rig := newRig(t, setup{})
	listenTLS := func(clientCA string) string {
		cfg, err := server.TLSConfig(cert, key, clientCA)
		if err != nil {
			t.Fatal(err)
		}
		return "https://" + serve(t, rig.server, rig.server.Handler(), cfg)
	}
	open, guarded := listenTLS(""), listenTLS(ca.file("ca"))
	pool := x509.NewCertPool()
	root, err := os.ReadFile(ca.file("ca"))
	if err != nil || !pool.AppendCertsFromPEM(root) {
		t.Fatal(err)
	}
	tests := []struct {
		name, url string
		cfg       *tls.Config
		served    bool
	}{
		{"no client certificate asked for", open, &tls.Config{}, true},
		{"TLS 1.2", open, &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"TLS 1.1", open, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"good client certificate", guarded, &tls.Config{Certificates: []tls.Certificate{client}}, true},
		{"good client certificate, TLS 1.2", guarded, &tls.Config{Certificates: []tls.Certificate{client}, MaxVersion: tls.VersionTLS12}, true},
		{"no client certificate", guarded, &tls.Config{}, false},
		{"certificate of another authority", guarded, &tls.Config{Certificates: []tls.Certificate{stranger}}, false},
	}
	payload := tezostest.Attestation(1, 0, 1)
	for _, tt := range tests {
		tt.cfg.RootCAs = pool
		tt.cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		transport := &http.Transport{TLSClientConfig: tt.cfg, DisableKeepAlives: true, ForceAttemptHTTP2: true}
		for n := range 2 { // the second request resumes the session
			client := &http.Client{Transport: transport}
			res, err := client.Post(tt.url+rig.keyPath(0), "", strings.NewReader(quoted(payload)))
			if !tt.served {
				if err == nil {
					t.Errorf("%s: answered with %s", tt.name, res.Status)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			got, err := read(res)
			if err != nil {
				t.Fatal(err)
			}
			checkSigned(t, got, rig.keys[0], payload)
			if resumed := res.TLS.DidResume; resumed != (n == 1) || res.ProtoMajor != 1 {
				t.Errorf("%s: request %d resumed %v, HTTP/%d, want resumption and HTTP/1.1", tt.name, n, resumed, res.ProtoMajor)
			}
		}
	}
	if got := do(t, "GET", strings.Replace(open, "https", "http", 1)+"/authorized_keys", ""); got.status != 400 {
		t.Errorf("HTTP on the HTTPS port: %d %s, want 400", got.status, got.body)
	}
}

func loadPair(t *testing.T, ca *authority, name string) tls.Certificate {
	t.Helper()
	cert, key := ca.leaf(t, name)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// The bounds are those that the documentation names. TestSlowAndEndlessRequests shows that they
// work.
func TestBounds(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	got := rig.server.HTTPServer()
	told := do(t, "GET", rig.url+"/authorized_keys", "").header.Get("Keep-Alive")
	want := map[string][2]any{
		"ReadHeaderTimeout": {got.ReadHeaderTimeout, 5 * time.Second},
		"ReadTimeout":       {got.ReadTimeout, 10 * time.Second},
		"WriteTimeout":      {got.WriteTimeout, 10 * time.Second},
		"IdleTimeout":       {got.IdleTimeout, 3 * time.Second},
		"Keep-Alive":        {told, fmt.Sprintf("timeout=%.0f", got.IdleTimeout.Seconds())},
		"MaxHeaderBytes":    {got.MaxHeaderBytes, 8192},
		"HTTP/1":            {got.Protocols.HTTP1(), true},
		"HTTP/2":            {got.Protocols.HTTP2(), false},
	}
	for name, pair := range want {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, want %v", name, pair[0], pair[1])
		}
	}
}

// A slow or endless request is cut off, and other clients are served meanwhile.
func TestSlowAndEndlessRequests(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	addr := strings.TrimPrefix(rig.url, "http://")
	post := "POST " + rig.keyPath(0) + " HTTP/1.1\r\nHost: x\r\n"
	flood := strings.Repeat("X-Flood: "+strings.Repeat("y", 50)+"\r\n", 20)
	longLine := "GET /" + strings.Repeat("a", 20000) + " HTTP/1.1\r\nHost: x\r\n\r\n"
	chunk := "1000\r\n" + strings.Repeat("0", 0x1000) + "\r\n"
	tests := []struct {
		name, begin string
		repeat      string // sent until the server closes
		want        string // the status line, "" for none
		orReset     bool   // the connection may be reset before the answer is read
	}{
		{"no byte", "", "", "", false},
		{"half a header", "GET /authorized_keys HTTP/1.1\r\nHost:", "", "HTTP/1.1 408 ", false},
		{"header by drops", "GET /authorized_keys HTTP/1.1\r\n", "X: y\r\n", "HTTP/1.1 408 ", true},
		{"header flood", "GET /authorized_keys HTTP/1.1\r\n", flood, "HTTP/1.1 431 ", true},
		{"long request line", longLine, "", "HTTP/1.1 431 ", true},
		{"body that never comes", post + "Content-Length: 100\r\n\r\n", "", "HTTP/1.1 400 ", false},
		{"body that stops", post + "Content-Length: 100\r\n\r\n\"13", "", "HTTP/1.1 400 ", false},
		{"length over the limit", post + "Content-Length: 10000000000\r\n\r\n\"13", "", "HTTP/1.1 413 ", false},
		{"chunks without end", post + "Transfer-Encoding: chunked\r\n\r\n", chunk, "HTTP/1.1 413 ", true},
		{"chunks by drops", post + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n0\r\n", "HTTP/1.1 400 ", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			got := abuse(t, addr, tt.begin, tt.repeat)
			if elapsed := time.Since(start); elapsed > 30*time.Second {
				t.Errorf("held a connection for %v", elapsed)
			}
			if tt.orReset && got == "" {
				return
			}
			if !strings.HasPrefix(got, tt.want) || tt.want == "" && strings.Contains(got, " 200 ") {
				t.Errorf("got %.100q, want %q", got, tt.want)
			}
		})
	}
	checkSigned(t, rig.post(t, 0, tezostest.Attestation(1, 0, 1)), rig.keys[0], tezostest.Attestation(1, 0, 1))
}

// abuse sends begin, then repeat until the server closes the connection. It returns the answer.
func abuse(t *testing.T, addr, begin, repeat string) string {
	t.Helper()
	conn := dial(t, addr)
	if _, err := io.WriteString(conn, begin); err != nil {
		return ""
	}
	answered := make(chan string, 1)
	go func() {
		answer, _ := io.ReadAll(conn) // a reset connection is an answer too
		answered <- string(answer)
	}()
	pause := 20 * time.Millisecond
	if len(repeat) > 100 {
		pause = 0
	}
	for {
		select {
		case answer := <-answered:
			return answer
		case <-time.After(pause):
		case <-time.After(time.Minute):
			t.Fatal("the server waits for ever")
		}
		if repeat != "" {
			if _, err := io.WriteString(conn, repeat); err != nil {
				return <-answered
			}
		}
	}
}

// dialTLS opens a TLS connection, whose certificate it does not judge.
func dialTLS(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the server may have closed it
	return conn
}

// ping asks for the authorized keys and leaves the connection open.
func ping(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.WriteString(conn, "GET /authorized_keys HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Error(err)
	}
	var answer bytes.Buffer
	for !strings.HasSuffix(answer.String(), "{}\n") {
		if _, err := io.CopyN(&answer, conn, 1); err != nil {
			t.Errorf("after %q: %v", answer.String(), err)
			return
		}
	}
}

// A stop under load answers every request that had reached the handler, in full, and Serve returns
// no error. Each request comes on a new connection.
func TestStopAnswersRequestsInFlight(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{wrap: func(key hsm.Key) hsm.Key {
		return fakeKey{key, func(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
			time.Sleep(50 * time.Millisecond)
			return key.Sign(ctx, m)
		}}
	}})
	var accepted, answered, level atomic.Int32
	handler := rig.server.Handler()
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accepted.Add(1)
		handler.ServeHTTP(w, r)
	})
	ln := cardtest.Listen(t, "127.0.0.1:0")
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- rig.server.Serve(ctx, server.Listener{Listener: ln, Handler: counted}) }()

	url := "http://" + ln.Addr().String() + rig.keyPath(0)
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			for {
				got, err := try("POST", url, quoted(tezostest.Attestation(level.Add(1), 0, 1)))
				if err != nil && ctx.Err() != nil { // no longer accepted
					return
				}
				if err != nil {
					continue
				}
				answered.Add(1)
				if got.status != 200 && got.status != 409 && got.status != 503 {
					t.Errorf("got %d %q", got.status, got.body)
				}
				if !strings.HasSuffix(got.body, "\n") {
					t.Errorf("answer %q is cut short", got.body)
				}
			}
		})
	}
	for answered.Load() < 50 {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	clients.Wait()
	t.Logf("%d requests accepted, %d answered", accepted.Load(), answered.Load())
	if accepted.Load() != answered.Load() {
		t.Errorf("%d requests reached the handler, %d were answered", accepted.Load(), answered.Load())
	}
}

func TestServeFailsOnAClosedListener(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	ln := cardtest.Listen(t, "127.0.0.1:0")
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	err := rig.server.Serve(t.Context(), server.Listener{Listener: ln, Handler: rig.server.Handler()})
	if err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("error %v, want one that names the address", err)
	}
}

// Idle keep-alive connections do not hold up a stop.
func TestStopClosesIdleConnections(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	ln := cardtest.Listen(t, "127.0.0.1:0")
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- rig.server.Serve(ctx, server.Listener{Listener: ln, Handler: rig.server.Handler()}) }()
	conn := dial(t, ln.Addr().String())
	ping(t, conn)
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("the idle connection is still open: read %d bytes", n)
	}
}
