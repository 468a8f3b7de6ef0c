package signer_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/hsm"
	"pawl/softcard"
	"pawl/tezos"
)

// TestRetryOnAnotherServer: transport and card trouble at a server costs no request
// and no pause, for the try is made again at another server, with the same digest. So does
// an answer that is not the card's. What is fatal to the key is not tried again.
func TestRetryOnAnotherServer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault *softcard.Fault
		lost  int           // requests of four that fail
		least time.Duration // of the slowest
		again int           // calls of the first request after its first
	}{
		"unavailable":        {fault: &softcard.Fault{Err: softcard.Unavailable()}},
		"cut":                {fault: &softcard.Fault{Cut: true}},
		"hang":               {fault: &softcard.Fault{Hang: true}, least: 1900 * time.Millisecond},
		"bad signature":      {fault: &softcard.Fault{Spoil: softcard.FlipBits(9)}},
		"no signature":       {fault: &softcard.Fault{Spoil: softcard.Resize(0)}},
		"unknown error":      {fault: &softcard.Fault{Err: errors.New("proxy")}},
		"unreadable answer":  {fault: &softcard.Fault{Err: status.Error(codes.Internal, "garbage")}},
		"no such service":    {fault: &softcard.Fault{Err: status.Error(codes.Unimplemented, "no GREP11")}},
		"overloaded":         {fault: &softcard.Fault{Err: status.Error(codes.ResourceExhausted, "later")}},
		"device error":       {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeDeviceError)}},
		"internal error":     {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeIBMInternalError)}},
		"transport error":    {fault: &softcard.Fault{Err: softcard.Refusal(0x80010003)}},
		"request timeout":    {fault: &softcard.Fault{Err: softcard.Refusal(0x8001000b)}},
		"target invalid":     {fault: &softcard.Fault{Err: softcard.Refusal(0x80010030)}},
		"error state":        {fault: &softcard.Fault{Err: softcard.Refusal(0x80010101)}},
		"blobkey conflict":   {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeIBMBlobkeyConflict)}, again: 1},
		"no master key":      {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeIBMWKNotInitialized)}},
		"other master key":   {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeIBMWKIDMismatch)}},
		"mechanism off":      {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeMechanismInvalid)}},
		"blob error":         {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeIBMBlobError)}, lost: 1},
		"not permitted":      {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeKeyFunctionNotPermitted)}, lost: 1},
		"curve":              {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeCurveNotSupported)}, lost: 1},
		"mechanism param":    {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeMechanismParamInvalid)}, lost: 1},
		"unauthenticated":    {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeIBMNotAuthenticated)}, lost: 1},
		"function cancelled": {fault: &softcard.Fault{Err: softcard.Refusal(ep11.CodeFunctionCanceled)}, lost: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _, p := twoServers(t)
			fault := test.fault
			fault.Call = "SignSingle"
			a.Card.SetFaults(fault)
			var lost int
			var slowest time.Duration
			for level := range uint32(4) {
				took, err := p.sign(t, 0, block(level+1, 0, 0))
				slowest = max(slowest, took)
				if err != nil {
					t.Logf("level %d: %v", level+1, err)
					lost++
				}
			}
			if hits := fault.Hits(); hits != 1+test.again || lost != test.lost {
				t.Errorf("the server was asked %d times and %d requests were lost, want %d and %d: the next go to the other server", hits, lost, 1+test.again, test.lost)
			}
			if slowest < test.least || slowest > test.least+900*time.Millisecond {
				t.Errorf("the slowest took %v, want about %v: no pause before another server", slowest, test.least)
			}
			if got := p.Servers()[1]; got.Signed != 4-uint64(test.lost) || got.Failed != 0 {
				t.Errorf("the other server signed %d and failed %d", got.Signed, got.Failed)
			}
		})
	}
}

// TestNoRequestIsLostBeforeTheProbes: a server of another master key is met by the first
// requests after a start, when nothing has signed anywhere yet.
func TestNoRequestIsLostBeforeTheProbes(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.Twin(t, foreign(t))
	clients := []*grep11.Client{a.Dial(t), b.Dial(t)}
	connected(t, clients...)
	p := newPool(t, a, 4, tezos.P256, clients...)
	for i := range p.keys {
		if _, err := p.sign(t, i, block(1, 0, 0)); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
	if got := p.Servers()[1]; got.Signed != 0 || got.Failed == 0 {
		t.Errorf("the server of another master key signed %d times and failed %d times; want it to be met", got.Signed, got.Failed)
	}
}

// connected waits until the connections stand.
func connected(t *testing.T, clients ...*grep11.Client) {
	t.Helper()
	for _, client := range clients {
		for start := time.Now(); client.State() == hsm.Down; time.Sleep(time.Millisecond) {
			if time.Since(start) > 20*time.Second {
				t.Fatalf("%s is not connected", client.Address())
			}
		}
	}
}

// TestServerOfTheKeyIsAwaited: with a server of another master key alone connected, as after
// a start, a request waits a moment for the one that its key signs at.
func TestServerOfTheKeyIsAwaited(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	b := a.Twin(t, foreign(t))
	lost, client := a.Dial(t), b.Dial(t)
	p := newPool(t, a, 1, tezos.P256, lost, client)
	a.Stop()
	connected(t, client)
	for start := time.Now(); lost.State() != hsm.Down; time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%s is still connected", lost.Address())
		}
	}
	flying := ask(t.Context(), p.Signer, p.keys[0], block(1, 0, 0))
	time.Sleep(200 * time.Millisecond)
	a.Start(t)
	if got := <-flying; got.err != nil {
		t.Error(got.err)
	}
	if got := p.Servers()[1]; got.Failed != 1 {
		t.Errorf("the server of another master key failed %d times, want 1", got.Failed)
	}
}

// TestFaultOfBothServers: there are two tries, one at each.
func TestFaultOfBothServers(t *testing.T) {
	t.Parallel()
	a, b, p := twoServers(t)
	faults := []*softcard.Fault{
		{Call: "SignSingle", Err: softcard.Unavailable()}, {Call: "SignSingle", Err: softcard.Refusal(ep11.CodeDeviceError)},
	}
	a.Card.SetFaults(faults[0])
	b.Card.SetFaults(faults[1])
	if _, err := p.sign(t, 0, block(1, 0, 0)); !errors.Is(err, signer.ErrHSM) {
		t.Errorf("both in trouble: %v, want ErrHSM", err)
	}
	if faults[0].Hits() != 1 || faults[1].Hits() != 1 {
		t.Errorf("asked %d and %d times, want once each", faults[0].Hits(), faults[1].Hits())
	}
	hash := p.keys[0].PublicKey().Hash()
	err := p.Readiness()[hash]
	if err == nil || !strings.Contains(err.Error(), a.Address+": ") || !strings.Contains(err.Error(), b.Address+": ") ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("readiness %q: want the fault of each server on one line", err)
	}
}

// TestReturnedServerIsUsedAtOnce: with all servers known to be down, a request that
// comes while one is back is signed, before the watch knows of it.
func TestReturnedServerIsUsedAtOnce(t *testing.T) {
	t.Parallel()
	a, b, p := twoServers(t)
	a.Stop()
	b.Stop()
	if _, err := p.sign(t, 0, block(1, 0, 0)); !errors.Is(err, signer.ErrHSM) {
		t.Fatalf("both down: %v, want ErrHSM", err)
	}
	for round, back := range []*card{b, a} {
		flying := ask(t.Context(), p.Signer, p.keys[0], block(uint32(round)+2, 0, 0))
		back.Start(t)
		if got := <-flying; got.err != nil {
			t.Errorf("%s is back: %v, want a signature", back.Address, got.err)
		}
		back.Stop()
	}
}

// TestCallersDeadlineIsNoFaultOfAnother: without time left there is no second try, which
// would only make a good server look bad.
func TestCallersDeadlineIsNoFaultOfAnother(t *testing.T) {
	t.Parallel()
	a, b, p := twoServers(t)
	for _, c := range []*card{a, b} {
		c.Card.SetFaults(&softcard.Fault{Call: "SignSingle", Hang: true})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := p.Sign(ctx, p.keys[0].PublicKey().Hash(), michelson(1)); err == nil {
		t.Error("a card that hangs has signed")
	}
	if states := p.Servers(); states[0].Failed+states[1].Failed != 1 {
		t.Errorf("%d and %d tries failed, want one in all", states[0].Failed, states[1].Failed)
	}
}

// TestSecondTryIsElsewhere: of two good servers, of two bad ones, and while others sign
// where the first try failed.
func TestSecondTryIsElsewhere(t *testing.T) {
	t.Parallel()
	a, b, p := twoServers(t)
	hash := p.keys[0].PublicKey().Hash()
	check := func(what string, want [2]int) {
		t.Helper()
		for range 4 {
			for before := range 2 {
				if got := p.ChooseAfter(hash, before); got != want[before] {
					t.Errorf("%s, tried at %d: then at %d, want %d", what, before, got, want[before])
				}
			}
		}
	}
	check("both good", [2]int{1, 0})
	b.Card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Refusal(ep11.CodeIBMBlobError)})
	stop := p.watched(t)
	for level := uint32(1); p.Servers()[1].Err == nil; level++ {
		_, _ = p.sign(t, 0, block(level, 0, 0))
	}
	stop()
	check("one refuses the key", [2]int{0, 0})
	trouble := func(on *card, at int) {
		t.Helper()
		on.Card.SetFaults(&softcard.Fault{Call: "SignSingle", Err: softcard.Unavailable()})
		stop := p.watched(t)
		defer stop()
		for start := time.Now(); p.Servers()[at].Err == nil || !strings.Contains(p.Servers()[at].Err.Error(), "Unavailable"); {
			if time.Since(start) > 20*time.Second {
				t.Fatalf("servers %v", p.Servers())
			}
			_, _ = p.sign(t, 0, michelson(1))
		}
	}
	trouble(a, 0)
	check("one in trouble, one refuses the key", [2]int{0, 0})
	a.Card.SetFaults()
	b.Card.SetFaults()
	p.prove(t, 2)
	trouble(b, 1)
	check("one in trouble", [2]int{1, 0})
	trouble(a, 0)
	check("both in trouble", [2]int{1, 0})
}

// TestFailedTryWakesTheConnection: a server that was away for long is looked for at once
// and often while a request waits for its second try.
func TestFailedTryWakesTheConnection(t *testing.T) {
	t.Parallel()
	a := newCard(t)
	p := newPool(t, a, 1, tezos.P256, a.Dial(t))
	p.prove(t, 1)
	a.Stop()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", a.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // of a test
	var attempts atomic.Int64
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			attempts.Add(1)
			_ = conn.Close()
		}
	}()
	_, _ = p.sign(t, 0, block(1, 0, 0)) // which begins to connect
	time.Sleep(4 * time.Second)         // until it tries once a second
	before := attempts.Load()
	if _, err := p.sign(t, 0, block(1, 0, 0)); !errors.Is(err, signer.ErrHSM) {
		t.Errorf("no server: %v", err)
	}
	if n := attempts.Load() - before; n < 3 {
		t.Errorf("%d attempts to connect while a request waited, want three or more", n)
	}
}
