package tezos_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pawl/tezos"
)

// vector is a file of testdata: headers, an empty line, and the payload in hex.
type vector struct {
	name    string
	header  map[string][]string
	payload []byte
}

func (v vector) get(name string) string { return strings.Join(v.header[name], "\n") }

func (v vector) accepted() bool { return v.get("expect") == "ok" }

func (v vector) number(tb testing.TB, name string) int {
	tb.Helper()
	n, err := strconv.Atoi(v.get(name))
	if err != nil {
		tb.Fatalf("%s: header %s: %v", v.name, name, err)
	}
	return n
}

func (v vector) key(tb testing.TB) tezos.PublicKeyHash {
	tb.Helper()
	return parseHash(tb, v.get("key"))
}

func readVectors(tb testing.TB) []vector {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 300 {
		tb.Fatalf("%d vectors, error %v", len(files), err)
	}
	vectors := make([]vector, 0, len(files))
	for _, file := range files {
		vectors = append(vectors, readVector(tb, file))
	}
	return vectors
}

func readVector(tb testing.TB, file string) vector {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	head, body, ok := strings.Cut(string(text), "\n\n")
	if !ok {
		tb.Fatalf("%s: no empty line", file)
	}
	v := vector{name: strings.TrimSuffix(filepath.Base(file), ".txt"), header: map[string][]string{}}
	for line := range strings.Lines(head) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			tb.Fatalf("%s: header %q", file, line)
		}
		v.header[name] = append(v.header[name], value)
	}
	v.payload, err = hex.DecodeString(strings.Join(strings.Fields(body), ""))
	if err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	return v
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t) {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			if got := tezos.DigestOf(v.payload).String(); got != v.get("digest") {
				t.Errorf("digest %s, want %s", got, v.get("digest"))
			}
			if v.get("source") == "" {
				t.Error("no source")
			}
			request, err := tezos.ParseRequest(v.payload, v.key(t))
			if v.accepted() {
				checkAccepted(t, v, request, err)
				return
			}
			checkRefused(t, v, request, err)
		})
	}
}

func checkRefused(t *testing.T, v vector, request tezos.Request, err error) {
	t.Helper()
	if request != nil {
		t.Errorf("gives %#v beside error %v", request, err)
	}
	offset := v.number(t, "offset")
	want := fmt.Sprintf("malformed payload: %s (offset %d)", v.get("expect"), offset)
	if err == nil || err.Error() != want {
		t.Fatalf("error %q, want %q", err, want)
	}
	var parseErr *tezos.ParseError
	if !errors.As(err, &parseErr) || parseErr.Offset != offset || parseErr.Reason != v.get("expect") {
		t.Errorf("error %#v, want offset %d and reason %q", err, offset, v.get("expect"))
	}
	if !errors.Is(err, tezos.ErrMalformed) {
		t.Error("is not ErrMalformed")
	}
	unknown := strings.HasPrefix(v.get("expect"), "unknown consensus layout: tag 0x")
	if got := errors.Is(err, tezos.ErrUnknownLayout); got != unknown {
		t.Errorf("is ErrUnknownLayout: %t, want %t", got, unknown)
	}
}

func checkAccepted(t *testing.T, v vector, request tezos.Request, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantHeader(v), gotHeader(request)); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

// wantHeader returns the headers that say what is in the payload.
func wantHeader(v vector) map[string]string {
	want := map[string]string{}
	for _, name := range []string{"kind", "chain", "level", "round", "dal", "liquidity_baking", "content"} {
		if value := v.get(name); value != "" {
			want[name] = value
		}
	}
	return want
}

func gotHeader(request tezos.Request) map[string]string {
	switch r := request.(type) {
	case tezos.Consensus:
		got := map[string]string{
			"kind":  r.Kind.String(),
			"chain": r.ChainID.String(),
			"level": strconv.Itoa(int(r.Level)),
			"round": strconv.Itoa(int(r.Round)),
		}
		if r.DAL {
			got["dal"] = "true"
		}
		if r.Kind == tezos.Block {
			got["liquidity_baking"] = r.LiquidityBaking.String()
		}
		return got
	case tezos.Operation:
		var contents []string
		for _, c := range r.Contents {
			contents = append(contents, describe(c))
		}
		return map[string]string{"kind": "operation", "content": strings.Join(contents, "\n")}
	case tezos.Michelson:
		return map[string]string{"kind": "michelson"}
	}
	return nil
}

func describe(c tezos.Content) string {
	s := string(c.Kind)
	if c.Source != (tezos.PublicKeyHash{}) {
		s += " source=" + c.Source.String()
	}
	if c.Destination != "" {
		s += " destination=" + c.Destination
	}
	if c.Amount != 0 {
		s += fmt.Sprintf(" amount=%d", c.Amount)
	}
	if c.Fee != 0 {
		s += fmt.Sprintf(" fee=%d", c.Fee)
	}
	if c.Entrypoint != "" && string(c.Kind) != c.Entrypoint {
		s += fmt.Sprintf(" entrypoint=%s parameters=%d", c.Entrypoint, c.Parameters)
	}
	if c.Kind == tezos.OpBallot || c.Kind == tezos.OpProposals {
		s += fmt.Sprintf(" period=%d", c.Period)
	}
	if c.Kind == tezos.OpBallot {
		s += " ballot=" + c.Ballot.String()
	}
	return s
}

// single reports whether no shorter and no longer payload can be well-formed. A batch may
// end after any of its contents.
func (v vector) single() bool { return v.accepted() && len(v.header["content"]) <= 1 }

func TestTruncationsAreRefused(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t) {
		if !v.single() {
			continue
		}
		for n := range v.payload {
			if request, err := tezos.ParseRequest(v.payload[:n], v.key(t)); err == nil || request != nil {
				t.Fatalf("%s: first %d of %d bytes give %#v, error %v", v.name, n, len(v.payload), request, err)
			}
		}
	}
}

func TestExtensionsAreRefused(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t) {
		if !v.single() {
			continue
		}
		for b := range 256 {
			longer := append(slices.Clip(v.payload), byte(b))
			if request, err := tezos.ParseRequest(longer, v.key(t)); err == nil || request != nil {
				t.Fatalf("%s and 0x%02x: gives %#v, error %v", v.name, b, request, err)
			}
		}
	}
}

// A payload that is refused for one key is refused for others too.
func TestRefusedForAnotherKeyToo(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t) {
		if v.accepted() || len(v.payload) == 0 {
			continue
		}
		key := v.key(t)
		key[20] ^= 1
		if request, err := tezos.ParseRequest(v.payload, key); err == nil {
			t.Errorf("%s: gives %#v for another key", v.name, request)
		}
	}
}
