package server_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pawl/policy"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

func TestLogOfASignature(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	payload := tezostest.Attestation(77, 3, 1)
	want := map[string]any{
		"severity": "INFO",
		"level":    float64(77),
		"msg":      "signed",
		"method":   "POST",
		"path":     "/keys/:pkh",
		"status":   float64(200),
		"pkh":      rig.keys[0].Hash().String(),
		"chain_id": "NetXdQprcVkpaWU",
		"kind":     "attestation",
		"round":    float64(3),
		"digest":   tezos.DigestOf(payload).String(),
	}
	for _, decision := range []string{"signed", "stored"} {
		got := rig.post(t, 0, payload)
		_, fields := rig.log.line(t, got.id())
		want["decision"] = decision
		for key, value := range want {
			if fields[key] != value {
				t.Errorf("%s: %s is %v, want %v", decision, key, fields[key], value)
			}
		}
		if !strings.HasPrefix(fmt.Sprint(fields["client"]), "127.0.0.1:") {
			t.Errorf("%s: client %v", decision, fields["client"])
		}
		if ms, ok := fields["elapsed"].(float64); !ok || ms <= 0 {
			t.Errorf("%s: elapsed %v, want milliseconds", decision, fields["elapsed"])
		}
		if _, asked := fields["hsm_elapsed"].(float64); asked != (decision == "signed") {
			t.Errorf("%s: hsm_elapsed %v", decision, fields["hsm_elapsed"])
		}
		if n := strings.Count(rig.log.String(), got.id()); n != 1 {
			t.Errorf("%s: %d log lines, want 1", decision, n)
		}
	}
}

// TestLogDoesNotDelayTheAnswer: a signature is sent even while the log hangs.
func TestLogDoesNotDelayTheAnswer(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	payload := tezostest.Attestation(77, 0, 1)
	release := rig.log.Block()
	released := time.AfterFunc(20*time.Second, release)
	checkSigned(t, rig.post(t, 0, payload), rig.keys[0], payload)
	if !released.Stop() {
		t.Error("the answer came after the log line")
	}
	release()
}

// TestRefusalIsLoggedAtOnce: a refusal that needs no body does not wait for it.
func TestRefusalIsLoggedAtOnce(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	conn := dial(t, strings.TrimPrefix(rig.url, "http://"))
	start := time.Now()
	const head = "POST /keys/tz1 HTTP/1.1\r\nHost: signer\r\nOrigin: web\r\nContent-Length: 100\r\n\r\n"
	if _, err := fmt.Fprint(conn, head); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(rig.log.String(), "browsers") {
		if time.Since(start) > 4*time.Second {
			t.Fatal("the refusal is not in the log while the client holds its body back")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestLogOfRefusals(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	rig.post(t, 0, tezostest.Attestation(5, 0, 1))
	tests := []struct {
		name         string
		got          reply
		level, want  string
		method, path string
	}{
		{"watermark", rig.post(t, 0, tezostest.Attestation(4, 0, 1)), "WARN", "attestation level 4 below high watermark 5", "POST", "/keys/:pkh"},
		{"denied", rig.post(t, 0, unhex(t, "05010000000161")), "WARN", "policy.michelson", "POST", "/keys/:pkh"},
		{"unknown path", do(t, "GET", rig.url+"/other?made-up", ""), "WARN", "known are /authorized_keys", "GET", `"/other"`},
		{"made-up method", do(t, strings.Repeat("X", 100), rig.keyURL(0), ""), "WARN", "method not allowed", "other", "/keys/:pkh"},
		{"no hash", do(t, "GET", rig.url+"/keys/made-up", ""), "WARN", "not a public key hash", "GET", "/keys/:pkh"},
	}
	for _, tt := range tests {
		line, fields := rig.log.line(t, tt.got.id())
		if !strings.Contains(line, `"severity":"`+tt.level+`","msg":"refused"`) || fields["decision"] != "refused" {
			t.Errorf("%s: log line %s, want %s refused", tt.name, line, tt.level)
		}
		if !strings.Contains(fmt.Sprint(fields["reason"]), tt.want) ||
			fields["path"] != tt.path || fields["method"] != tt.method {
			t.Errorf("%s: log line %s, want reason %q, path %q, method %q", tt.name, line, tt.want, tt.path, tt.method)
		}
		if strings.Contains(line, "made-up") || strings.Contains(line, "XXXX") {
			t.Errorf("%s: log line repeats what the client made up: %s", tt.name, line)
		}
	}
}

// TestUnknownPathInTheLog: the log says what was asked for, quoted and cut, and nothing in it that
// may be a secret.
func TestUnknownPathInTheLog(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	const secret = "edsk3gUfUPyBSfrS9CCgmCiQsTCHGkviBDusMxDJstFtojtc1zcpsh"
	const pkh = "tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z"
	for asked, want := range map[string]string{
		"/nothing":                         `"/nothing"`,
		"/signer/keys/" + pkh:              `"/signer/keys/` + pkh + `"`,
		"/keys/" + pkh + "/more":           `"/keys/` + pkh + `/more"`,
		"/a%0Ab%1B%5B2J%22%E2%80%AE":       `"/a\nb\x1b[2J\"\u202e"`,
		"/" + secret:                       `"/edsk\u2026(54 bytes)"`,
		"/x/" + strings.Repeat("13", 5000): `"/x/1313\u2026(10000 bytes)"`,
		strings.Repeat("/abc", 1000):       `"` + strings.Repeat("/abc", 30) + `\u2026"`,
		"/%ff":                             `"/\xff"`,
	} {
		line, fields := rig.log.line(t, do(t, "GET", rig.url+asked, "").id())
		if fields["path"] != want || fields["status"] != 404.0 {
			t.Errorf("%.60q: path %v, want %s", asked, fields["path"], want)
		}
		if strings.Contains(line, secret[5:]) {
			t.Errorf("the log has a secret key: %s", line)
		}
	}
}

// Requests of clients are logged as information, those to the admin listener for debugging only.
func TestReadsAreLogged(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	for url, want := range map[string]string{
		rig.keyURL(0): "INFO", rig.url + "/authorized_keys": "INFO",
		rig.admin + "/metrics": "DEBUG", rig.admin + "/healthz": "DEBUG",
	} {
		_, fields := rig.log.line(t, do(t, "GET", url, "").id())
		if fields["severity"] != want || fields["decision"] != nil {
			t.Errorf("GET %s: logged %v, want level %s and no decision", url, fields, want)
		}
	}
}

// A reader of the log, the answers or the metrics learns no payload and no key blob.
func TestNoPayloadAndNoBlobInTheLog(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{policy: &policy.Policy{Baking: true, Operations: []tezos.OperationKind{"transaction"}}})
	transaction := tezostest.Transaction(rig.keys[0].Hash())
	payloads := map[string][]byte{
		"signed":            tezostest.Attestation(9, 0, 1),
		"signed operation":  transaction,
		"same slot":         tezostest.Attestation(9, 0, 2),
		"below":             tezostest.Attestation(8, 0, 3),
		"denied":            tezostest.Noop(100),
		"malformed":         append(tezostest.Attestation(10, 0, 4), 1, 2, 3),
		"unknown layout":    append(tezostest.Attestation(10, 0, 5)[:37], append([]byte{0x2a}, tezostest.Attestation(10, 0, 5)[38:]...)...),
		"unknown first one": append([]byte{0x77}, tezostest.Attestation(10, 0, 6)...),
	}
	secrets := map[string][]byte{"blob": rig.blobs[0]}
	maps.Copy(secrets, payloads)
	for _, name := range slices.Sorted(maps.Keys(payloads)) {
		got := rig.post(t, 0, payloads[name])
		rig.log.line(t, got.id())
		checkAbsent(t, "answer to "+name, got.body, secrets)
	}
	rig.card.Stop()
	checkAbsent(t, "failure", rig.post(t, 0, tezostest.Attestation(10, 0, 7)).body, secrets)
	rig.card.Start(t)
	checkAbsent(t, "log", rig.log.String(), secrets)
	checkAbsent(t, "metrics", do(t, "GET", rig.admin+"/metrics", "").body, secrets)
}

// checkAbsent looks for the last 12 bytes of each secret, in the forms that bytes take in logs.
// (A payload begins with the chain id, zeros and levels, which may be logged.)
func checkAbsent(t *testing.T, where, text string, secrets map[string][]byte) {
	t.Helper()
	lower := strings.ToLower(text)
	for name, secret := range secrets {
		part := secret[len(secret)-12:]
		forms := []string{
			hex.EncodeToString(part),
			strings.Trim(fmt.Sprintf("%d", part), "[]"),
			strings.ToLower(base64.StdEncoding.EncodeToString(secret))[:40],
		}
		for _, form := range forms {
			if strings.Contains(lower, form) {
				t.Errorf("%s has the bytes of %q: %s", where, name, form)
			}
		}
	}
}
