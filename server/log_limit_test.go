package server_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pawl/server"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// leftOut are the lines that the log says were left out, by their decision, status and key.
func (b *buffer) leftOut(t *testing.T) map[string]int {
	t.Helper()
	told := make(map[string]int)
	for _, line := range b.Lines() {
		var fields struct {
			Msg, Decision, Pkh string
			Status, Lines      int
		}
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if fields.Msg == "more lines of this kind not logged" {
			told[strings.TrimSpace(fmt.Sprint(fields.Decision, " ", fields.Status, " ", fields.Pkh))] += fields.Lines
		}
	}
	return told
}

// matching is how many lines match.
func (b *buffer) matching(pattern string) (lines int) {
	match := regexp.MustCompile(pattern).MatchString
	for _, line := range b.Lines() {
		if match(line) {
			lines++
		}
	}
	return lines
}

// wantBounded wants lines for a burst and a few more (a slow machine gives the bucket time), and
// that the rest was told of.
func (r *rig) wantBounded(t *testing.T, kind, part string, sent, burst int) {
	t.Helper()
	const few = 100
	got, told := r.log.matching(part), r.log.leftOut(t)[kind]
	if got < burst || got > burst+few || got+told != sent {
		t.Errorf("%s: %d lines and %d told of, want at least %d lines and %d in all", kind, got, told, burst, sent)
	}
}

// TestStrangersDoNotFillTheLog: whatever they send, a burst of it is logged, and how many there
// were. New signatures all have their line meanwhile.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	client := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	authorized, err := tezos.NewPublicKey(tezos.Ed25519, client.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	open, guarded := newRig(t, setup{}), newRig(t, setup{authorized: []tezos.PublicKey{authorized}})
	payload := quoted(tezostest.Attestation(77, 0, 1))
	const nobody = "/keys/tz1VSUr8wwNhLAzempoch5d6hLRiTh8Cjcjb"
	floods := []struct {
		rig                *rig
		method, path, body string
		kind, part         string
	}{
		{open, "GET", "/x", "", "malformed 404", `"reason":"unknown path: `},
		{open, "GET", "/authorized_keys", "", "answered 0", `"msg":"answered"`},
		{open, "PUT", "/authorized_keys", "", "malformed 405", `"refused".*"status":405`},
		{open, "GET", "/keys/x", "", "malformed 400", `"refused".*"status":400`},
		{open, "POST", nobody, payload, "unknown_key 404", `"decision":"refused","reason":"unknown key`},
		{open, "GET", "/known_keys", "", "malformed 500", `"refused".*"status":500`},
		{open, "POST", open.keyPath(0), `"` + strings.Repeat("0", 1<<17) + `"`, "malformed 413", `"refused".*"status":413`},
		{guarded, "POST", guarded.keyPath(0), payload, "unauthenticated 401", `"refused".*"status":401`},
	}
	const sent = 400
	for i, f := range floods {
		handler := f.rig.server.Handler()
		for j := range sent {
			ask(t.Context(), handler, f.method, f.path, f.body)
			if j%100 == 0 && f.rig == open {
				payload := tezostest.Attestation(int32(1000+sent*i+j), 0, 1)
				checkSigned(t, open.post(t, 0, payload), open.keys[0], payload)
			}
		}
	}
	open.server.TellSkipped()
	guarded.server.TellSkipped()
	for _, f := range floods {
		f.rig.wantBounded(t, f.kind, f.part, sent, server.StrangerBurst)
	}
	if got, want := open.log.matching(`"msg":"signed"`), 4*(len(floods)-1); got != want {
		t.Errorf("%d lines of new signatures, want %d", got, want)
	}
	skipped := 0
	for _, lines := range open.log.leftOut(t) {
		skipped += lines
	}
	metrics := do(t, "GET", open.admin+"/metrics", "").body
	want := fmt.Sprintf("\npawl_log_lines_skipped_total %d\n", skipped)
	if !strings.Contains(metrics, want) {
		t.Errorf("want %q in the metrics: %s", want, metrics)
	}
}

// TestLogOfAKeyIsBounded: who may ask for signatures has a line for each new one, and a larger
// bucket for each kind of other lines. One kind takes no lines from another.
func TestLogOfAKeyIsBounded(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	key := rig.keys[0].Hash()
	sent := server.KeyBurst + 200
	sign := func(payload []byte) error {
		_, _, err := rig.server.SignRequest(t.Context(), key, nil, payload)
		return err
	}
	for level := range int32(sent) {
		if err := sign(tezostest.Attestation(1+level, 0, 1)); err != nil {
			t.Fatal(err)
		}
	}
	last := int32(sent)
	floods := []struct {
		payload    []byte
		kind, part string
	}{
		{tezostest.Attestation(last, 0, 1), "stored 0", `"signed".*"decision":"stored"`},
		{tezostest.Attestation(last, 0, 2), "watermark 409", "already signed with different data"},
		{[]byte{0x11}, "malformed 400", `"decision":"refused","reason":"malformed`},
	}
	for _, f := range floods {
		for range sent {
			_ = sign(f.payload)
		}
	}
	rig.server.TellSkipped()
	if got := rig.log.matching(`"decision":"signed"`); got != sent {
		t.Errorf("%d lines of new signatures, want %d", got, sent)
	}
	for _, f := range floods {
		rig.wantBounded(t, f.kind+" "+key.String(), f.part, sent, server.KeyBurst)
	}
}

// TestErrorsAreLoggedWithTheirLevel: what was left out of errors is told as an error.
func TestErrorsAreLoggedWithTheirLevel(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	handler := rig.server.AnswerWith(func(context.Context) error { return errors.New("broken") })
	for range server.StrangerBurst + 50 {
		ask(t.Context(), handler, "GET", "/fault", "")
	}
	rig.server.TellSkipped()
	if rig.log.matching(`"severity":"ERROR","msg":"more lines of this kind not logged"`) != 1 {
		t.Errorf("log: %s", rig.log)
	}
}

// TestSkippedLinesAreToldOnce: nothing is told when nothing was left out.
func TestSkippedLinesAreToldOnce(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	for range server.StrangerBurst + 50 {
		ask(t.Context(), rig.server.Handler(), "GET", "/x", "")
	}
	for range 3 {
		rig.server.TellSkipped()
	}
	if n := rig.log.matching("more lines of this kind not logged"); n != 1 {
		t.Errorf("told %d times, want once", n)
	}
}

// TestConnectionsDoNotFillTheLog: nor does who never gets as far as a request.
func TestConnectionsDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	cert, key := newAuthority(t, t.TempDir(), "ca").leaf(t, "server")
	cfg, err := server.TLSConfig(cert, key, "")
	if err != nil {
		t.Fatal(err)
	}
	addr := serveAt(t, rig.server, server.Listener{Name: "narrow", Handler: rig.server.Handler(), TLS: cfg})
	const sent = 400
	began := time.Now()
	for range sent {
		conn := dial(t, addr)
		if _, err := fmt.Fprint(conn, "no TLS\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Read(make([]byte, 100)) // until it is refused
	}
	for start := time.Now(); rig.closed(t, "narrow", "handshake") < sent; {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%d failures counted, want %d", rig.closed(t, "narrow", "handshake"), sent)
		}
	}
	most := 1 + int(time.Since(began).Seconds())
	if lines := rig.log.count(`"reason":"handshake"`); lines == 0 || lines > most {
		t.Errorf("%d lines, want one a second, %d at the most", lines, most)
	}
}

// TestBucketFills: after a quiet time a burst is written, and in the long run a line a second. What
// was left out is told by and by.
func TestBucketFills(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{time.Second, 500 * time.Millisecond, 10 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			var log buffer
			mayWrite := server.StrangersLine(slog.New(slog.NewJSONHandler(&log, nil)))
			mayWrite()
			time.Sleep(24 * time.Hour)
			const hour = 3600
			written, sent := 0, int(hour*time.Second/pause)
			for range sent {
				if mayWrite() {
					written++
				}
				time.Sleep(pause)
			}
			if want := min(sent, server.StrangerBurst+hour); written < want-5 || written > want {
				t.Errorf("%d lines of an hour with one each %v, want %d", written, pause, want)
			}
			time.Sleep(time.Minute)
			if told := log.leftOut(t)["x 0"]; written+told != sent {
				t.Errorf("%d lines and %d told of, want %d in all", written, told, sent)
			}
		})
	}
}
