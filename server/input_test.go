package server_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pawl/policy"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

func TestUnreadableBodies(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	tests := []struct {
		name, body string
		status     int
		msg        string
	}{
		{"empty", "", 400, "body is empty"},
		{"blank", " \r\n\t", 400, "body is empty"},
		{"not JSON", "13aa", 400, "body is not JSON"},
		{"two values", `"13" "13"`, 400, "body is not JSON"},
		{"open string", `"13`, 400, "body is not JSON"},
		{"compressed", "\x1f\x8b\x08\x00\x00\x00\x00\x00", 400, "body is not JSON"},
		{"number", "13", 400, "body is JSON but not a string"},
		{"null", "null", 400, "body is JSON but not a string"},
		{"object", `{"payload":"13"}`, 400, "body is JSON but not a string"},
		{"list", `["13"]`, 400, "body is JSON but not a string"},
		{"deep list", strings.Repeat("[", 60000), 400, "body is not JSON"},
		{"empty string", `""`, 400, "payload is empty"},
		{"odd digits", `"130"`, 400, "payload is not hexadecimal"},
		{"no digits", `"xy"`, 400, "payload is not hexadecimal"},
		{"0x", `"0x13"`, 400, "payload is not hexadecimal"},
		{"not UTF-8", "\"\xff\xfe\"", 400, "payload is not hexadecimal"},
		{"64 KiB of blanks", strings.Repeat(" ", 64<<10), 400, "body is empty"},
		{"64 KiB and 1", `"` + strings.Repeat("0", 64<<10-1) + `"`, 413, "body over 65536 bytes"},
		{"1 MiB", `"` + strings.Repeat("0", 1<<20) + `"`, 413, "body over 65536 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for transfer, body := range map[string]io.Reader{
				"with length":    strings.NewReader(tt.body),
				"without length": struct{ io.Reader }{strings.NewReader(tt.body)},
			} {
				req, err := http.NewRequestWithContext(t.Context(), "POST", rig.keyURL(0), body)
				if err != nil {
					t.Fatal(err)
				}
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := read(res)
				if err != nil {
					t.Fatal(err)
				}
				if msg := got.refusal(t); got.status != tt.status || !strings.Contains(msg, tt.msg) {
					t.Errorf("%s: got %d %q, want %d %q", transfer, got.status, msg, tt.status, tt.msg)
				}
			}
		})
	}
}

func TestBodyFormsThatAreAccepted(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	payload := tezostest.Attestation(1, 0, 0xab)
	body := strings.TrimSpace(quoted(payload))
	for _, form := range [][]string{
		{body},
		{body, "Content-Type", "application/json"},
		{body, "Content-Type", "application/json; charset=utf-8"},
		{body, "Content-Type", "text/plain"},
		{body, "Content-Encoding", "gzip"}, // the body is not compressed
		{body, "Accept", "text/html"},
		{" \r\n\t" + body + "\n\n"},
		{strings.ToUpper(body)},
		{strings.Replace(body, `"1`, `"\u0031`, 1)},
	} {
		checkSigned(t, do(t, "POST", rig.keyURL(0), form[0], form[1:]...), rig.keys[0], payload)
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	tests := []struct {
		query  string
		status int
	}{
		{"", 200},
		{"version=0", 200},
		{"version=1", 200},
		{"version=2", 200},
		{"version=3", 200},
		{"version=4", 200},
		{"version=99999999999999999999999999", 200},
		{"version=3&other=x", 200},
		{"version=", 400},
		{"version", 400},
		{"version=-1", 400},
		{"version=+1", 400},
		{"version=1.0", 400},
		{"version=0x1", 400},
		{"version=three", 400},
		{"version=%D9%A3", 400}, // a digit, but not an ASCII one
		{"version=3&version=3", 400},
		{"version=%zz", 400},
		{"a;b", 400},
		{"authentication=", 400},
		{"authentication=edsig", 400},
		{"authentication=" + strings.Repeat("1", 5000), 400},
		{"authentication=x&authentication=y", 400},
		// Authentication is off: the signature is parsed, not verified.
		{"authentication=edsigtdbjkyznJ3qsAcKYMcqWeMLVi5WPW8EFbc7rWFukBrRtqyfV65AMdUVWsThLu8isdwAmFVqT14rPmHHtHwqxbdqrKdh2wg", 200},
	}
	payload := tezostest.Attestation(1, 0, 1)
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			t.Parallel()
			got := do(t, "POST", rig.keyURL(0)+"?"+tt.query, quoted(payload))
			if got.status != tt.status {
				t.Fatalf("got %d %s, want %d", got.status, got.body, tt.status)
			}
			if got.status == 400 {
				got.refusal(t)
			}
		})
	}
}

// The signature version that a client sends must not open a second mark for a slot.
func TestVersionDoesNotChangeTheMark(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	for version, want := range []int{200, 409, 409, 409} {
		got := do(t, "POST", rig.keyURL(0)+"?version="+string(rune('0'+version)), quoted(tezostest.Attestation(1, 0, uint64(version))))
		if got.status != want {
			t.Errorf("version %d: %d %s, want %d", version, got.status, got.body, want)
		}
	}
}

func TestMalformedPayloads(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{kinds: []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256}})
	whole := map[string][]byte{
		"attestation":    tezostest.Attestation(1, 0, 1),
		"preattestation": tezostest.Preattestation(1, 0, 1),
		"block":          block(t),
		"operation":      tezostest.Noop(100),
	}
	for name, payload := range whole {
		for i := range rig.keys {
			for _, n := range []int{1, 2, len(payload) / 2, len(payload) - 1} {
				checkMalformed(t, rig, i, name+" cut short", payload[:n])
			}
			checkMalformed(t, rig, i, name+" with a byte more", append(slices.Clone(payload), 0))
			checkMalformed(t, rig, i, name+" with 30,000 bytes more", append(slices.Clone(payload), make([]byte, 30000)...))
		}
	}
	for first := range 256 {
		if !slices.Contains([]int{0x03, 0x05, 0x11, 0x12, 0x13}, first) {
			checkMalformed(t, rig, 0, "unknown first byte", append([]byte{byte(first)}, tezostest.Attestation(1, 0, 1)[1:]...))
		}
	}
	for name, payload := range whole { // none of the above moved a mark
		if got := rig.post(t, 0, payload); got.status != 200 {
			t.Errorf("%s: %d %s, want 200", name, got.status, got.body)
		}
	}
}

func checkMalformed(t *testing.T, rig *rig, i int, name string, payload []byte) {
	t.Helper()
	got := rig.post(t, i, payload)
	if msg := got.refusal(t); got.status != 400 {
		t.Errorf("%v %s (%x…): got %d %q, want 400", rig.keys[i].Kind(), name, payload[0], got.status, msg)
	}
}

func TestUnknownLayoutIsAnErrorInTheLog(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	payload := tezostest.Attestation(1, 0, 1)
	payload[37] = 0x2a // a tag that no protocol has
	got := rig.post(t, 0, payload)
	if msg := got.refusal(t); got.status != 400 || !strings.Contains(msg, "unknown consensus layout: tag 0x2a, 80 bytes") {
		t.Errorf("got %d %q, want 400 unknown consensus layout", got.status, msg)
	}
	if _, fields := rig.log.line(t, got.id()); fields["severity"] != "ERROR" || fields["decision"] != "refused" {
		t.Errorf("log says %v, want level ERROR and decision refused", fields)
	}
	want := `pawl_signatures_total{decision="unknown_layout",kind="none",pkh="` + rig.keys[0].Hash().String() + `"} 1`
	if metrics := do(t, "GET", rig.admin+"/metrics", "").body; !strings.Contains(metrics, want) {
		t.Errorf("metrics lack %s", want)
	}
}

func TestLongestLegalOperation(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	payload := tezostest.Noop(32705)
	checkSigned(t, rig.post(t, 0, payload), rig.keys[0], payload)
}

func TestBatchWithOneForbiddenContent(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	whole := tezostest.Transaction(rig.keys[0].Hash())
	branch, tx := whole[:33], whole[33:]
	// A delegation, octez tezt/tests/expected/encoding.ml/U025, of the same source.
	delegation := unhex(t, "6e0002298c03ed7d454a101eb7022bc95f7e5f41ac7821dc05edecc004adcacdb7d40100")
	copy(delegation[1:22], tx[1:22])
	batch := func(contents ...[]byte) []byte {
		payload := slices.Clone(branch)
		for i, content := range contents {
			content = slices.Clone(content)
			content[23] += byte(i) // counters are consecutive
			payload = append(payload, content...)
		}
		return payload
	}
	allowed := batch(tx, tx, tx)
	checkSigned(t, rig.post(t, 0, allowed), rig.keys[0], allowed)
	for name, payload := range map[string][]byte{
		"first":  batch(delegation, tx, tx),
		"middle": batch(tx, delegation, tx),
		"last":   batch(tx, tx, delegation),
	} {
		got := rig.post(t, 0, payload)
		if msg := got.refusal(t); got.status != 403 || !strings.Contains(msg, "delegation") {
			t.Errorf("%s: got %d %q, want 403 naming delegation", name, got.status, msg)
		}
	}
}

func TestUnknownKeys(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{policy: &policy.Policy{}})
	for _, hash := range []string{
		"tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z",
		"tz2Bjvy8z8ackCt2mQns2LrZ6Yc5BKe4dCpk",
		"tz3gvQDEZfYakYEcqaL3ESQGbbNhwVHXAQmd",
		"tz4EECtMxAuJ9UDLaiMZH7G1GCFYUWsj8HZn",
		tezos.PublicKeyHash{4, 1, 2, 3}.String(), // tz5
	} {
		for _, method := range []string{"GET", "POST"} {
			got := do(t, method, rig.url+"/keys/"+hash, quoted(tezostest.Attestation(1, 0, 1)))
			if msg := got.refusal(t); got.status != 404 || msg != "unknown key "+hash {
				t.Errorf("%s %s: got %d %q, want 404", method, hash, got.status, msg)
			}
		}
	}
}
