package main

import (
	"testing"
	"time"

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
