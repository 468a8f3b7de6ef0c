// Package cardtest runs software cards on loopback addresses for tests. Everything it
// starts it stops when the test ends; a card that fails to serve fails the test.
package cardtest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pawl/signer/grep11"
	"pawl/signer/hsm"
	"pawl/softcard"
	"pawl/tezos"

	"golang.org/x/sys/unix"
)

// New makes a card in memory. Each byte of its master key is fill: cards of the same fill
// read each other's blobs.
func New(tb testing.TB, fill byte) *softcard.Card {
	tb.Helper()
	card, err := softcard.New(bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		tb.Fatal(err)
	}
	return card
}

// Folder makes the files of a card in a temporary folder.
func Folder(tb testing.TB) softcard.Dir {
	tb.Helper()
	return Init(tb, softcard.Dir(filepath.Join(tb.TempDir(), "card")))
}

// Init makes the files of a card in dir, unless they are there, and returns dir.
func Init(tb testing.TB, dir softcard.Dir) softcard.Dir {
	tb.Helper()
	if _, err := dir.Init(); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// Open opens the card of a folder. Cards of one folder share its master key.
func Open(tb testing.TB, dir softcard.Dir) *softcard.Card {
	tb.Helper()
	card, err := softcard.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return card
}

// Server serves a card. Its exported fields do not change.
type Server struct {
	Card    *softcard.Card
	Dir     softcard.Dir // of the certificates; "" for a server without TLS
	Address string       // 127.0.0.1:port

	tb   testing.TB
	mu   sync.Mutex
	stop func() // nil while it is stopped
}

// Serve serves card on a free port: with mutual TLS and the certificates of dir, which need
// not be the card's own folder, or without TLS when dir is "".
func Serve(tb testing.TB, card *softcard.Card, dir softcard.Dir) *Server {
	tb.Helper()
	return ServeOn(tb, card, dir, Listen(tb, "127.0.0.1:0"))
}

// ServeOn is Serve on a listener, which it closes in the end.
func ServeOn(tb testing.TB, card *softcard.Card, dir softcard.Dir, ln net.Listener) *Server {
	tb.Helper()
	s := &Server{Card: card, Dir: dir, Address: ln.Addr().String(), tb: tb}
	s.run(ln)
	tb.Cleanup(s.Stop)
	return s
}

func (s *Server) run(ln net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Card.Serve(ctx, ln, s.Dir, s.Dir == "") }()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.tb.Errorf("software card on %s: %v", s.Address, err)
		}
	}
}

// Stop ends the server; calls in flight have five seconds. A stopped server stays stopped.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// Start serves again at the same address. It must follow Stop.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	ln := Listen(tb, s.Address)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run(ln)
}

// Config is the configuration of a client of the server.
func (s *Server) Config() grep11.Config { return configOf(s.Address, s.Dir) }

func configOf(address string, dir softcard.Dir) grep11.Config {
	if dir == "" {
		return grep11.Config{Address: address, Plaintext: true}
	}
	file := func(name string) string { return filepath.Join(string(dir), name) }
	return grep11.Config{
		Address: address, CertPath: file("client.pem"), KeyPath: file("client-key.pem"), CACertPath: file("ca.pem"),
	}
}

// Dial connects to a server.
func Dial(tb testing.TB, cfg grep11.Config) *grep11.Client {
	tb.Helper()
	client, err := grep11.Dial(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close() }) // the test may have closed it
	return client
}

// Listen listens on a TCP address; 127.0.0.1:0 is a free port. A port that was free a moment ago may be
// that of somebody's outgoing connection by now: it waits ten seconds for it.
func Listen(tb testing.TB, address string) net.Listener {
	tb.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", address)
		if err == nil {
			return ln
		}
		if !errors.Is(err, unix.EADDRINUSE) || time.Since(begun) > 10*time.Second {
			tb.Fatal(err)
		}
	}
}

// Generate makes a key at a server. A machine that does other things too may let a call wait for longer
// than a client does: it tries for a minute.
func Generate(tb testing.TB, client *grep11.Client, kind tezos.KeyKind) grep11.Generated {
	tb.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		made, err := client.Generate(tb.Context(), kind, false)
		if err == nil {
			return made
		}
		if hsm.FaultOf(err) == hsm.Unfit || time.Since(begun) > time.Minute {
			tb.Fatal(err)
		}
	}
}
