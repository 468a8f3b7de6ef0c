package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/signer/grep11/softcard"
)

// certifyCommand is `certify DIR SERVER-DAYS CLIENT-DAYS`: it gives a card and its
// clients new certificates, of a new authority, that last so many days from now.
func certifyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: certify DIR SERVER-DAYS CLIENT-DAYS")
	}
	server, err := strconv.Atoi(args[1])
	ts.Check(err)
	client, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(certify(ts.MkAbs(args[0]), server, client))
}

func certify(dir string, serverDays, clientDays int) error {
	authority := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey, err := issue(dir, "ca", authority, authority, nil, 3650)
	if err != nil {
		return err
	}
	server := &x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	client := &x509.Certificate{Subject: pkix.Name{CommonName: "client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	_, serverErr := issue(dir, "server", server, authority, authorityKey, serverDays)
	_, clientErr := issue(dir, "client", client, authority, authorityKey, clientDays)
	return errors.Join(serverErr, clientErr)
}

// issue writes NAME.pem and NAME-key.pem; without a signer it signs itself.
func issue(dir, name string, template, parent *x509.Certificate, signer *ecdsa.PrivateKey, days int) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if signer == nil {
		signer = key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().AddDate(0, 0, -100), time.Now().AddDate(0, 0, days)
	if days > 10_000 { // one of the future
		template.NotBefore = time.Now().AddDate(1, 0, 0)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, errors.Join(
		os.WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(filepath.Join(dir, name+"-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// oddServer is a software card behind a server that is odd in one way or another.
type oddServer struct {
	pb.UnimplementedCryptoServer
	inner  pb.CryptoClient
	lacks  []uint64 // mechanisms that it does not list
	date   string   // header of its answers
	v1, v2 bool     // reads this dialect only
}

func (o *oddServer) GetMechanismList(ctx context.Context, req *pb.GetMechanismListRequest) (*pb.GetMechanismListResponse, error) {
	if o.date != "" {
		if err := grpc.SetHeader(ctx, metadata.Pairs("date", o.date)); err != nil {
			return nil, err
		}
	}
	res, err := o.inner.GetMechanismList(ctx, req)
	if err == nil {
		res.Mechs = slices.DeleteFunc(res.GetMechs(), func(m uint64) bool { return slices.Contains(o.lacks, m) })
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
	ln, outer := loopbackListener(t), loopbackListener(t)
	address := ln.Addr().String()
	if odd != nil {
		address = outer.Addr().String()
	}
	if err := openFolder(t.Context(), &streams{io.Discard, io.Discard}, dir, address); err != nil {
		t.Fatal(err)
	}
	card, err := softcard.Open(softcard.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- card.Serve(ctx, ln, softcard.Dir(dir), odd != nil) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	if odd != nil {
		odd.serve(t, ln, outer, dir)
	}
	return filepath.Join(dir, demoConfig), card
}

func (o *oddServer) serve(t *testing.T, inner, outer net.Listener, dir string) {
	t.Helper()
	conn, err := grpc.NewClient(inner.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	o.inner = pb.NewCryptoClient(conn)
	server := grpc.NewServer(grpc.Creds(serverCredentials(t, dir)))
	pb.RegisterCryptoServer(server, o)
	go func() { _ = server.Serve(outer) }()
	t.Cleanup(func() {
		server.Stop()
		_ = conn.Close()
	})
}

// checkOutput is what check --json prints.
type checkOutput struct {
	OK       bool
	Errors   int
	Warnings int
	Findings []struct {
		Status, Subject, Finding, Remedy string
		Latency                          *latency
	}
}

// check runs `pawl check --json`, and wants a remedy with each finding that is not ok,
// and an exit code that fits.
func check(t *testing.T, config string) checkOutput {
	t.Helper()
	var out, errOut bytes.Buffer
	code := report(&errOut, run(t.Context(), []string{"pawl", "check", "--json", "--config", config, "--admin", "127.0.0.1:1"}, &out, &errOut))
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

func TestCheckMeasuresFiftySignatures(t *testing.T) {
	t.Parallel()
	config, card := checkedDemo(t, nil)
	fault := &softcard.Fault{Call: "SignSingle", Delay: 2 * time.Millisecond}
	card.SetFaults(fault)
	got := check(t, config)
	if !got.OK {
		t.Errorf("%+v", got)
	}
	got.want(t, 3, "ok", "keys.tz", "signed a probe")
	got.want(t, 1, "ok", "server", "reads dialect v1 and v2; keys.json has both")
	got.want(t, 1, "ok", "server", "wraps 3 keys")
	got.want(t, 1, "ok", "ratchet", "synchronous=2")
	if want := 3 + 2 + latencyCalls; fault.Hits() != want {
		t.Errorf("%d signatures were asked for, want %d: one a key, one a dialect, and those measured", fault.Hits(), want)
	}
	for _, f := range got.Findings {
		if l := f.Latency; l != nil {
			if l.Calls != latencyCalls || l.P50 < 2 || l.P90 < l.P50 || l.P99 < l.P90 || l.Max < l.P99 {
				t.Errorf("%+v", l)
			}
			return
		}
	}
	t.Error("no latency")
}

func TestCheckNamesTheKeyThatLacksAMechanism(t *testing.T) {
	t.Parallel()
	config, card := checkedDemo(t, &oddServer{lacks: []uint64{grep11.MechIBMEd25519SHA512}})
	got := check(t, config)
	got.want(t, 1, "warning", "keys.tz1", "lacks CKM_IBM_ED25519_SHA512 (0x8001001c)")
	got.want(t, 0, "error", "", "")

	// What a key does not only lack in the list, but cannot do.
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(grep11.CodeMechanismInvalid)})
	got = check(t, config)
	got.want(t, 1, "error", "keys.tz1", "lacks CKM_IBM_ED25519_SHA512")
	got.want(t, 1, "error", "keys.tz2", "CKR_MECHANISM_INVALID")
	got.want(t, 1, "error", "keys.tz3", "CKR_MECHANISM_INVALID")
}

// Each code of the card has its remedy, and the key is named.
func TestCheckTellsWhyAKeyDoesNotSign(t *testing.T) {
	t.Parallel()
	config, card := checkedDemo(t, nil)
	for code, remedy := range map[grep11.Code]string{
		grep11.CodeIBMWKIDMismatch:         "another master key",
		grep11.CodeIBMBlobError:            "restore it",
		grep11.CodeIBMWKNotInitialized:     "load it",
		grep11.CodeMechanismInvalid:        "enable the mechanism",
		grep11.CodeKeyFunctionNotPermitted: "may not sign",
		grep11.CodeSessionClosed:           "login session",
		grep11.CodeFunctionCanceled:        "administrator",
	} {
		card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(code)})
		got := check(t, config)
		got.want(t, 3, "error", "keys.", code.String())
		for _, f := range got.Findings {
			if strings.HasPrefix(f.Subject, "keys.") && !strings.Contains(f.Remedy, remedy) {
				t.Errorf("%v: %q, want %q", code, f.Remedy, remedy)
			}
		}
	}
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(grep11.CodeIBMWKIDMismatch)})
	check(t, config).want(t, 1, "error", "server", "has not master key")
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Spoil: softcard.FlipBits(100)})
	check(t, config).want(t, 3, "error", "keys.", "does not verify")
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Times: 1, Err: softcard.Unavailable()})
	check(t, config).want(t, 3, "ok", "keys.", "signed a probe")
	card.SetFaults(&softcard.Fault{Call: "GetMechanismList", Err: softcard.Refusal(grep11.CodeIBMInternalError)})
	got := check(t, config)
	got.want(t, 1, "error", "server", "CKR_IBM_INTERNAL_ERROR")
	got.want(t, 0, "ok", "keys.", "")
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Skip: 5, Times: 4, Err: softcard.Refusal(grep11.CodeIBMInternalError)})
	check(t, config).want(t, 1, "warning", "server", "46 signatures")
}

// After a change of the master key the rewrapped blobs sign, as they do for the daemon.
func TestCheckUsesRewrappedBlobs(t *testing.T) {
	t.Parallel()
	config, _ := checkedDemo(t, nil)
	dir := softcard.Dir(filepath.Dir(config))
	if err := errors.Join(dir.LoadNext(), dir.CommitNext()); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"pawl", "keys", "rewrap", "--config", config}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	check(t, config).want(t, 3, "ok", "keys.", "signed a probe")
	if err := dir.Finalise(); err != nil {
		t.Fatal(err)
	}
	got := check(t, config)
	got.want(t, 3, "warning", "keys.", "signs with secret_key_next")
	got.want(t, 1, "ok", "server", "wraps 3 keys")
	got.want(t, 0, "error", "", "")
}

func TestCheckFindsTheDialect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		odd        oddServer
		configured string
		status     string
		text       string
	}{
		{oddServer{v1: true}, "both", "ok", "reads dialect v1; keys.json has both"},
		{oddServer{v2: true}, "both", "ok", "reads dialect v2; keys.json has both"},
		{oddServer{v2: true}, "v1", "error", "reads dialect v2, and not v1 as keys.json has it"},
		{oddServer{v1: true}, "v2", "error", "reads dialect v1, and not v2 as keys.json has it"},
	} {
		config, _ := checkedDemo(t, &test.odd)
		replaceIn(t, config, `{`, `{"dialect": "`+test.configured+`", `)
		check(t, config).want(t, 1, test.status, "server", test.text)
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

func TestCheckComparesClocks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		off    time.Duration
		status string
		text   string
	}{
		{0, "ok", "its clock agrees"},
		{2 * time.Second, "ok", "its clock agrees"},
		{time.Hour, "warning", "its clock and that of this host differ by "},
		{-time.Minute, "warning", "its clock and that of this host differ by "},
	} {
		config, _ := checkedDemo(t, &oddServer{date: time.Now().Add(test.off).UTC().Format(http.TimeFormat)})
		check(t, config).want(t, 1, test.status, "server", test.text)
	}
}

// A certificate of the future: the clock is wrong, here or there.
func TestCheckTellsOfACertificateThatHasNotBegun(t *testing.T) {
	t.Parallel()
	ln, dir := loopbackListener(t), filepath.Join(t.TempDir(), "demo")
	config := filepath.Join(dir, demoConfig)
	if err := openFolder(t.Context(), &streams{io.Discard, io.Discard}, dir, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if err := certify(dir, 20_000, 100); err != nil {
		t.Fatal(err)
	}
	card, err := softcard.Open(softcard.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- card.Serve(ctx, ln, softcard.Dir(dir), false) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	check(t, config).want(t, 1, "error", "server", "begins on")
}

// A server that hangs costs seconds, whatever hangs: the handshake, or each signature.
func TestCheckIsBoundedInTime(t *testing.T) {
	t.Parallel()
	t.Run("handshake", func(t *testing.T) {
		t.Parallel()
		config, _ := checkedDemo(t, nil)
		silent := loopbackListener(t) // connections wait in its queue
		defer func() { _ = silent.Close() }()
		if err := setURL(config, silent.Addr().String()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		check(t, config).want(t, 1, "error", "server", "connecting to")
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
	})
	t.Run("signatures", func(t *testing.T) {
		t.Parallel()
		config, card := checkedDemo(t, nil)
		fault := &softcard.Fault{Call: "SignSingle", Hang: true}
		card.SetFaults(fault)
		start := time.Now()
		got := check(t, config)
		got.want(t, 2, "error", "keys.", "DeadlineExceeded")
		got.want(t, 1, "error", "keys.", "was not asked to sign")
		got.want(t, 1, "warning", "server", "may have master key")
		if took := time.Since(start); took > 20*time.Second || fault.Hits() != 4 {
			t.Errorf("took %v, with %d calls", took, fault.Hits())
		}
	})
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

func TestPercentileIsTheNearestRank(t *testing.T) {
	t.Parallel()
	sorted := make([]time.Duration, 50)
	for i := range sorted {
		sorted[i] = time.Duration(i+1) * time.Millisecond
	}
	for p, want := range map[int]time.Duration{50: 25, 90: 45, 99: 50, 1: 1} {
		if got := percentile(sorted, p); got != want*time.Millisecond {
			t.Errorf("percentile %d is %v, want %d ms", p, got, want)
		}
	}
	if got := percentile(sorted[:1], 50); got != time.Millisecond {
		t.Errorf("of one: %v", got)
	}
}
