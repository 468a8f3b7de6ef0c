package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"pawl/internal/node"
)

// TestMain names a proxy in the environment at which nobody is. It does not count for 127.0.0.1.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// patience is how long a slow machine may take for anything.
const patience = time.Minute

const (
	mainnet = "NetXdQprcVkpaWU"
	token   = "s3cr3t-t0ken" // in the path of a URL
	// header is what a node of Octez answers, cut short.
	header = `{"protocol":"PtTALLiNtPec7mE7yY4m3k26J8Qukef3E3ehzhfXgFZKGtDdAXu","chain_id":"` + mainnet + `",` +
		`"hash":"BLockGenesisGenesisGenesisGenesisGenesisCCCCCeZiLHU","level":11234567,"proto":24,` +
		`"timestamp":"2026-11-30T23:59:58Z","validation_pass":4,"fitness":["02","00ab6d07","","ffffffff","00000000"]}` + "\n"
)

// serve is a node that answers each question so.
func serve(t *testing.T, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server
}

// serveTLS is a node behind a certificate that nobody trusts.
func serveTLS(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(says(header))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of refused handshakes
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// says is an answer with status 200.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func client(t *testing.T, url string) *node.Client {
	t.Helper()
	c, err := node.New(url)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantHead(t *testing.T, c *node.Client) {
	t.Helper()
	head, err := c.Head(t.Context())
	at := time.Date(2026, 11, 30, 23, 59, 58, 0, time.UTC)
	if err != nil || head.ChainID.String() != mainnet || head.Level != 11234567 || head.Time != at {
		t.Errorf("%+v, %v", head, err)
	}
}

// wantFailure wants an error with the reason and the remedy.
func wantFailure(t *testing.T, c *node.Client, reason, remedy string) {
	t.Helper()
	_ = failure(t.Context(), t, c, reason, remedy)
}

// failure is an error with the reason and the remedy, that is fit to be shown.
func failure(ctx context.Context, t *testing.T, c *node.Client, reason, remedy string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	head, err := c.Head(ctx)
	e, ok := errors.AsType[*node.Error](err)
	if !ok || head != (node.Head{}) || e.Node != c.Name() {
		t.Fatalf("%+v, %v", head, err)
	}
	if !strings.Contains(e.Reason, reason) || !strings.Contains(e.Remedy, remedy) {
		t.Errorf("reason %q, remedy %q; want %q and %q", e.Reason, e.Remedy, reason, remedy)
	}
	text := err.Error()
	for _, part := range []string{c.Name(), e.Reason, e.Remedy} {
		if part == "" || !strings.Contains(text, part) {
			t.Errorf("%q is not in %q", part, text)
		}
	}
	if strings.Contains(text, token) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 400 {
		t.Errorf("%q is not for people", text)
	}
	return err
}

func TestHead(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"":                    "/chains/main/blocks/head/header",
		"/":                   "/chains/main/blocks/head/header",
		"/" + token:           "/" + token + "/chains/main/blocks/head/header",
		"/" + token + "/rpc/": "/" + token + "/rpc/chains/main/blocks/head/header",
	} {
		asked := make(chan string, 1)
		server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked <- r.Method + " " + r.URL.String()
			says(header)(w, r)
		})
		c := client(t, server.URL+path)
		wantHead(t, c)
		if got := <-asked; got != "GET "+want {
			t.Errorf("%q: asked for %s, want GET %s", path, got, want)
		}
		if name := server.Listener.Addr().String(); c.Name() != name {
			t.Errorf("name %s, want %s", c.Name(), name)
		}
	}
}

func TestHeadOverTLS(t *testing.T) {
	t.Parallel()
	server := serveTLS(t)
	c := client(t, server.URL)
	c.Trust(server.Certificate())
	wantHead(t, c)
}

// Each question has a connection of its own, so that one which hangs is not met again.
func TestHeadKeepsNoConnection(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(says(header))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	c := client(t, server.URL)
	for range 3 {
		wantHead(t, c)
	}
	if n := connections.Load(); n != 3 {
		t.Errorf("%d connections for 3 questions", n)
	}
}

// A proxy of the environment would be asked for 0.0.0.0, which is this host too.
func TestHeadAsksNoProxy(t *testing.T) {
	t.Parallel()
	server := serve(t, says(header))
	request := httptest.NewRequest(http.MethodGet, strings.Replace(server.URL, "127.0.0.1", "0.0.0.0", 1), nil)
	if proxy, err := http.ProxyFromEnvironment(request); err != nil || proxy == nil {
		t.Fatalf("the environment names no proxy: %v", err)
	}
	wantHead(t, client(t, "http://"+request.Host))
}

func TestHeadOfOtherStatus(t *testing.T) {
	t.Parallel()
	for status, remedy := range map[int]string{
		201: "a node's RPC", 204: "a node's RPC", 401: "allows GET /chains/main", 403: "allows GET /chains/main",
		404: "a node's RPC", 500: "a node's RPC", 503: "a node's RPC",
	} {
		c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "no %s", r.URL.Path)
		}).URL+"/"+token)
		err := failure(t.Context(), t, c, fmt.Sprintf("answers with status %d", status), remedy)
		if strings.Contains(err.Error(), "no /") {
			t.Errorf("%v: has words of the answer", err)
		}
	}
}

func TestHeadFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		says(header)(w, r)
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/"+token, status)
		}).URL)
		wantFailure(t, c, fmt.Sprintf("answers with status %d", status), "pawl does not follow")
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// A node that hangs costs the client's own time, whatever the caller allows: before the answer and within it.
func TestHeadIsBoundedInTime(t *testing.T) {
	t.Parallel()
	for name, begins := range map[string]string{"no answer": "", "half an answer": header[:len(header)/2]} {
		c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			if begins != "" {
				_, _ = io.WriteString(w, begins)
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done() // the client hangs up
		}).URL)
		if got := c.Timeout(); got != 2*time.Second {
			t.Errorf("a question may take %v", got)
		}
		c.SetTimeout(10 * time.Millisecond)
		err := failure(t.Context(), t, c, "did not answer within 10ms", "see that the node runs")
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHeadEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := client(t, serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}).URL)
	c.SetTimeout(patience)
	if err := failure(ctx, t, c, "was not waited for", "ask again"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// padded is a header with blanks, of that many bytes.
func padded(size int) string { return strings.Repeat(" ", size-len(header)) + header }

func TestHeadIsBoundedInSize(t *testing.T) {
	t.Parallel()
	wantHead(t, client(t, serve(t, says(padded(node.MaxAnswer))).URL))
	const tooLarge = "answers with more than 1048576 bytes"
	wantFailure(t, client(t, serve(t, says(padded(node.MaxAnswer+1))).URL), tooLarge, "node_url")
	hungUp := make(chan error, 1)
	long := client(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for range 64 { // MiB, more than lies in the buffers of a connection
			_, err = w.Write(make([]byte, 1<<20))
		}
		hungUp <- err
	}).URL)
	long.SetTimeout(patience)
	wantFailure(t, long, tooLarge, "node_url")
	if err := <-hungUp; err == nil {
		t.Error("64 MiB were read")
	}
	heads := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<17))
		says(header)(w, r)
	}).URL)
	wantFailure(t, heads, "broke off, or speaks no HTTP", "node_url")
}

// hundred is as many bytes as an error quotes.
var hundred = strings.Repeat("x", 100)

// edited is the header of a node with something else in it.
func edited(old, replacement string) string { return strings.Replace(header, old, replacement, 1) }

func TestHeadOfBadAnswers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ answer, reason string }{
		"nothing":            {"", "no JSON"},
		"a page":             {"<html>" + token, "no JSON"},
		"cut short":          {header[:100], "no JSON"},
		"two headers":        {header + header, "no JSON"},
		"a list":             {"[" + header + "]", "no object"},
		"a string":           {`"` + token + `"`, "no object"},
		"null":               {"null", `chain_id ""`},
		"empty":              {"{}", `chain_id ""`},
		"nested":             {strings.Repeat("[", 1<<19), "no JSON"},
		"no chain":           {edited("chain_id", "chain"), `chain_id ""`},
		"chain null":         {edited(`"`+mainnet+`"`, "null"), `chain_id ""`},
		"chain a number":     {edited(`"`+mainnet+`"`, "5"), "a chain_id that is none"},
		"chain mistyped":     {edited(mainnet, "NetXdQprcVkpaWV"), `chain_id "NetXdQprcVkpaWV", which is none`},
		"chain long":         {edited(mainnet, hundred+hundred), `chain_id "` + hundred + `"…, which`},
		"chain of terminals": {edited(mainnet, `\u001b[2J\n`), `chain_id "\x1b[2J\n", which is none`},
		"no level":           {edited("level", "lvl"), "level 0, want 1 to 2147483647"},
		"level 0":            {edited("11234567", "0"), "level 0, want 1"},
		"level negative":     {edited("11234567", "-1"), "level -1, want 1"},
		"level over int32":   {edited("11234567", "2147483648"), "level 2147483648, want 1"},
		"level over int64":   {edited("11234567", "9223372036854775808"), "a level that is none"},
		"level huge":         {edited("11234567", strings.Repeat("9", 1<<19)), "a level that is none"},
		"level a fraction":   {edited("11234567", "1.5"), "a level that is none"},
		"level a string":     {edited("11234567", `"11234567"`), "a level that is none"},
		"no time":            {edited("timestamp", "time"), `timestamp ""`},
		"time a number":      {edited(`"2026-11-30T23:59:58Z"`, "1796083198"), "a timestamp that is none"},
		"time no date":       {edited("11-30", "11-31"), `timestamp "2026-11-31T23:59:58Z", which is none`},
		"time without zone":  {edited("58Z", "58"), "which is none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, serve(t, says(test.answer)).URL)
			wantFailure(t, c, test.reason, "see that node_url is the address of a node's RPC")
		})
	}
}

// The time of a header may be told with another zone, and the highest level is one.
func TestHeadOfGoodAnswers(t *testing.T) {
	t.Parallel()
	wantHead(t, client(t, serve(t, says(edited("2026-11-30T23:59:58Z", "2026-12-01T01:59:58+02:00"))).URL))
	for _, level := range []string{"1", "2147483647"} {
		head, err := node.ParseHead([]byte(edited("11234567", level)))
		if err != nil || fmt.Sprint(head.Level) != level {
			t.Errorf("level %s: %+v, %v", level, head, err)
		}
	}
}

// speaks is the address of a server that answers each connection with those bytes.
func speaks(t *testing.T, answer string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}

func TestHeadOfNoNode(t *testing.T) {
	t.Parallel()
	const running, rpc = "see that the node runs", "see that node_url is the address of a node's RPC"
	secure := serveTLS(t)
	for name, test := range map[string]struct{ url, reason, remedy string }{
		"nobody":              {"http://127.0.0.1:1", "connection refused", running},
		"https with other CA": {secure.URL, "certificate signed by unknown authority", "trusts the CA of the node"},
		"https in clear":      {strings.Replace(secure.URL, "https", "http", 1), "status 400", rpc},
		"http for https":      {"https://" + speaks(t, "HTTP/1.1 200 OK\r\n\r\n"), "speaks no TLS", "write http://"},
		"no TLS":              {"https://" + speaks(t, "hello, this is no TLS\n"), "speaks no TLS", "write http://"},
		"closed":              {"http://" + speaks(t, ""), "broke off, or speaks no HTTP", rpc},
		"no HTTP":             {"http://" + speaks(t, strings.Repeat(token, 9)+"\r\n"), "broke off, or speaks no HTTP", rpc},
		"cut short":           {"http://" + speaks(t, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "broke off", rpc},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantFailure(t, client(t, test.url+"/"+token), test.reason, test.remedy)
		})
	}
}

// What others wrote is kept to its line and cut short, between two characters.
func TestForeignTextIsBounded(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		hundred: hundred, hundred + "x": hundred + "…", hundred[1:] + "é": hundred[1:] + "…", "a\n\x1b[2J": "a  [2J",
	} {
		if got := node.Short(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzHead(f *testing.F) {
	for _, answer := range []string{header, "", "null", "[]", `{"a":`, edited("11234567", "-1"), edited(mainnet, "N")} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		head, err := node.ParseHead(answer)
		odd := err != nil && (len(err.Error()) > 1000 || strings.ContainsFunc(err.Error(), unicode.IsControl))
		switch {
		case odd, err != nil && head != (node.Head{}):
			t.Errorf("%+v with the error %q", head, err)
		case err == nil && (head.Level < 1 || head.Time.Location() != time.UTC):
			t.Errorf("%+v", head)
		}
	})
}
