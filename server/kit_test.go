package server_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pawl/internal/ep11"
	"pawl/internal/logtest"
	"pawl/policy"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
	"pawl/server"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/hsm"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// setup is what differs from the defaults in a test.
type setup struct {
	kinds        []tezos.KeyKind // of the keys to make; default: one tz1
	policy       *policy.Policy  // default: baking, transactions and failing_noop
	authorized   []tezos.PublicKey
	unregistered bool
	slowDisk     time.Duration         // added to each commit
	wrap         func(hsm.Key) hsm.Key // replaces each key of the card
	extra        []hsm.Key             // keys that no card has
	twin         bool                  // a second HSM server has the keys of the card too
	onCommit     func()                // the next transaction waits for it
	levelGap     int32                 // 0 is the default
}

// rig is a server with a real signer, ratchet and card, listening on loopback.
type rig struct {
	url, admin string
	keys       []tezos.PublicKey
	server     *server.Server
	signer     *signer.Signer
	db         *ratchettest.DB
	path       string // of the ratchet
	card, twin *cardtest.Server
	log        *buffer
	metrics    *server.Metrics
	blobs      []ep11.Blob
}

// newRig starts everything, and stops it at the end of the test.
func newRig(t *testing.T, want setup) *rig {
	t.Helper()
	r := &rig{card: cardtest.Serve(t, cardtest.New(t, 7), ""), log: new(buffer), metrics: server.NewMetrics("test")}
	r.openRatchet(t, want)
	r.openSigner(t, want)
	options := &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: severity}
	r.server = server.New(server.Config{
		Signer:         r.signer,
		AuthorizedKeys: want.authorized,
		Log:            slog.New(slog.NewJSONHandler(r.log, options)),
		Metrics:        r.metrics,
	})
	r.url = "http://" + serve(t, r.server, r.server.Handler(), nil)
	r.admin = "http://" + serve(t, r.server, r.server.Admin(), nil)
	return r
}

// severity renames slog's own level: see server.Config.Log.
func severity(_ []string, a slog.Attr) slog.Attr {
	if _, own := a.Value.Any().(slog.Level); own {
		a.Key = "severity"
	}
	return a
}

func (r *rig) openRatchet(t *testing.T, want setup) {
	t.Helper()
	r.path = filepath.Join(t.TempDir(), "ratchet.db")
	if err := sqlite.Create(t.Context(), r.path); err != nil {
		t.Fatal(err)
	}
	committed := func(elapsed time.Duration, marks int) {
		if want.onCommit != nil {
			want.onCommit()
		}
		time.Sleep(want.slowDisk) // delays the next transaction and the caller
		r.metrics.ObserveCommit(elapsed, marks)
	}
	var err error
	if r.db, err = ratchettest.OpenDB(t.Context(), r.path, ratchettest.Options{OnCommit: committed, MaxLevelGap: want.levelGap}); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) openSigner(t *testing.T, want setup) {
	t.Helper()
	client, err := grep11.Dial(r.card.Config())
	if err != nil {
		t.Fatal(err)
	}
	if want.kinds == nil {
		want.kinds = []tezos.KeyKind{tezos.Ed25519}
	}
	if want.policy == nil {
		want.policy = &policy.Policy{Baking: true, Operations: []tezos.OperationKind{"transaction", "failing_noop"}}
	}
	var second *grep11.Client
	if want.twin {
		r.twin = cardtest.Serve(t, cardtest.New(t, 7), "")
		if second, err = grep11.Dial(r.twin.Config()); err != nil {
			t.Fatal(err)
		}
	}
	var entries []signer.Entry
	add := func(key hsm.Key) {
		pk := key.PublicKey()
		if !want.unregistered {
			if err := r.db.RegisterNew(t.Context(), pk.Hash()); err != nil {
				t.Fatal(err)
			}
		}
		if want.wrap != nil {
			key = want.wrap(key)
		}
		r.keys = append(r.keys, pk)
		replica := signer.Replica{Key: key, Server: client}
		entries = append(entries, signer.Entry{
			Policy: *want.policy, Ratchet: r.db.Ratchet, Replicas: []signer.Replica{replica},
		})
	}
	for _, kind := range want.kinds {
		made := cardtest.Generate(t, client, kind)
		key, err := client.Key(made.PublicKey, made.Blob)
		if err != nil {
			t.Fatal(err)
		}
		r.blobs = append(r.blobs, made.Blob)
		add(key)
		if second != nil {
			again, err := second.Key(made.PublicKey, made.Blob)
			if err != nil {
				t.Fatal(err)
			}
			last := &entries[len(entries)-1]
			last.Replicas = append(last.Replicas, signer.Replica{Key: again, Server: second})
		}
	}
	for _, key := range want.extra {
		add(key)
	}
	if r.signer, err = signer.New(entries, signer.Options{OnSign: r.metrics.ObserveSign}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		failed := r.signer.Err() != nil // then a ratchet cannot be closed cleanly
		if err := r.signer.Close(); err != nil && !failed {
			t.Errorf("closing the signer: %v", err)
		}
	})
}

// serve serves handler until the end of the test and returns the address.
func serve(t *testing.T, s *server.Server, handler http.Handler, cfg *tls.Config) string {
	t.Helper()
	return serveAt(t, s, server.Listener{Name: "signing", Handler: handler, TLS: cfg})
}

// serveAt serves on a listener that is filled in, until the end of the test.
func serveAt(t *testing.T, s *server.Server, at server.Listener) string {
	t.Helper()
	if at.Listener == nil {
		at.Listener = cardtest.Listen(t, "127.0.0.1:0")
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, at) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return at.Addr().String()
}

// buffer is the server's log.
type buffer struct{ logtest.Buffer }

// line waits for the log line of a request and returns it, raw and decoded.
func (b *buffer) line(t *testing.T, requestID string) (string, map[string]any) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, line := range b.Lines() {
			var fields map[string]any
			if json.Unmarshal([]byte(line), &fields) == nil && fields["request_id"] == requestID {
				return line, fields
			}
		}
	}
	t.Fatalf("no log line of request %s in\n%s", requestID, b)
	return "", nil
}

// reply is an HTTP answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) id() string { return r.header.Get("X-Request-Id") }

// refusal checks the form of a refusal, and returns the msg of its error trace without the request
// id.
func (r reply) refusal(t *testing.T) string {
	t.Helper()
	var trace []map[string]string
	if err := json.Unmarshal([]byte(r.body), &trace); err != nil || len(trace) != 1 || len(trace[0]) != 3 {
		t.Fatalf("body %q is no error trace of one element: %v", r.body, err)
	}
	if trace[0]["kind"] != "temporary" || trace[0]["id"] != "failure" || !strings.HasSuffix(r.body, "]\n") {
		t.Errorf("body %q is not the error trace that octez-client shows", r.body)
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q, want application/json", got)
	}
	msg, ok := strings.CutSuffix(trace[0]["msg"], " (request "+r.id()+")")
	if !ok || len(r.id()) != 16 {
		t.Errorf("msg %q does not end with request id %q", trace[0]["msg"], r.id())
	}
	return msg
}

// do sends a request on a connection of its own, as octez-client does, and follows no redirect. It
// tries again if a busy machine let the time for the head of a request pass.
func do(t *testing.T, method, url, body string, header ...string) reply {
	t.Helper()
	r, err := try(method, url, body, header...)
	for range 3 {
		if err == nil {
			return r
		}
		t.Logf("%s %s: %v, trying again", method, url, err)
		r, err = try(method, url, body, header...)
	}
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return r
}

func try(method, url, body string, header ...string) (reply, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	return read(res)
}

// read reads an answer to its end and closes it.
func read(res *http.Response) (reply, error) {
	text, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(text)}, errors.Join(err, res.Body.Close())
}

// ask calls a handler in process, without the time limits of a connection.
func ask(ctx context.Context, handler http.Handler, method, path, body string) reply {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body)))
	return reply{recorder.Code, recorder.Header(), recorder.Body.String()}
}

// dial opens a connection, and closes it at the end of the test.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the server may have closed it
	return conn
}

// post asks the rig to sign payload with its i-th key.
func (r *rig) post(t *testing.T, i int, payload []byte) reply {
	t.Helper()
	return do(t, "POST", r.keyURL(i), quoted(payload))
}

func (r *rig) keyPath(i int) string { return "/keys/" + r.keys[i].Hash().String() }

func (r *rig) keyURL(i int) string { return r.url + r.keyPath(i) }

// checkSigned requires that the answer is a signature of payload by pk and nothing else. It returns
// the signature.
func checkSigned(t *testing.T, r reply, pk tezos.PublicKey, payload []byte) string {
	t.Helper()
	var answer map[string]string
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil || r.status != http.StatusOK || len(answer) != 1 {
		t.Fatalf("status %d body %q, want 200 and one field", r.status, r.body)
	}
	sig, err := tezos.ParseSignature(answer["signature"])
	if err != nil {
		t.Fatalf("signature %q: %v", answer["signature"], err)
	}
	if err := pk.Verify(tezos.NewMessage(payload), sig); err != nil {
		t.Fatalf("signature %q of %x: %v", answer["signature"], payload, err)
	}
	return answer["signature"]
}

// fakeKey is a key with another Sign.
type fakeKey struct {
	hsm.Key
	sign func(ctx context.Context, m tezos.Message) (tezos.Signature, error)
}

func (k fakeKey) Sign(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	return k.sign(ctx, m)
}
