package main

import (
	"context"
	"testing"
	"time"

	"pawl/signer/grep11"
	"pawl/signer/grep11/softcard"
)

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

// What a check could not reach in its time says nothing: it is told once, and no
// ratchet, server or key is blamed for it.
func TestCheckEndsInTime(t *testing.T) {
	t.Parallel()
	config, card := checkedDemo(t, nil)
	card.SetFaults(&softcard.Fault{Call: "SignSingle", Hang: true})
	start := time.Now()
	got := check(t, config, "--timeout", "1s")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	got.want(t, 1, "error", "check", "its 1s are over: not checked: 3 keys at server")
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
	fault := &softcard.Fault{Call: "SignSingle", Delay: slowSignature + 100*time.Millisecond, Err: softcard.Refusal(grep11.CodeIBMInternalError)}
	card.SetFaults(fault)
	got := check(t, config)
	got.want(t, 2, "error", "keys.", "CKR_IBM_INTERNAL_ERROR")
	got.want(t, 1, "error", "keys.", "was not asked to sign")
	if n := fault.Hits(); n < 4 || n > 6 { // the last ones are of the dialects
		t.Errorf("%d calls, want two for each of two keys", n)
	}
}

// Nor is a daemon that there was no time to ask.
func TestCheckThatIsInterruptedBlamesNoDaemon(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var r checkReport
	r.daemon(ctx, "127.0.0.1:1")
	if len(r.findings) != 0 || len(r.unchecked) != 1 {
		t.Errorf("%+v", r)
	}
}
