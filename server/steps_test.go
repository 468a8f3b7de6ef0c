package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	tz "blockwatch.cc/tzgo/tezos"

	"pawl/policy"
	"pawl/ratchet"
	"pawl/server"
	"pawl/signer"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// TestStrangersBurnNothing: a request that fails authentication raises no mark and asks no HSM.
func TestStrangersBurnNothing(t *testing.T) {
	t.Parallel()
	client, stranger := newClientKey(t, tz.KeyTypeEd25519), newClientKey(t, tz.KeyTypeEd25519)
	rig := newRig(t, setup{authorized: []tezos.PublicKey{client.public}})
	payload, other := tezostest.Attestation(5, 0, 1), tezostest.Attestation(5, 0, 2)
	hash := rig.keys[0].Hash()
	bad := "?authentication=" + url.QueryEscape(stranger.authenticate(t, hash, payload).String())
	for _, query := range []string{"", bad} {
		if got := do(t, "POST", rig.keyURL(0)+query, quoted(payload)); got.status != 401 {
			t.Errorf("query %q: %d %s, want 401", query, got.status, got.body)
		}
	}
	if marks, err := rig.db.Marks(t.Context()); err != nil || len(marks) != 0 {
		t.Errorf("marks %v, %v; want none", marks, err)
	}
	for _, state := range rig.signer.Servers() {
		if state.Signed+state.Failed != 0 {
			t.Errorf("the HSM was asked %d times", state.Signed+state.Failed)
		}
	}
	good := "?authentication=" + url.QueryEscape(client.authenticate(t, hash, other).String())
	checkSigned(t, do(t, "POST", rig.keyURL(0)+good, quoted(other)), rig.keys[0], other)
}

// TestOneAuthenticationAlone: of two nobody can say which one counts, and a text that is too long is
// not read.
func TestOneAuthenticationAlone(t *testing.T) {
	t.Parallel()
	client := newClientKey(t, tz.KeyTypeEd25519)
	rig := newRig(t, setup{authorized: []tezos.PublicKey{client.public}})
	payload := tezostest.Attestation(5, 0, 1)
	good := url.QueryEscape(client.authenticate(t, rig.keys[0].Hash(), payload).String())
	for name, query := range map[string]string{
		"twice the same":              "authentication=" + good + "&authentication=" + good,
		"a good one and an empty one": "authentication=" + good + "&authentication=",
		"a long one":                  "authentication=" + good + strings.Repeat("1", 100),
		"two versions":                "version=3&version=3&authentication=" + good,
		"no number":                   "version=x&authentication=" + good,
	} {
		if got := do(t, "POST", rig.keyURL(0)+"?"+query, quoted(payload)); got.status != 400 {
			t.Errorf("%s: %d %s, want 400", name, got.status, got.body)
		}
	}
	checkSigned(t, do(t, "POST", rig.keyURL(0)+"?version=3&authentication="+good, quoted(payload)), rig.keys[0], payload)
}

// brokenBody is a body whose connection breaks after what looks like all of it.
type brokenBody struct{ io.Reader }

func (b *brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// TestBodyThatBreaksOff is not signed, though what has come is a payload.
func TestBodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	recorder := httptest.NewRecorder()
	body := &brokenBody{strings.NewReader(quoted(tezostest.Attestation(5, 0, 1)))}
	rig.server.Handler().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodPost, rig.keyPath(0), body))
	if recorder.Code != http.StatusBadRequest {
		t.Errorf("%d %s, want 400", recorder.Code, recorder.Body)
	}
	payload := tezostest.Attestation(5, 0, 2) // the slot is free
	checkSigned(t, rig.post(t, 0, payload), rig.keys[0], payload)
}

// TestServerWithDefaults signs without a log and without metrics of its own.
func TestServerWithDefaults(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	plain := server.New(server.Config{Signer: rig.signer})
	payload := tezostest.Attestation(5, 0, 1)
	checkSigned(t, ask(t.Context(), plain.Handler(), "POST", rig.keyPath(0), quoted(payload)), rig.keys[0], payload)
}

// TestLogNamesAnUnknownKey, and only sign requests are counted as such.
func TestLogNamesAnUnknownKey(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	const unknown = "tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z"
	for _, path := range []string{"/keys/" + unknown, "/authorized_keys", rig.keyPath(0)} {
		got := do(t, "GET", rig.url+path, "")
		_, fields := rig.log.line(t, got.id())
		if path == "/keys/"+unknown && fields["pkh"] != unknown {
			t.Errorf("GET %s: log has key %v, want %s", path, fields["pkh"], unknown)
		}
	}
	if lines := rig.counters(t); len(lines) != 0 {
		t.Errorf("counted %q, and nobody has asked for a signature", lines)
	}
	if got := do(t, "POST", rig.url+"/keys/"+unknown, quoted(tezostest.Attestation(1, 0, 1))); got.status != 404 {
		t.Errorf("POST for an unknown key: %d, want 404", got.status)
	} else {
		rig.log.line(t, got.id())
	}
	if lines := rig.counters(t); len(lines) != 1 || !strings.Contains(lines[0], `decision="unknown_key"`) || !strings.HasSuffix(lines[0], " 1\n") {
		t.Errorf("counted %q, want one for an unknown key", lines)
	}
}

// TestTableOfErrors: each error's status, label and level, also when it is wrapped and when it brings
// another one along.
func TestTableOfErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err      error
		status   int
		decision string
		level    slog.Level
	}{
		{server.ErrRequest, 400, "malformed", slog.LevelWarn},
		{tezos.ErrUnknownLayout, 400, "unknown_layout", slog.LevelError},
		{tezos.ErrMalformed, 400, "malformed", slog.LevelWarn},
		{policy.ErrDenied, 403, "denied", slog.LevelWarn},
		{signer.ErrUnknownKey, 404, "unknown_key", slog.LevelWarn},
		{ratchet.ErrRefused, 409, "watermark", slog.LevelWarn},
		{ratchet.ErrQueueFull, 503, "busy", slog.LevelWarn},
		{ratchet.ErrStopped, 503, "stopped", slog.LevelWarn},
		{ratchet.ErrCommit, 500, "failed", slog.LevelError},
		{signer.ErrHSM, 500, "failed", slog.LevelError},
		{context.DeadlineExceeded, 500, "failed", slog.LevelError},
		{context.Canceled, 503, "abandoned", slog.LevelWarn},
		{errors.New("anything else"), 500, "failed", slog.LevelError},
		{fmt.Errorf("%w: %w", signer.ErrHSM, context.DeadlineExceeded), 500, "failed", slog.LevelError},
		{fmt.Errorf("%w: %w", signer.ErrHSM, context.Canceled), 500, "failed", slog.LevelError},
		{fmt.Errorf("%w: %w", ratchet.ErrStopped, ratchet.ErrUnknown), 503, "stopped", slog.LevelWarn},
	} {
		for _, err := range []error{test.err, fmt.Errorf("key tz1…: %w", test.err)} {
			status, decision, level := server.Row(err)
			if status != test.status || decision != test.decision || level != test.level {
				t.Errorf("%v: %d %s %v, want %d %s %v", err, status, decision, level, test.status, test.decision, test.level)
			}
		}
	}
}
