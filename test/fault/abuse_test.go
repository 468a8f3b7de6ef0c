package fault_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// abuse is a request that nobody means. It never gets a signature, and it ends: with one
// of the statuses, or with a connection that the daemon closes.
type abuse struct {
	name     string
	send     func(w io.Writer, key string) error
	statuses []int
	slow     bool // ends only when the daemon loses patience
}

const (
	hugeBody = 200 << 20
	// patience is over the 5 s that the daemon waits for a request.
	patience = 15 * time.Second
)

var abuses = []abuse{
	{"body of 200 MB, its length told", lengthy, []int{http.StatusRequestEntityTooLarge}, false},
	{"body of 200 MB in chunks", chunked, []int{http.StatusRequestEntityTooLarge}, false},
	{"chunks for ever", chunksForEver, []int{http.StatusRequestEntityTooLarge, http.StatusBadRequest}, true},
	{"head slower than the patience", slowHead, []int{http.StatusRequestTimeout, http.StatusBadRequest}, true},
	{"body slower than the patience", slowBody, []int{http.StatusBadRequest}, true},
	{"a header of 1 MiB", bigHeader, []int{http.StatusRequestHeaderFieldsTooLarge}, false},
	{"10,000 headers", manyHeaders, []int{http.StatusRequestHeaderFieldsTooLarge}, false},
	{"headers for ever", headersForEver, []int{http.StatusRequestHeaderFieldsTooLarge}, false},
	{"URL of 1 MiB", bigURL, []int{http.StatusRequestHeaderFieldsTooLarge, http.StatusRequestURITooLong}, false},
	{"JSON 60,000 deep", deep(60_000), []int{http.StatusBadRequest}, false},
	{"JSON a million deep", deep(1_000_000), []int{http.StatusRequestEntityTooLarge}, false},
	{"a gzip bomb", gzipBomb, []int{http.StatusBadRequest}, false},
	{"a length that is none", raw("POST /keys/%s HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"), []int{http.StatusBadRequest}, false},
	{"two lengths", raw("POST /keys/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n\"00\""), []int{http.StatusBadRequest}, false},
	{"the preface of HTTP/2", raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n%.0s"), []int{http.StatusHTTPVersionNotSupported, http.StatusBadRequest, http.StatusNotFound}, false},
	{"a TLS hello", raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03%.0s\r\n\r\n"), []int{http.StatusBadRequest}, false},
	{"noise", func(w io.Writer, _ string) error { _, err := w.Write(bytes.Repeat([]byte{0xff, 0}, 1<<16)); return err }, []int{http.StatusBadRequest, http.StatusRequestHeaderFieldsTooLarge}, false},
}

// head is that of a request to sign, with more headers.
func head(key, more string) string {
	return "POST /keys/" + key + " HTTP/1.1\r\nHost: x\r\n" + more + "\r\n"
}

func raw(format string) func(io.Writer, string) error {
	return func(w io.Writer, key string) error {
		_, err := fmt.Fprintf(w, format, key)
		return err
	}
}

// stream writes n bytes of hexadecimal digits, or until nobody reads them.
func stream(w io.Writer, n int) error {
	block := bytes.Repeat([]byte("0"), 1<<16)
	for sent := 0; sent < n; sent += len(block) {
		if _, err := w.Write(block); err != nil {
			return err
		}
	}
	return nil
}

func lengthy(w io.Writer, key string) error {
	if _, err := io.WriteString(w, head(key, fmt.Sprintf("Content-Length: %d\r\n", hugeBody))); err != nil {
		return err
	}
	return stream(w, hugeBody)
}

func chunked(w io.Writer, key string) error {
	if _, err := io.WriteString(w, head(key, "Transfer-Encoding: chunked\r\n")+fmt.Sprintf("%x\r\n", hugeBody)); err != nil {
		return err
	}
	return stream(w, hugeBody)
}

// trickle writes a piece again and again, until nobody reads it.
func trickle(w io.Writer, start, piece string, pause time.Duration) error {
	_, err := io.WriteString(w, start)
	for begin := time.Now(); err == nil && time.Since(begin) < patience; time.Sleep(pause) {
		_, err = io.WriteString(w, piece)
	}
	return err
}

func chunksForEver(w io.Writer, key string) error {
	return trickle(w, head(key, "Transfer-Encoding: chunked\r\n"), "1\r\n0\r\n", 5*time.Millisecond)
}

func slowHead(w io.Writer, key string) error {
	start, _ := strings.CutSuffix(head(key, ""), "\r\n")
	return trickle(w, start, "X: y\r\n", 100*time.Millisecond)
}

func slowBody(w io.Writer, key string) error {
	return trickle(w, head(key, "Content-Length: 1000\r\n")+`"`, "0", 100*time.Millisecond)
}

func bigHeader(w io.Writer, key string) error {
	_, err := io.WriteString(w, head(key, "X-Big: "+strings.Repeat("x", 1<<20)+"\r\n"))
	return err
}

func manyHeaders(w io.Writer, key string) error {
	var more strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&more, "X-%d: y\r\n", i)
	}
	_, err := io.WriteString(w, head(key, more.String()))
	return err
}

func headersForEver(w io.Writer, key string) error {
	start, _ := strings.CutSuffix(head(key, ""), "\r\n")
	return trickle(w, start, strings.Repeat("X-More: and more\r\n", 1000), 0)
}

func bigURL(w io.Writer, key string) error {
	_, err := io.WriteString(w, head(key+"?version="+strings.Repeat("1", 1<<20), ""))
	return err
}

func deep(n int) func(io.Writer, string) error {
	return func(w io.Writer, key string) error {
		_, err := io.WriteString(w, head(key, fmt.Sprintf("Content-Length: %d\r\n", n))+strings.Repeat("[", n))
		return err
	}
}

func gzipBomb(w io.Writer, key string) error {
	bomb := bombOnce()
	_, err := io.WriteString(w, head(key, fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n", len(bomb)))+bomb)
	return err
}

// bombOnce is ten megabytes in ten kilobytes. An attacker compresses it once.
var bombOnce = sync.OnceValue(func() string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(bytes.Repeat([]byte("0"), 10<<20)) // into memory
	_ = z.Close()
	return b.String()
})

// suffers sends an abuse and returns the status of the answer, 0 when the connection
// was closed without one that could be read. The error says that it did not end.
func (d *daemon) suffers(a abuse, key string) (status int, err error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		return 0, err
	}
	sent := make(chan struct{})
	go func() { defer close(sent); _ = a.send(conn, key) }() // fails as soon as the daemon has enough
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		status = res.StatusCode
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	_ = conn.Close()
	<-sent
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return status, fmt.Errorf("still open: %w", err)
	}
	return status, nil
}

// abuse sends each of them once, all at the same time.
func (l *load) abuse(t *testing.T) {
	var all sync.WaitGroup
	for _, a := range abuses {
		all.Go(func() {
			began := time.Now()
			status, err := l.d.suffers(a, l.keys[0].Hash().String())
			took := time.Since(began)
			if err != nil || status != 0 && !slices.Contains(a.statuses, status) || a.slow && took > patience {
				t.Errorf("%s: status %d after %v, %v; want one of %v, or none", a.name, status, took, err, a.statuses)
				return
			}
			outcome := "closed without an answer that could be read"
			if status != 0 {
				outcome = fmt.Sprintf("%d %s", status, http.StatusText(status))
			}
			total.happened(partLoad, a.name, outcome)
		})
	}
	all.Wait()
	countRequests(len(abuses))
	l.wantBounded(t)
	if a := l.post(l.d, ask{l.slot(), 0}); a.status != http.StatusOK {
		t.Errorf("after all abuses %v, want a signature", a)
	}
}

// wantBounded checks what the daemon uses now, and has used.
func (l *load) wantBounded(t *testing.T) {
	t.Helper()
	const (
		memory      = 256 << 10 // KiB, at the most so far; a connection takes some 20
		descriptors = 4096 + 64 // connections, files, the HSM and who asks the other listener
	)
	pid := l.d.cmd.Process.Pid
	peak := 0
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &peak)
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Logf("descriptors not counted: %v", err) // the daemon is not dumpable: they are root's to see
	}
	l.peak, l.descriptors = peak>>10, max(l.descriptors, len(open))
	if peak == 0 || peak > memory || len(open) > descriptors {
		t.Errorf("memory %d KiB at the most and %d descriptors, want at most %d and %d", peak, len(open), memory, descriptors)
	}
}
