package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pawl/internal/check"
	"pawl/internal/config"
	"pawl/internal/ep11"
	"pawl/softcard"
	"pawl/softcard/cardtest"
)

// A server that hangs costs seconds, whatever hangs: the handshake, or each signature.
func TestCheckIsBoundedInTime(t *testing.T) {
	t.Parallel()
	t.Run("handshake", func(t *testing.T) {
		t.Parallel()
		config, _ := checkedDemo(t, nil)
		silent := cardtest.Listen(t, "127.0.0.1:0") // connections wait in its queue
		defer func() { _ = silent.Close() }()
		if err := setURL(config, silent.Addr().String()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		runCheck(t, config).want(t, 1, "error", "server", "connecting to")
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
		got := runCheck(t, config)
		got.want(t, 2, "error", "keys.", "DeadlineExceeded")
		got.want(t, 1, "error", "keys.", "was not asked to sign")
		got.want(t, 1, "warning", "server", "may have master key")
		if took := time.Since(start); took > 20*time.Second || fault.Hits() != 4 {
			t.Errorf("took %v, with %d calls", took, fault.Hits())
		}
	})
}

// What a check could not reach in its time says nothing: it is told once, and no
// ratchet, server or key is blamed for it.
func TestCheckEndsInTime(t *testing.T) {
	t.Parallel()
	config, card := checkedDemo(t, nil)
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Hang: true})
	start := time.Now()
	got := runCheck(t, config, "--timeout", "1s")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	got.want(t, 1, "error", "check", "timed out after 1s: not checked: 3 keys at server")
	got.want(t, 1, "error", "", "")
	got.want(t, 1, "ok", "ratchet", "whole and closed")
	got.want(t, 0, "warning", "server", "")
	got.want(t, 0, "ok", "keys.", "")
	got.wantRemedy(t, "check", "--timeout")
}

func TestCheckThatIsInterrupted(t *testing.T) {
	t.Parallel()
	config, card := checkedDemo(t, nil)
	for name, test := range map[string]struct {
		call string // during which
		want string
	}{
		"before it began":       {"", "ratchet"},
		"during the mechanisms": {"GetMechanismList", "not checked: server"},
		"during the signatures": {"SignSingle", "not checked: 3 keys at server"},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		fault := &softcard.Fault{Call: test.call, Hang: true}
		card.SetFaults(fault)
		if test.call == "" {
			interrupt()
		}
		go func() {
			for fault.Hits() == 0 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			interrupt()
		}()
		got := checkWithin(ctx, t, config)
		got.want(t, 1, "error", "check", "was interrupted: ")
		got.want(t, 1, "error", "check", test.want)
		if got.Errors != 1 || got.count("warning", "server", "") > 0 {
			t.Errorf("%s: %+v", name, got.Findings)
		}
		interrupt()
	}
}

// A card that fails each call late would take a timeout for each key.
func TestCheckGivesUpAServerThatFailsLate(t *testing.T) {
	t.Parallel()
	config, card := checkedDemo(t, nil)
	fault := &softcard.Fault{Call: "SignSingle", Delay: check.SlowSignature + 100*time.Millisecond, Err: softcard.Refusal(ep11.CodeIBMInternalError)}
	card.SetFaults(fault)
	got := runCheck(t, config)
	got.want(t, 2, "error", "keys.", "CKR_IBM_INTERNAL_ERROR")
	got.want(t, 1, "error", "keys.", "was not asked to sign")
	for _, f := range got.Findings {
		if strings.Contains(f.Finding, "was not asked") && !strings.Contains(f.Remedy, "other keys of this server") {
			t.Errorf("%+v", f)
		}
	}
	if n := fault.Hits(); n < 4 || n > 6 { // the last ones are of the dialects
		t.Errorf("%d calls, want two for each of two keys", n)
	}
}

// Who may write to a folder may exchange what is in it, whatever is wrong beside it.
func TestCheckLooksAtEveryFolder(t *testing.T) {
	t.Parallel()
	file, _ := checkedDemo(t, nil)
	dir := filepath.Dir(file)
	cfg, _, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tls", "api", "blobs", "marks"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	blob := cfg.Keys[0].Blob.Hex()
	for name, text := range map[string]string{"api/key": "abc", "blobs/1": blob, "marks/db": "no ratchet"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "client-key.pem"), filepath.Join(dir, "tls/key")); err != nil {
		t.Fatal(err)
	}
	replaceIn(t, file, `"client-key.pem"`, `"tls/key", "apikey_file": "api/key", "iam_endpoint": "https://127.0.0.1:1"`)
	replaceIn(t, file, `"secret_key": "`+blob+`"`, `"secret_key_file": "blobs/1"`)
	replaceIn(t, file, `"`+demoRatchet+`"`, `"marks/db"`)
	runCheck(t, file).want(t, 1, "ok", "file modes", "closed to others")
	for name, want := range map[string]struct{ status, subject string }{ // errors are what forbids the start
		"": {"error", ""}, "tls": {"error", ""}, "api": {"warning", ""}, "blobs": {"error", ""}, "marks": {"error", ""},
		"marks/db": {"error", ""}, "blobs/1": {"error", "keys."}, "api/key": {"error", "apikey_file"},
	} {
		path := filepath.Join(dir, name)
		was, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o770); err != nil {
			t.Fatal(err)
		}
		got := runCheck(t, file)
		got.want(t, 1, want.status, cmp.Or(want.subject, path), "mode 0770")
		got.want(t, 0, "ok", "file modes", "")
		if err := os.Chmod(path, was.Mode()); err != nil {
			t.Fatal(err)
		}
	}
}
