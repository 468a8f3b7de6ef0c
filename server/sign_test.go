package server_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	tz "blockwatch.cc/tzgo/tezos"
	"github.com/google/go-cmp/cmp"

	"pawl/server"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// outcome is all that an operator or a client can see of a sign request and that does not depend
// on the transport.
type outcome struct {
	Status   int
	Msg      string
	Signed   bool // a signature that verifies
	Line     map[string]any
	Counters []string // pawl_signatures_total so far
}

// signCase is one sign request. The requests of a test follow each other on one ratchet.
type signCase struct {
	name      string
	unknown   bool   // for a key that is not there
	otherAuth []byte // signed by the client instead of the payload; nil is the payload
	noAuth    bool
	before    func(*rig)
	payload   []byte
	status    int
}

func signCases(t *testing.T) []signCase {
	t.Helper()
	layout := tezostest.Attestation(6, 0, 1)
	layout[37] = 0x2a // a tag that no protocol has
	return []signCase{
		{name: "no authentication", noAuth: true, payload: tezostest.Attestation(5, 0, 1), status: 401},
		{name: "authentication of other bytes", otherAuth: tezostest.Attestation(5, 0, 2), payload: tezostest.Attestation(5, 0, 1), status: 401},
		{name: "first", payload: tezostest.Attestation(5, 0, 1), status: 200},
		{name: "the same again", payload: tezostest.Attestation(5, 0, 1), status: 200},
		{name: "same slot, other bytes", payload: tezostest.Attestation(5, 0, 2), status: 409},
		{name: "below", payload: tezostest.Attestation(4, 0, 1), status: 409},
		{name: "far above", payload: tezostest.Attestation(1_000_000, 0, 1), status: 409},
		{name: "operation", payload: tezostest.Noop(100), status: 200},
		{name: "denied", payload: unhex(t, "05010000000161"), status: 403},
		{name: "malformed", payload: tezostest.Noop(100)[:50], status: 400},
		{name: "unknown layout", payload: layout, status: 400},
		{name: "unknown key", unknown: true, payload: tezostest.Attestation(6, 0, 1), status: 404},
		{name: "no HSM", before: func(r *rig) { r.card.Stop() }, payload: tezostest.Attestation(7, 0, 1), status: 500},
		{name: "no ratchet", before: func(r *rig) { _ = r.db.Close() }, payload: tezostest.Attestation(8, 0, 1), status: 503},
	}
}

// TestSignRequestNeedsNoTransport: without a transport a request has the same status, text, log
// line and counters as over HTTP.
func TestSignRequestNeedsNoTransport(t *testing.T) {
	t.Parallel()
	client := newClientKey(t, tz.KeyTypeEd25519)
	overHTTP := newRig(t, setup{authorized: []tezos.PublicKey{client.public}})
	direct := newRig(t, setup{authorized: []tezos.PublicKey{client.public}})
	for _, c := range signCases(t) {
		want, got := overHTTP.send(t, client, c, (*rig).sendHTTP), direct.send(t, client, c, (*rig).sendDirect)
		if want.Status != c.status || want.Signed != (c.status == 200) {
			t.Errorf("%s over HTTP: %d %q, signed %v; want %d", c.name, want.Status, want.Msg, want.Signed, c.status)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: over HTTP (-) and without a transport (+) differ:\n%s", c.name, diff)
		}
	}
}

// request is a sign request that any transport can carry.
type request struct {
	hash           tezos.PublicKeyHash
	authentication string
	payload        []byte
}

// sent is what came back, and the id of the log line.
type sent struct {
	id, signature, msg string
	status             int
}

func (r *rig) send(t *testing.T, client clientKey, c signCase, transport func(*rig, *testing.T, request) sent) outcome {
	t.Helper()
	if c.before != nil {
		c.before(r)
	}
	req := request{hash: r.keys[0].Hash(), payload: c.payload}
	if c.unknown {
		req.hash = tezos.PublicKeyHash{byte(tezos.P256), 1, 2, 3}
	}
	if !c.noAuth {
		signed := c.payload
		if c.otherAuth != nil {
			signed = c.otherAuth
		}
		req.authentication = client.authenticate(t, req.hash, signed).String()
	}
	got := transport(r, t, req)
	return outcome{
		Status:   got.status,
		Msg:      r.neutral(got.msg),
		Signed:   r.verifies(t, got.signature, c.payload),
		Line:     r.neutralLine(t, got.id),
		Counters: r.counters(t),
	}
}

func (r *rig) sendHTTP(t *testing.T, req request) sent {
	t.Helper()
	target := r.url + "/keys/" + req.hash.String()
	if req.authentication != "" {
		target += "?authentication=" + url.QueryEscape(req.authentication)
	}
	got := do(t, "POST", target, quoted(req.payload))
	if got.status == 200 {
		return sent{id: got.id(), signature: checkSigned(t, got, r.keys[0], req.payload), status: got.status}
	}
	return sent{id: got.id(), msg: got.refusal(t), status: got.status}
}

func (r *rig) sendDirect(t *testing.T, req request) sent {
	t.Helper()
	var authentication *tezos.Signature
	if req.authentication != "" {
		signature, err := tezos.ParseSignature(req.authentication)
		if err != nil {
			t.Fatal(err)
		}
		authentication = &signature
	}
	id, result, err := r.server.SignRequest(t.Context(), req.hash, authentication, req.payload)
	if err == nil {
		return sent{id: id, signature: result.Signature.String(), status: 200}
	}
	status, msg := server.Refusal(err, id)
	return sent{id: id, msg: strings.TrimSuffix(msg, " (request "+id+")"), status: status}
}

func (r *rig) verifies(t *testing.T, text string, payload []byte) bool {
	t.Helper()
	if text == "" {
		return false
	}
	signature, err := tezos.ParseSignature(text)
	if err != nil {
		t.Fatal(err)
	}
	return r.keys[0].Verify(tezos.NewMessage(payload), signature) == nil
}

// neutralLine returns the log line without what comes from the transport, the clock or the rig.
func (r *rig) neutralLine(t *testing.T, id string) map[string]any {
	t.Helper()
	_, fields := r.log.line(t, id)
	if fields["transport"] == nil && fields["path"] == nil {
		t.Errorf("line %v lacks the attributes of its transport", fields)
	}
	for _, name := range []string{"client", "method", "path", "status", "transport", "request_id", "time"} {
		delete(fields, name)
	}
	for _, name := range []string{"elapsed", "hsm_elapsed"} {
		if _, there := fields[name]; there {
			fields[name] = "some time"
		}
	}
	for name, value := range fields {
		if text, ok := value.(string); ok {
			fields[name] = r.neutral(text)
		}
	}
	return fields
}

// neutral replaces the key and the HSM address of the rig.
func (r *rig) neutral(text string) string {
	return strings.NewReplacer(r.keys[0].Hash().String(), "KEY", r.card.Address, "HSM").Replace(text)
}

// counters returns the lines of pawl_signatures_total.
func (r *rig) counters(t *testing.T) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(do(t, "GET", r.admin+"/metrics", "").body) {
		if strings.HasPrefix(line, "pawl_signatures_total{") {
			lines = append(lines, r.neutral(line))
		}
	}
	slices.Sort(lines)
	return lines
}
