package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pawl/internal/check"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"pawl/signer/grep11/pb"
	"pawl/softcard"
	"pawl/softcard/cardtest"
)

// oddServer is a software card behind a server that is odd in one way or another.
type oddServer struct {
	pb.UnimplementedCryptoServer
	inner    pb.CryptoClient
	lacks    []uint64 // mechanisms that it does not list
	lacksAll bool     // it lists none
	date     string   // header of its answers
	v1, v2   bool     // reads this dialect only
}

func (o *oddServer) GetMechanismList(ctx context.Context, req *pb.GetMechanismListRequest) (*pb.GetMechanismListResponse, error) {
	if o.date != "" {
		if err := grpc.SetHeader(ctx, metadata.Pairs("date", o.date)); err != nil {
			return nil, err
		}
	}
	res, err := o.inner.GetMechanismList(ctx, req)
	if err == nil {
		res.Mechs = slices.DeleteFunc(res.GetMechs(), func(m uint64) bool { return o.lacksAll || slices.Contains(o.lacks, m) })
	}
	return res, err
}

func (o *oddServer) SignSingle(ctx context.Context, req *pb.SignSingleRequest) (*pb.SignSingleResponse, error) {
	if o.v1 {
		req.PrivKey = nil
	}
	if o.v2 {
		req.PrivKeyBytes = nil
	}
	return o.inner.SignSingle(ctx, req)
}

// checkedDemo is a demo's folder: three keys that were never used. Its card is served
// in this process, so that faults can be set, and odd, if there is one, stands before it.
func checkedDemo(t *testing.T, odd *oddServer) (config string, card *softcard.Card) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "demo")
	ln := cardtest.Listen(t, "127.0.0.1:0")
	if err := openFolder(t.Context(), &streams{io.Discard, io.Discard}, dir, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	card = cardtest.Open(t, softcard.Dir(dir))
	if odd == nil {
		cardtest.ServeOn(t, card, softcard.Dir(dir), ln)
	} else {
		odd.inner = cardtest.Client(t, card)
		cardtest.Front(t, odd, softcard.Dir(dir), ln)
	}
	return filepath.Join(dir, demoConfig), card
}

// checkOutput is what check --json prints.
type checkOutput struct {
	OK       bool
	Errors   int
	Warnings int
	Findings []struct {
		Status, Subject, Finding, Remedy string
		Latency                          *check.Latency
	}
}

// runCheck runs `pawl check --json`, and wants a remedy with each finding that is not ok,
// and an exit code that fits.
func runCheck(t *testing.T, config string, flags ...string) checkOutput {
	t.Helper()
	return checkWithin(t.Context(), t, config, flags...)
}

func checkWithin(ctx context.Context, t *testing.T, config string, flags ...string) checkOutput {
	t.Helper()
	var out, errOut bytes.Buffer
	args := append([]string{"pawl", "check", "--json", "--config", config, "--admin", "127.0.0.1:1"}, flags...)
	code := report(&errOut, run(ctx, args, &out, &errOut))
	var got checkOutput
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if got.OK != (code == exitOK) || got.OK != (got.Errors == 0) || got.OK != (errOut.Len() == 0) {
		t.Errorf("ok %v with %d errors, exit code %d, stderr %q", got.OK, got.Errors, code, errOut.String())
	}
	for _, f := range got.Findings {
		if (f.Status == "ok") != (f.Remedy == "") {
			t.Errorf("%+v", f)
		}
	}
	return got
}

// count is how many findings have the status, the subject and the text in them.
func (o checkOutput) count(status, subject, text string) (n int) {
	for _, f := range o.Findings {
		if f.Status == status && strings.HasPrefix(f.Subject, subject) && strings.Contains(f.Finding, text) {
			n++
		}
	}
	return n
}

func (o checkOutput) want(t *testing.T, n int, status, subject, text string) {
	t.Helper()
	if got := o.count(status, subject, text); got != n {
		t.Errorf("%d findings %s %s with %q, want %d, in %+v", got, status, subject, text, n, o.Findings)
	}
}

// wantRemedy wants that all errors and warnings of the subject, of which there are some,
// have the text in their remedy.
func (o checkOutput) wantRemedy(t *testing.T, subject, text string) {
	t.Helper()
	there := false
	for _, f := range o.Findings {
		if f.Status == "ok" || !strings.HasPrefix(f.Subject, subject) {
			continue
		}
		there = true
		if !strings.Contains(f.Remedy, text) {
			t.Errorf("%s: remedy %q, want %q", f.Finding, f.Remedy, text)
		}
	}
	if !there {
		t.Errorf("%s is well: %+v", subject, o.Findings)
	}
}

func replaceIn(t *testing.T, path, old, replacement string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(old), []byte(replacement), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

// setURL changes the server of a demo's keys.json.
func setURL(config, address string) error {
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	var file map[string]any
	if err := json.Unmarshal(text, &file); err != nil {
		return err
	}
	file["url"] = address
	if text, err = json.Marshal(file); err != nil {
		return err
	}
	return os.WriteFile(config, text, 0o600)
}
