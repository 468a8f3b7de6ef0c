package server_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"pawl/policy"
	"pawl/ratchet"
	"pawl/server"
	"pawl/signer"
	"pawl/signer/hsm"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

func TestEachErrorHasItsStatus(t *testing.T) {
	t.Parallel()
	const secret = "secret detail"
	tests := []struct {
		err    error
		status int
		msg    string // what the client reads; "" is the error's own text
	}{
		{server.ErrRequest, 400, ""},
		{&tezos.ParseError{Reason: "trailing byte", Err: tezos.ErrMalformed}, 400, ""},
		{fmt.Errorf("%w: tag 0x16, 80 bytes", tezos.ErrUnknownLayout), 400, ""},
		{&policy.DeniedError{Line: "baking", Reason: "block is not allowed"}, 403, ""},
		{fmt.Errorf("%w tz1…", signer.ErrUnknownKey), 404, ""},
		{&ratchet.RefusedError{Reason: ratchet.BelowWatermark, Mark: ratchet.Mark{Kind: tezos.Block}}, 409, ""},
		{fmt.Errorf("%w: %s", ratchet.ErrQueueFull, secret), 503, "too many requests wait for this key and kind"},
		{fmt.Errorf("%w: %s", ratchet.ErrStopped, secret), 503, "signer is stopping, or its ratchet has failed"},
		{fmt.Errorf("%w: %s", ratchet.ErrCommit, secret), 500, "the ratchet did not store the mark: nothing was signed"},
		{fmt.Errorf("%w: %s", signer.ErrHSM, secret), 500, "HSM failed: nothing was signed"},
		{fmt.Errorf("%s: %w", secret, context.DeadlineExceeded), 500, "no signature in time"},
		{fmt.Errorf("%s: %w", secret, context.Canceled), 503, "client left"},
		{&fs.PathError{Op: "open", Path: secret, Err: fs.ErrPermission}, 500, "internal error"},
		{errors.New(secret), 500, "internal error"},
	}
	rig := newRig(t, setup{})
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			t.Parallel()
			handler := rig.server.AnswerWith(func(context.Context) error { return tt.err })
			got := ask(t.Context(), handler, "GET", "/fault", "")
			want := tt.msg
			if want == "" {
				want = tt.err.Error()
			}
			if msg := got.refusal(t); got.status != tt.status || msg != want {
				t.Errorf("got %d %q, want %d %q", got.status, msg, tt.status, want)
			}
			if strings.Contains(got.body, secret) {
				t.Errorf("body %q tells an internal detail", got.body)
			}
			if _, fields := rig.log.line(t, got.id()); !strings.Contains(fmt.Sprint(fields["reason"]), tt.err.Error()) {
				t.Errorf("log has reason %v, want %v", fields["reason"], tt.err)
			}
		})
	}
}

func TestPanicIsAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	addr := serve(t, rig.server, rig.server.AnswerWith(func(context.Context) error { panic("boom") }), nil)
	for range 2 { // the process goes on
		got := do(t, "GET", "http://"+addr+"/fault", "")
		if msg := got.refusal(t); got.status != 500 || msg != "internal error" {
			t.Errorf("got %d %q, want 500 internal error", got.status, msg)
		}
		line, fields := rig.log.line(t, got.id())
		stack := fmt.Sprint(fields["stack"])
		if fields["severity"] != "ERROR" || fields["reason"] != "panic: boom" || !strings.Contains(stack, "status_test.go") {
			t.Errorf("log line %s does not tell of the panic and its place", line)
		}
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	pkh := rig.keys[0].Hash().String()
	const noHash = "unreadable request: what follows /keys/ is not a public key hash (tz1, tz2, tz3, tz4 or tz5)"
	const unknown = "unknown path: known are /authorized_keys, /bls_prove_possession/tz…, /keys/tz…, /known_keys"
	tests := []struct {
		method, path string
		status       int
		allow, msg   string
	}{
		{"GET", "/", 404, "", unknown},
		{"GET", "/nothing", 404, "", unknown},
		{"POST", "/nothing", 404, "", unknown},
		{"OPTIONS", "/nothing", 404, "", unknown},
		{"HEAD", "/nothing", 404, "", ""},
		{"GET", "/keys", 404, "", unknown},
		{"GET", "/keys/", 404, "", unknown},
		{"POST", "/keys/", 404, "", unknown},
		{"GET", "//keys/..", 400, "", noHash},
		{"GET", "//", 404, "", unknown},
		{"GET", "/keys//", 404, "", unknown},
		{"GET", "/keys/" + pkh + "//more", 404, "", unknown},
		{"POST", "//authorized_keys//", 405, "GET", "method not allowed"},
		{"GET", "/./authorized_keys", 404, "", unknown},
		{"GET", "/keys/../authorized_keys", 404, "", unknown},
		{"GET", "/keys/" + pkh + "/more", 404, "", unknown},
		{"GET", "/metrics", 404, "", unknown},
		{"GET", "/ratchet", 404, "", unknown},
		{"OPTIONS", "/authorized_keys", 405, "GET", "method not allowed"},
		{"HEAD", "/authorized_keys", 405, "GET", ""},
		{"POST", "/authorized_keys", 405, "GET", "method not allowed"},
		{"PUT", "/keys/" + pkh, 405, "GET, POST", "method not allowed"},
		{"DELETE", "/keys/" + pkh, 405, "GET, POST", "method not allowed"},
		{"HEAD", "/keys/" + pkh, 405, "GET, POST", ""},
		{"OPTIONS", "/keys/" + pkh, 405, "GET, POST", "method not allowed"},
		{"PROPFIND", "/keys/" + pkh, 405, "GET, POST", "method not allowed"},
		{"INVENTED", "/keys/" + pkh, 405, "GET, POST", "method not allowed"},
		{"POST", "/known_keys", 405, "GET", "method not allowed"},
		{"GET", "/known_keys", 500, "", "List known keys request not allowed."},
		{"GET", "/bls_prove_possession/tz4EECtMxAuJ9UDLaiMZH7G1GCFYUWsj8HZn", 500, "", "Request to prove possession is not allowed."},
		{"GET", "/keys/tz1", 400, "", noHash},
		{"GET", "/keys/..%2f" + pkh, 400, "", noHash},
		{"GET", "/keys/tz4EECtMxAuJ9UDLaiMZH7G1GCFYUWsj8HZn", 404, "", "unknown key tz4EECtMxAuJ9UDLaiMZH7G1GCFYUWsj8HZn"},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			t.Parallel()
			got := do(t, tt.method, rig.url+tt.path, "")
			if got.status != tt.status || got.header.Get("Allow") != tt.allow {
				t.Errorf("got %d, Allow %q, want %d %q", got.status, got.header.Get("Allow"), tt.status, tt.allow)
			}
			if got.header.Get("Location") != "" {
				t.Errorf("redirects to %q", got.header.Get("Location"))
			}
			if tt.msg == "" { // no body after HEAD
				return
			}
			if msg := got.refusal(t); msg != tt.msg {
				t.Errorf("msg %q, want %q", msg, tt.msg)
			}
		})
	}
}

// TestRunsOfSlashes: a path is read as octez-signer reads it, which drops empty parts. The answer is
// that of the plain path, with no redirect.
func TestRunsOfSlashes(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	pkh := rig.keys[0].Hash().String()
	for plain, others := range map[string][]string{
		"/authorized_keys": {"//authorized_keys", "/authorized_keys/", "///authorized_keys//"},
		"/keys/" + pkh:     {"//keys/" + pkh, "/keys/" + pkh + "/", "/keys//" + pkh, "//keys///" + pkh + "//"},
		"/known_keys":      {"//known_keys"},
	} {
		want := do(t, "GET", rig.url+plain, "")
		for _, path := range others {
			got := do(t, "GET", rig.url+path, "")
			if got.status != want.status || len(got.body) != len(want.body) || got.status == 200 && got.body != want.body {
				t.Errorf("%s: %d %q, want %d %q", path, got.status, got.body, want.status, want.body)
			}
			if _, fields := rig.log.line(t, got.id()); fields["path"] != strings.Replace(plain, pkh, ":pkh", 1) {
				t.Errorf("%s: logged as %v", path, fields["path"])
			}
		}
	}
	payload := tezostest.Attestation(1, 0, 1)
	for _, path := range []string{"//keys/" + pkh, "/keys/" + pkh + "/"} {
		checkSigned(t, do(t, "POST", rig.url+path, quoted(payload)), rig.keys[0], payload)
	}
}

func TestBrowsersAreRefused(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	got := do(t, "POST", rig.keyURL(0), quoted(tezostest.Attestation(1, 0, 1)),
		"Origin", "http://evil.example", "Content-Type", "text/plain")
	if msg := got.refusal(t); got.status != 403 || !strings.Contains(msg, "Origin") {
		t.Errorf("got %d %q, want 403", got.status, msg)
	}
	if got := rig.post(t, 0, tezostest.Attestation(1, 0, 2)); got.status != 200 {
		t.Errorf("other bytes in the slot that the browser asked for: %d %s, want 200", got.status, got.body)
	}
}

func TestPolicyRefusalIs403(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{policy: &policy.Policy{}})
	for name, payload := range map[string][]byte{
		"attestation": tezostest.Attestation(1, 0, 1),
		"transaction": tezostest.Transaction(rig.keys[0].Hash()),
		"michelson":   unhex(t, "05010000000161"),
	} {
		got := rig.post(t, 0, payload)
		if msg := got.refusal(t); got.status != 403 || !strings.HasPrefix(msg, "refused by policy") {
			t.Errorf("%s: got %d %q, want 403", name, got.status, msg)
		}
	}
}

func TestUnregisteredKeyIs409(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{unregistered: true})
	got := rig.post(t, 0, tezostest.Attestation(1, 0, 1))
	if msg := got.refusal(t); got.status != 409 {
		t.Errorf("got %d %q, want 409", got.status, msg)
	}
}

func TestStoppedRatchetIs503(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	if err := rig.db.Close(); err != nil {
		t.Fatal(err)
	}
	got := rig.post(t, 0, tezostest.Attestation(1, 0, 1))
	if msg := got.refusal(t); got.status != 503 || msg != "signer is stopping, or its ratchet has failed" {
		t.Errorf("got %d %q, want 503", got.status, msg)
	}
}

func TestFailedHSMIs500AndBurnsNothing(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	rig.card.Stop()
	got := rig.post(t, 0, tezostest.Attestation(1, 0, 1))
	if msg := got.refusal(t); got.status != 500 || msg != "HSM failed: nothing was signed" {
		t.Errorf("got %d %q, want 500 and the fixed text", got.status, msg)
	}
	if _, fields := rig.log.line(t, got.id()); fields["severity"] != "ERROR" || fields["decision"] != "failed" {
		t.Errorf("log says %v, want level ERROR and decision failed", fields)
	}
	rig.card.Start(t)
	for {
		got = rig.post(t, 0, tezostest.Attestation(1, 0, 2)) // the slot is free for other bytes
		if got.status != 500 {
			break
		}
	}
	checkSigned(t, got, rig.keys[0], tezostest.Attestation(1, 0, 2))
}

func TestFullQueueIs503(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	rig := newRig(t, setup{wrap: func(key hsm.Key) hsm.Key {
		return fakeKey{key, func(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
			<-release
			return key.Sign(context.WithoutCancel(ctx), m)
		}}
	}})
	handler := rig.server.Handler()
	statuses := make(chan reply)
	const asked = 30 // more than one in flight and eight that wait
	for i := range asked {
		go func() {
			statuses <- ask(t.Context(), handler, "POST", rig.keyPath(0), quoted(tezostest.Attestation(1, 0, uint64(i))))
		}()
	}
	count := make(map[int]int)
	var released bool
	for range asked {
		got := <-statuses
		count[got.status]++
		if got.status == 503 && !released {
			if msg := got.refusal(t); msg != "too many requests wait for this key and kind" {
				t.Errorf("msg %q", msg)
			}
			released = true
			close(release)
		}
	}
	if count[200] != 1 || count[503] == 0 || count[200]+count[409]+count[503] != asked {
		t.Errorf("statuses %v, want one 200, else 409 and 503", count)
	}
}

func TestRequestsHaveADeadline(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	var left time.Duration
	ask(t.Context(), rig.server.AnswerWith(func(ctx context.Context) error {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return nil
	}), "GET", "/fault", "")
	if left <= 0 || left > 6*time.Second {
		t.Errorf("%v left for a request, want up to 6 s", left)
	}
}

// The answer when time is over. The request is made in process: over HTTP a client whose context
// ends does not read the answer.
func TestDeadlineIs500(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{wrap: func(key hsm.Key) hsm.Key {
		return fakeKey{key, func(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
			<-ctx.Done()
			return tezos.Signature{}, ctx.Err()
		}}
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	got := ask(ctx, rig.server.Handler(), "POST", rig.keyPath(0), quoted(tezostest.Attestation(1, 0, 1)))
	if msg := got.refusal(t); got.status != http.StatusInternalServerError || msg != "no signature in time" {
		t.Errorf("got %d %q, want 500 no signature in time", got.status, msg)
	}
}
