package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pawl/server"
	"pawl/signer/hsm"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

func TestAdminOnlyReads(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/ratchet"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			got := do(t, method, rig.admin+path, "{}")
			msg, allow := got.refusal(t), got.header.Get("Allow")
			if got.status != 405 || allow != "GET, HEAD" || msg != "method not allowed" {
				t.Errorf("%s %s: %d %q, want 405", method, path, got.status, msg)
			}
		}
		get, head := do(t, "GET", rig.admin+path, ""), do(t, "HEAD", rig.admin+path, "")
		if head.status != get.status || head.body != "" {
			t.Errorf("HEAD %s: %d %q, GET has %d", path, head.status, head.body, get.status)
		}
	}
	for _, path := range []string{"/", rig.keyPath(0), "/authorized_keys", "/debug/pprof/", "/metrics/"} {
		if got := do(t, "GET", rig.admin+path, ""); got.status != 404 {
			t.Errorf("GET %s: %d, want 404", path, got.status)
		}
	}
}

func TestMarksAreListed(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{kinds: []tezos.KeyKind{tezos.Ed25519, tezos.P256}})
	if got := do(t, "GET", rig.admin+"/ratchet", ""); got.status != 200 || !strings.HasPrefix(got.body, `{"marks":[],"registrations":[{`) {
		t.Errorf("without marks: %d %q, want 200 and []", got.status, got.body)
	}
	payload := tezostest.Attestation(12, 3, 1)
	rig.post(t, 1, tezostest.Attestation(11, 0, 1))
	rig.post(t, 1, payload)
	rig.post(t, 0, tezostest.Preattestation(5, 1, 1))
	var told struct {
		Marks, Registrations []map[string]any
	}
	got := do(t, "GET", rig.admin+"/ratchet", "")
	if err := json.Unmarshal([]byte(got.body), &told); err != nil || len(told.Marks) != 2 || len(told.Registrations) != 4 {
		t.Fatalf("marks %s: %v, want two marks, and two keys that have opened a chain each", got.body, err)
	}
	want := map[string]any{
		"pkh": rig.keys[1].Hash().String(), "chain_id": "NetXdQprcVkpaWU", "kind": "attestation",
		"level": 12.0, "round": 3.0, "digest": tezos.DigestOf(payload).String(), "signature": true,
	}
	for _, mark := range told.Marks {
		if mark["pkh"] != want["pkh"] {
			continue
		}
		text, _ := mark["time"].(string)
		if at, err := time.Parse(time.RFC3339Nano, text); err != nil || time.Since(at).Abs() > time.Hour {
			t.Errorf("time %q, want one of this hour", text)
		}
		delete(mark, "time")
		if len(mark) != len(want) {
			t.Errorf("mark %v, want the fields of %v", mark, want)
		}
		for key, value := range want {
			if mark[key] != value {
				t.Errorf("%s is %v, want %v", key, mark[key], value)
			}
		}
		return
	}
	t.Errorf("no mark of %v in %s", want["pkh"], got.body)
}

// TestRegistrationsAreListed: each with its floor, or null for none.
func TestRegistrationsAreListed(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	key := rig.keys[0].Hash()
	rig.post(t, 0, tezostest.Attestation(11, 0, 1))
	other := tezos.ChainID{0xb3, 0xd7, 0x9f, 0x99}
	if err := rig.db.Register(t.Context(), key, other, 7); err != nil {
		t.Fatal(err)
	}
	got := do(t, "GET", rig.admin+"/ratchet", "")
	_, registrations, _ := strings.Cut(got.body, `"registrations":`)
	want := fmt.Sprintf(`[{"pkh":%q,"chain_id":"any","from_level":null},`+
		`{"pkh":%[1]q,"chain_id":"NetXdQprcVkpaWU","from_level":null},`+
		`{"pkh":%[1]q,"chain_id":%q,"from_level":7}]}`+"\n", key, other)
	if registrations != want {
		t.Errorf("registrations\n%s, want\n%s", registrations, want)
	}
}

// TestRatchetIsToldWhileACommitHangs: who looks is not in the queue of those who sign.
func TestRatchetIsToldWhileACommitHangs(t *testing.T) {
	t.Parallel()
	committing, release := make(chan struct{}), make(chan struct{})
	var commits atomic.Int32
	rig := newRig(t, setup{onCommit: func() {
		if commits.Add(1) == 2 {
			close(committing)
			<-release
		}
	}})
	rig.post(t, 0, tezostest.Attestation(11, 0, 1))
	signed := make(chan reply, 1)
	go func() { signed <- rig.post(t, 0, tezostest.Attestation(12, 0, 1)) }()
	<-committing
	for _, path := range []string{"/ratchet", "/metrics", "/readyz", "/healthz"} {
		got := do(t, "GET", rig.admin+path, "")
		if got.status != 200 && path != "/readyz" || path == "/ratchet" && !strings.Contains(got.body, `"level":11,`) {
			t.Errorf("GET %s while a commit hangs: %d %s", path, got.status, got.body)
		}
	}
	close(release)
	if got := <-signed; got.status != 200 {
		t.Errorf("the signature after that: %d %s", got.status, got.body)
	}
}

// readyz returns the status and the answer of /readyz.
func (r *rig) readyz(t *testing.T) (status int, ready bool, keys map[string]string) {
	t.Helper()
	got := do(t, "GET", r.admin+"/readyz", "")
	var state struct {
		Ready bool
		Keys  map[string]struct {
			Ready  *bool
			Reason string
		}
	}
	if err := json.Unmarshal([]byte(got.body), &state); err != nil {
		t.Fatalf("readyz %q: %v", got.body, err)
	}
	keys = make(map[string]string)
	for pkh, key := range state.Keys {
		if key.Ready == nil || *key.Ready != (key.Reason == "") {
			t.Errorf("key %s in %s: a key is ready or has a reason", pkh, got.body)
		}
		keys[pkh] = key.Reason
	}
	return got.status, state.Ready, keys
}

// await polls /readyz until it has the status, and returns how long that took.
func (r *rig) await(t *testing.T, status int) time.Duration {
	t.Helper()
	start := time.Now()
	for time.Since(start) < 10*time.Second {
		if got, _, _ := r.readyz(t); got == status {
			return time.Since(start)
		}
		time.Sleep(20 * time.Millisecond)
	}
	_, _, keys := r.readyz(t)
	t.Fatalf("readyz is not %d after 10 s: %v", status, keys)
	return 0
}

func TestReadinessFollowsTheCard(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{kinds: []tezos.KeyKind{tezos.Ed25519, tezos.P256}})
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		rig.signer.Watch(ctx)
	}()
	defer func() {
		cancel()
		<-watched
	}()
	t.Logf("ready %v after the start", rig.await(t, 200))
	if _, ready, keys := rig.readyz(t); !ready || len(keys) != 2 {
		t.Errorf("ready %v, keys %v, want both ready", ready, keys)
	}
	rig.card.Stop()
	t.Logf("not ready %v after the card was killed", rig.await(t, 503))
	_, ready, keys := rig.readyz(t)
	for _, key := range rig.keys {
		if ready || keys[key.Hash().String()] == "" {
			t.Errorf("ready %v, keys %v, want a reason for %v", ready, keys, key.Hash())
		}
	}
	if got := do(t, "GET", rig.admin+"/healthz", ""); got.status != 200 || got.body != "ok\n" {
		t.Errorf("healthz with a dead card: %d %q, want 200 ok: a restart would not help", got.status, got.body)
	}
	metrics := do(t, "GET", rig.admin+"/metrics", "").body
	if want := `pawl_key_ready{pkh="` + rig.keys[0].Hash().String() + `"} 0`; !strings.Contains(metrics, want) {
		t.Errorf("metrics lack %s", want)
	}
	rig.card.Start(t)
	t.Logf("ready %v after the card came back", rig.await(t, 200))
}

// TestServersAreNamed: with one of two HSM servers stopped, every key is ready. The stopped server
// is named, with the reason.
func TestServersAreNamed(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{twin: true})
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		rig.signer.Watch(ctx)
	}()
	defer func() {
		cancel()
		<-watched
	}()
	type one struct {
		Ready  bool
		Reason string
	}
	servers := func() (status int, servers map[string]one) {
		got := do(t, "GET", rig.admin+"/readyz", "")
		var state struct{ Servers map[string]one }
		if err := json.Unmarshal([]byte(got.body), &state); err != nil {
			t.Fatalf("readyz %q: %v", got.body, err)
		}
		return got.status, state.Servers
	}
	var before bool
	for _, down := range []bool{false, true, false} {
		switch {
		case down:
			rig.twin.Stop()
		case before:
			rig.twin.Start(t)
		}
		before = down
		for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			status, now := servers()
			if len(now) != 2 {
				t.Fatalf("servers %v, want two", now)
			}
			if status == 200 && now[rig.card.Address] == (one{Ready: true}) && now[rig.twin.Address].Ready != down {
				if down != (now[rig.twin.Address].Reason != "") {
					t.Errorf("down %v: %+v", down, now[rig.twin.Address])
				}
				break
			}
			if time.Since(start) > 20*time.Second {
				t.Fatalf("down %v: %d %v; want 200 and the server's state", down, status, now)
			}
		}
		metrics := do(t, "GET", rig.admin+"/metrics", "").body
		for _, want := range []string{
			`pawl_hsm_server_ready{server="` + rig.card.Address + `"} 1`,
			`pawl_hsm_server_ready{server="` + rig.twin.Address + `"} ` + map[bool]string{true: "0", false: "1"}[down],
			`pawl_hsm_server_tries_total{result="ok",server="` + rig.twin.Address + `"} 0`,
			`pawl_hsm_server_tries_total{result="error",server="` + rig.twin.Address + `"} 0`,
		} {
			if !strings.Contains(metrics, "\n"+want+"\n") {
				t.Errorf("down %v: metrics lack %s", down, want)
			}
		}
	}
}

func TestFailedRatchetIsUnhealthy(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	checkSigned(t, rig.post(t, 0, tezostest.Attestation(1, 0, 1)), rig.keys[0], tezostest.Attestation(1, 0, 1))
	if err := os.Remove(rig.path); err != nil { // the next commit notices
		t.Fatal(err)
	}
	got := rig.post(t, 0, tezostest.Attestation(2, 0, 1))
	if got.refusal(t); got.status != 500 && got.status != 503 {
		t.Errorf("signing without a ratchet file: %d %s", got.status, got.body)
	}
	<-rig.signer.Failed()
	if got := do(t, "GET", rig.admin+"/healthz", ""); got.status != 503 || got.body != "failed\n" {
		t.Errorf("healthz: %d %q, want 503 failed", got.status, got.body)
	}
	if status, ready, _ := rig.readyz(t); status != 503 || ready {
		t.Errorf("readyz: %d %v, want 503", status, ready)
	}
	if got := rig.post(t, 0, tezostest.Attestation(3, 0, 1)); got.status != 503 {
		t.Errorf("signing after the failure: %d %s, want 503", got.status, got.body)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{kinds: []tezos.KeyKind{tezos.Ed25519, tezos.P256}})
	pkh := rig.keys[1].Hash().String()
	payload := tezostest.Attestation(5, 0, 1)
	answers := []reply{
		rig.post(t, 1, payload),
		rig.post(t, 1, payload),
		rig.post(t, 1, tezostest.Attestation(4, 0, 1)),
		rig.post(t, 1, tezostest.Noop(100)),
		rig.post(t, 1, unhex(t, "05010000000161")),
		rig.post(t, 1, tezostest.Noop(100)[:50]),
		do(t, "POST", rig.keyURL(1), "not JSON"),
	}
	for _, hash := range []string{
		"tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z", "tz4EECtMxAuJ9UDLaiMZH7G1GCFYUWsj8HZn", "made-up",
	} {
		answers = append(answers, do(t, "POST", rig.url+"/keys/"+hash, quoted(payload)))
	}
	for _, answer := range answers {
		rig.log.line(t, answer.id()) // a request is counted before it is logged
	}
	got := do(t, "GET", rig.admin+"/metrics", "").body
	for _, want := range []string{
		`pawl_signatures_total{decision="signed",kind="attestation",pkh="` + pkh + `"} 1`,
		`pawl_signatures_total{decision="stored",kind="attestation",pkh="` + pkh + `"} 1`,
		`pawl_signatures_total{decision="watermark",kind="attestation",pkh="` + pkh + `"} 1`,
		`pawl_signatures_total{decision="signed",kind="operation",pkh="` + pkh + `"} 1`,
		`pawl_signatures_total{decision="denied",kind="michelson",pkh="` + pkh + `"} 1`,
		`pawl_signatures_total{decision="malformed",kind="none",pkh="` + pkh + `"} 2`,
		`pawl_signatures_total{decision="unknown_key",kind="none",pkh="unknown"} 2`,
		`pawl_signatures_total{decision="malformed",kind="none",pkh="unknown"} 1`,
		`pawl_seconds_since_last_signature{kind="attestation",pkh="` + pkh + `"} `,
		`pawl_seconds_since_last_signature{kind="operation",pkh="` + pkh + `"} `,
		`pawl_hsm_seconds_count{result="ok"} 2`,
		`pawl_ratchet_commit_seconds_count 1`,
		`pawl_ratchet_commit_marks_sum 1`,
		`pawl_bad_signatures_total 0`,
		`pawl_build_info{go_version="go1.`,
		`pawl_key_ready{pkh="` + rig.keys[0].Hash().String() + `"} `,
		`go_goroutines `,
		`process_open_fds `,
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if regexp.MustCompile(`\npawl_seconds_since_last_signature\{.*\} 0\n`).MatchString(got) {
		t.Error("the time since the last signature stands still")
	}
	if strings.Contains(got, "tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z") || strings.Contains(got, "made-up") {
		t.Error("metrics have a label from what a client sent")
	}
	for _, label := range regexp.MustCompile(`pkh="([^"]*)"`).FindAllStringSubmatch(got, -1) {
		if label[1] != "unknown" && label[1] != pkh && label[1] != rig.keys[0].Hash().String() {
			t.Errorf("pkh label %q is not a configured key", label[1])
		}
	}
}

func TestBadSignaturesAreCounted(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{wrap: func(key hsm.Key) hsm.Key {
		return fakeKey{key, func(ctx context.Context, _ tezos.Message) (tezos.Signature, error) {
			return key.Sign(ctx, tezos.NewMessage([]byte("something else")))
		}}
	}})
	if got := rig.post(t, 0, tezostest.Attestation(1, 0, 1)); got.status != 500 {
		t.Errorf("a bad signature: %d %s, want 500", got.status, got.body)
	}
	got := do(t, "GET", rig.admin+"/metrics", "").body
	if !regexp.MustCompile(`\npawl_bad_signatures_total [12]\n`).MatchString(got) ||
		!strings.Contains(got, `pawl_hsm_seconds_count{result="bad_signature"}`) {
		t.Errorf("metrics do not count the bad signature")
	}
	if strings.Contains(got, "pawl_seconds_since_last_signature{") {
		t.Error("metrics tell of a signature that was not released")
	}
}

// The hooks of signer and ratchet may be called before the server is made.
func TestMetricsBeforeNew(t *testing.T) {
	t.Parallel()
	m := server.NewMetrics("test")
	m.ObserveCommit(time.Millisecond, 3)
	m.ObserveSign(tezos.PublicKeyHash{}, time.Millisecond, nil)
}
