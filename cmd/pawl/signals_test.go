package main

import (
	"bytes"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"pawl/signer/grep11/pb"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// held is a `pawl serve` with a request that the HSM holds until release is closed.
type held struct {
	*process
	release  chan struct{}
	answered chan string
}

func startHeld(t *testing.T) held {
	t.Helper()
	asked, release := make(chan struct{}, 16), make(chan struct{})
	payload := tezostest.Block(7, 0, 0)
	digest := tezos.DigestOf(payload)
	card := &faultyCard{hold: func(req *pb.SignSingleRequest) {
		if bytes.Equal(req.GetData(), digest[:]) { // and no probe
			asked <- struct{}{}
			<-release
		}
	}}
	config := card.serve(t)
	hash := addKey(t, config)
	const free = "127.0.0.1:0"
	p := startProcess(t, "listening", "pawl", "serve", "--config", config, "--listen", free, "--admin", free)
	h := held{p, release, make(chan string, 1)}
	go func() { h.answered <- post(t.Context(), "http://"+p.line.Address+"/keys/"+hash, payload) }()
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("the HSM was not asked")
	}
	return h
}

// TestSecondSignal ends a daemon that waits for a request, also when its log is stuck.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "stuck": syscall.SIGTERM,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startHeld(t)
			defer close(h.release)
			if name == "stuck" {
				h.stick(t)
			}
			h.signal(t, syscall.SIGTERM)
			time.Sleep(2 * oneWish)
			h.signal(t, second)
			h.ends(t, exitFailed)
			if name == "stuck" {
				return
			}
			_ = h.write.Close()
			stderr, err := io.ReadAll(h.stderr)
			if err != nil || !strings.Contains(string(stderr), "pawl: error: a second signal") {
				t.Errorf("stderr ends with %q, %v", stderr, err)
			}
		})
	}
}

// TestSignalSentTwice: make, timeout and a closed terminal send two at once. The request in flight
// is answered all the same.
func TestSignalSentTwice(t *testing.T) {
	t.Parallel()
	for name, signals := range map[string][]syscall.Signal{
		"TERM": {syscall.SIGTERM, syscall.SIGTERM}, "INT and TERM": {syscall.SIGINT, syscall.SIGTERM},
		"HUP": {syscall.SIGHUP, syscall.SIGHUP}, "HUP late": {syscall.SIGHUP, 0, syscall.SIGHUP},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startHeld(t)
			for _, s := range signals {
				if s == 0 {
					time.Sleep(2 * oneWish)
					continue
				}
				h.signal(t, s)
			}
			select {
			case <-h.exited:
				t.Errorf("ended before the answer")
			case <-time.After(50 * time.Millisecond): // may be too short to notice, never wrong
			}
			close(h.release)
			if got := <-h.answered; !strings.HasPrefix(got, `200 {"signature":"spsig1`) {
				t.Errorf("the request in flight got %s", got)
			}
			h.ends(t, exitOK)
		})
	}
}

// TestHangup: a closed terminal is a clean stop of every daemon command, and nothing under nohup.
func TestHangup(t *testing.T) {
	t.Parallel()
	for name, args := range daemonArgs(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, args[0], args[1:]...)
			p.signal(t, syscall.SIGHUP)
			p.ends(t, exitOK)
		})
	}
	for name, args := range daemonArgs(t) {
		t.Run(name+" under nohup", func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, args[0], append([]string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}, args[1:]...)...)
			p.signal(t, syscall.SIGHUP)
			select {
			case <-p.exited:
				t.Error("SIGHUP has ended it")
			case <-time.After(100 * time.Millisecond): // may be too short to notice, never wrong
			}
			p.signal(t, syscall.SIGTERM)
			p.ends(t, exitOK)
		})
	}
}
