package softcard_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"pawl/signer/grep11"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// frames counts the frames of one type in both directions of the connections through it.
type frames struct {
	to    string
	kind  http2.FrameType
	count atomic.Int64
}

// proxy forwards one connection and reads along.
func (f *frames) proxy(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var passing sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		passing.Wait()
	})
	passing.Go(func() {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", f.to)
		if err != nil {
			t.Error(err)
			return
		}
		passing.Go(func() { f.pass(t, server, client, len(http2.ClientPreface)) })
		passing.Go(func() { f.pass(t, client, server, 0) })
	})
	return listener.Addr().String()
}

// pass copies from one connection to the other and reads the frames after the preface.
func (f *frames) pass(t *testing.T, to, from net.Conn, head int) {
	t.Helper()
	defer func() { _, _ = to.Close(), from.Close() }()
	copied := io.TeeReader(from, to)
	if _, err := io.ReadFull(copied, make([]byte, head)); err != nil {
		return
	}
	framer := http2.NewFramer(io.Discard, copied)
	for {
		frame, err := framer.ReadFrame()
		switch {
		case err == nil && frame.Header().Type == f.kind:
			f.count.Add(1)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
			return
		case err != nil && !strings.Contains(err.Error(), "reset by peer"):
			t.Errorf("reading frames: %v", err)
			return
		case err != nil:
			return
		}
	}
}

// Unless told otherwise, gRPC pings for each message to measure the round trip. Neither the
// card nor our client does.
func TestNoPings(t *testing.T) {
	t.Parallel()
	card := cardtest.Serve(t, cardtest.New(t, 1), "")
	f := &frames{to: card.Address, kind: http2.FramePing}
	client := cardtest.Dial(t, grep11.Config{Address: f.proxy(t), Plaintext: true})
	for range 20 {
		if _, err := client.Generate(t.Context(), tezos.Ed25519, false); err != nil {
			t.Fatal(err)
		}
	}
	if pings := f.count.Load(); pings > 0 {
		t.Errorf("%d PING frames in 20 calls, want none", pings)
	}
}
