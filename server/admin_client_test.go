package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pawl/server"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// adminClient returns a client of a server with handler, which lives until the end of the test.
func adminClient(t *testing.T, handler http.Handler) server.AdminClient {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return server.AdminClient{Address: srv.Listener.Addr().String()}
}

func TestAdminClientReadsMarks(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{kinds: []tezos.KeyKind{tezos.Ed25519, tezos.P256}})
	client := adminClient(t, rig.server.Admin())
	if got, err := client.Ratchet(t.Context()); err != nil || len(got.Marks) != 0 || len(got.Registrations) != 2 {
		t.Errorf("without marks: %v, %v; want none, and two registrations", got, err)
	}
	rig.post(t, 0, tezostest.Preattestation(5, 1, 1))
	rig.post(t, 1, tezostest.Attestation(12, 3, 1))
	got, err := client.Ratchet(t.Context())
	want, wantErr := rig.db.Ratchet.List(t.Context())
	if err != nil || wantErr != nil || len(want.Marks) != 2 || len(want.Registrations) != 4 {
		t.Fatalf("got %v, %v; the ratchet has %v, %v", got, err, want, wantErr)
	}
	if diff := cmp.Diff(server.NewRatchet(want), server.NewRatchet(got)); diff != "" {
		t.Errorf("the ratchet (-) and what the client got (+):\n%s", diff)
	}
	if diff := cmp.Diff(want.Registrations, got.Registrations); diff != "" {
		t.Errorf("registrations of the ratchet (-) and of the client (+):\n%s", diff)
	}
}

// TestAdminClientReadsReadiness: a daemon that is not ready answers 503, and the client reads why.
func TestAdminClientReadsReadiness(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
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
	client := adminClient(t, rig.server.Admin())
	pkh := rig.keys[0].Hash().String()

	rig.await(t, 200)
	got, err := client.Readiness(t.Context())
	if err != nil || !got.Ready || !got.Keys[pkh].Ready || got.Keys[pkh].Held != nil || !got.Servers[rig.card.Address].Ready {
		t.Errorf("with a card: %+v, %v; want all ready", got, err)
	}
	rig.card.Stop()
	rig.await(t, 503)
	got, err = client.Readiness(t.Context())
	if err != nil || got.Ready || got.Keys[pkh].Ready || got.Keys[pkh].Reason == "" {
		t.Errorf("without a card: %+v, %v; want a reason for the key", got, err)
	}
	rig.card.Start(t)
}

// The bytes of /readyz, which monitoring reads too.
func TestReadinessJSON(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(server.Readiness{
		Keys:    map[string]server.ReadyState{"tz1": {Ready: true}, "tz2": {Reason: "no HSM"}},
		Servers: map[string]server.ReadyState{},
	})
	const want = `{"ready":false,"keys":{"tz1":{"ready":true},"tz2":{"ready":false,"reason":"no HSM"}},"servers":{}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

// TestAdminClientAsksByName: a daemon that is asked by a name refuses, and the client says what to
// do.
func TestAdminClientAsksByName(t *testing.T) {
	t.Parallel()
	rig := newRig(t, setup{})
	named := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = "signer.example:9732"
		rig.server.Admin().ServeHTTP(w, r)
	})
	if _, err := adminClient(t, named).Ratchet(t.Context()); err == nil || !strings.Contains(err.Error(), "by IP address") {
		t.Errorf("error %v, want one that says how to ask", err)
	}
}

func TestAdminClientRefusesAnswers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"another program":  {404, "not found", "status 404"},
		"not ready":        {503, "[]", "status 503"}, // only /readyz may answer so
		"not JSON":         {200, "<html>", "not the expected JSON"},
		"other JSON":       {200, `{"marks":[]}`, "not the expected JSON"},
		"marks alone":      {200, `[]`, "not the expected JSON"}, // what pawl told once
		"cut short":        {200, `{"marks":[{"pkh":"tz1`, "not the expected JSON"},
		"no mark":          {200, `{"marks":[{}],"registrations":[]}`, "in the answer: mark 1"},
		"no registration":  {200, `{"marks":[],"registrations":[{}]}`, "is not the expected JSON: pkh"},
		"no chain":         {200, `{"marks":[],"registrations":[{"pkh":"` + tezos.PublicKeyHash{}.String() + `"}]}`, "is not the expected JSON: chain_id"},
		"kind of tomorrow": {200, `{"marks":[` + markJSON("nonce") + `],"registrations":[]}`, `kind "nonce": want block`},
	} {
		client := adminClient(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		}))
		if got, err := client.Ratchet(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) || got.Marks != nil {
			t.Errorf("%s: %v, %v; want an error with %q", name, got, err, test.want)
		}
	}
	if _, err := (server.AdminClient{Address: "127.0.0.1:1"}).Readiness(t.Context()); err == nil {
		t.Error("nobody listens, and there is no error")
	}
}

func markJSON(kind string) string {
	const format = `{"pkh":%q,"chain_id":"NetXdQprcVkpaWU","kind":%q,"level":1,"round":0,"digest":%q,"signature":true}`
	return fmt.Sprintf(format, tezos.PublicKeyHash{}, kind, tezos.Digest{})
}

// TestAdminClientBoundsAnswers: an answer that is announced as too long is not read.
func TestAdminClientBoundsAnswers(t *testing.T) {
	t.Parallel()
	client := adminClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(server.MaxAdminAnswer+1))
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	_, err := client.Ratchet(t.Context())
	if want := fmt.Sprintf("answer over %d bytes", server.MaxAdminAnswer); err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

// blanks is an answer without an end, which counts what is read of it.
type blanks struct{ read int }

func (b *blanks) Read(p []byte) (int, error) {
	n := copy(p, bytes.Repeat([]byte{' '}, len(p)))
	b.read += n
	return n, nil
}

// TestAdminClientStopsReading: an answer without an end is read up to the bound.
func TestAdminClientStopsReading(t *testing.T) {
	t.Parallel()
	var body blanks
	err := server.ReadAnswer(&http.Response{ContentLength: -1, Body: io.NopCloser(&body)}, new([]server.Mark))
	if err == nil || !strings.HasPrefix(err.Error(), "answer over") || body.read != server.MaxAdminAnswer+1 {
		t.Errorf("read %d bytes, error %v; want the bound and one byte, and an error", body.read, err)
	}
}

// TestAdminClientEndsAfterFiveSeconds: before the answer begins, and in the middle of it.
func TestAdminClientEndsAfterFiveSeconds(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{"silent": "", "half an answer": `{"marks":[{"pkh":`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := adminClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if begin != "" {
					_, _ = io.WriteString(w, begin)
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
			}))
			start := time.Now()
			_, err := client.Ratchet(t.Context())
			took := time.Since(start)
			if !errors.Is(err, context.DeadlineExceeded) || took < 4*time.Second || took > 15*time.Second {
				t.Errorf("%v after %v, want a deadline after 5 s", err, took)
			}
		})
	}
}
