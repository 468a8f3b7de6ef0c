package server_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"pawl/server"
	"pawl/tezos/tezostest"
)

// TestUnreadableRequests: what net/http answers by itself has the form of every other refusal. It
// is logged and counted, and the connection ends.
func TestUnreadableRequests(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	addr := rig.narrow(t, 64)
	tests := []struct {
		name, request string
		status        int
		msg           string
	}{
		{"noise", "\xff\x00\xff\r\n\r\n", 400, "not a request of HTTP/1.1"},
		{"no Host", "GET /authorized_keys HTTP/1.1\r\n\r\n", 400, "not a request of HTTP/1.1: missing required Host header"},
		{"bad Host", "GET /authorized_keys HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "not a request of HTTP/1.1: malformed Host header"},
		{"bad header", "GET /authorized_keys HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", 400, "not a request of HTTP/1.1"},
		{"two lengths", "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n00", 400, "not a request of HTTP/1.1"},
		{"half a head", "GET /authorized_keys HTTP/1.1\r\nHo", 408, "head of the request did not arrive whole within 5s"},
		{"expectation", "POST /x HTTP/1.1\r\nHost: x\r\nExpect: more\r\nContent-Length: 1\r\n\r\n", 417, "expectation is not 100-continue"},
		{"long head", "GET /authorized_keys HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 20_000), 431, "head of the request over 8192 bytes"},
		{"encoding", "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "transfer encoding is not chunked"},
		{"HTTP/3", "GET /authorized_keys HTTP/3.0\r\nHost: x\r\n\r\n", 505, "version of HTTP is neither 1.0 nor 1.1: unsupported protocol version"},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404, "unknown path: known are "},
		{"CONNECT", "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n", 404, "unknown path: known are "},
		{"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404, "unknown path: known are "},
	}
	for _, tt := range tests {
		for _, before := range []string{"", "GET /authorized_keys HTTP/1.1\r\nHost: x\r\n\r\n"} {
			t.Run(fmt.Sprintf("%s, after %d bytes", tt.name, len(before)), func(t *testing.T) {
				t.Parallel()
				conn := send(t, addr, before+tt.request)
				answers := bufio.NewReader(conn)
				if before != "" {
					if got := answerOf(t, answers); got.status != 200 {
						t.Fatalf("the request before: %d", got.status)
					}
				}
				got := answerOf(t, answers)
				msg := got.refusal(t)
				if got.status != tt.status || !strings.HasPrefix(msg, tt.msg) {
					t.Errorf("got %d %q, want %d %q", got.status, msg, tt.status, tt.msg)
				}
				if _, err := answers.ReadByte(); !errors.Is(err, io.EOF) {
					t.Errorf("after the answer: %v, want the end of the connection", err)
				}
				if _, fields := rig.log.line(t, got.id()); fields["status"] != float64(tt.status) ||
					fields["client"] != conn.LocalAddr().String() || fields["reason"] != msg {
					t.Errorf("log line %v, want status %d, client %v and the reason", fields, tt.status, conn.LocalAddr())
				}
			})
		}
	}
	t.Cleanup(func() { // after the subtests
		for status, want := range map[int]int{400: 10, 408: 2, 417: 2, 431: 2, 501: 2, 505: 2} {
			name := fmt.Sprintf("pawl_unreadable_requests_total{listener=\"narrow\",status=\"%d\"}", status)
			if got := rig.metric(t, name); got != want {
				t.Errorf("%s is %d, want %d", name, got, want)
			}
		}
	})
}

// answerOf reads one answer.
func answerOf(t *testing.T, from *bufio.Reader) reply {
	t.Helper()
	res, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	got, err := read(res)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestAmbiguousLength: a request whose end two readers could see at different places is answered,
// and ends its connection: what follows is not taken for a request.
func TestAmbiguousLength(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	addr := strings.TrimPrefix(rig.url, "http://")
	payload := tezostest.Attestation(1, 0, 1)
	body := strings.TrimSpace(quoted(payload))
	chunks := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	post := "POST " + rig.keyPath(0)
	for name, head := range map[string]string{
		"length and chunks": post + " HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
		"chunks and length": post + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 400\r\n\r\n",
		"chunks":            post + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"chunks of HTTP/1.0": post + " HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n" +
			"Content-Length: 0\r\n\r\n",
	} {
		answers := bufio.NewReader(send(t, addr, head+chunks+"GET /authorized_keys HTTP/1.1\r\nHost: x\r\n\r\n"))
		got := answerOf(t, answers)
		if strings.Contains(name, "1.0") {
			if got.status != 400 {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
		} else {
			checkSigned(t, got, rig.keys[0], payload)
		}
		if rest, _ := io.ReadAll(answers); len(rest) > 0 { // a reset is an end too
			t.Errorf("%s: after the answer %.60q, want the end of the connection", name, rest)
		}
	}
}

// TestAdminIsAskedByAddress: a web page that gives its name the address of the admin listener
// learns nothing.
func TestAdminIsAskedByAddress(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	for host, want := range map[string]int{
		"127.0.0.1:9732": 200, "127.0.0.1": 200, "[::1]:9732": 200, "[::1]": 200, "localhost": 200, "LOCALHOST:9732": 200,
		"192.168.1.20:9732": 200, "": 200,
		"evil.example": 403, "evil.example:9732": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example:9732": 403,
		"pawl": 403, "evil.example:127.0.0.1": 403,
	} {
		for _, path := range []string{"/healthz", "/metrics", "/ratchet"} {
			request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
			if host == "" {
				request = "GET " + path + " HTTP/1.0\r\n\r\n"
			}
			conn := send(t, strings.TrimPrefix(rig.admin, "http://"), request)
			got := answerOf(t, bufio.NewReader(conn))
			if got.status != want {
				t.Errorf("%s of %q: %d %.80q, want %d", path, host, got.status, got.body, want)
			}
			if want == 403 && !strings.Contains(got.refusal(t), "by IP address or as localhost, not as") {
				t.Errorf("%q: %s", host, got.body)
			}
		}
	}
}

// TestCiphers: TLS 1.2 is spoken with authenticated encryption only.
func TestCiphers(t *testing.T) {
	t.Parallel()
	cert, key := newAuthority(t, t.TempDir(), "ca").leaf(t, "server") // ECDSA
	cfg, err := server.TLSConfig(cert, key, "")
	if err != nil {
		t.Fatal(err)
	}
	rig := newRig(t, setup{})
	addr := serve(t, rig.server, rig.server.Handler(), cfg)
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if !strings.Contains(suite.Name, "_ECDSA_") {
			continue
		}
		conn, err := tls.Dial("tcp", addr, &tls.Config{
			InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID},
		})
		if err == nil {
			err = conn.Close()
		}
		if aead := strings.Contains(suite.Name, "_GCM_") || strings.Contains(suite.Name, "_POLY1305"); aead != (err == nil) {
			t.Errorf("%s: %v", suite.Name, err)
		}
	}
}

// TestHandshakeFailures are counted and told of; a client that leaves without a word is not.
func TestHandshakeFailures(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "ca")
	cert, key := ca.leaf(t, "server")
	cfg, err := server.TLSConfig(cert, key, ca.file("ca"))
	if err != nil {
		t.Fatal(err)
	}
	rig := newRig(t, setup{})
	addr := serveAt(t, rig.server, server.Listener{Name: "narrow", Handler: rig.server.Handler(), TLS: cfg})
	if err := dial(t, addr).Close(); err != nil {
		t.Fatal(err)
	}
	conn := dialTLS(t, addr) // without a certificate: TLS 1.3 tells the client with the first read
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a client without a certificate was answered")
	}
	for start := time.Now(); rig.closed(t, "narrow", "handshake") == 0; {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the failure is not counted")
		}
	}
	if n := rig.log.count(`"reason":"handshake"`, conn.LocalAddr().String(), "client didn't provide a certificate"); n != 1 {
		t.Errorf("%d lines, want 1:\n%s", n, rig.log)
	}
	if n := rig.closed(t, "narrow", "handshake"); n != 1 {
		t.Errorf("%d failures counted, want 1", n)
	}
}
