package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of an HTTP connection; net/http sets none by itself. writeTimeout and requestTimeout both
// run from the end of the head of a request, so a request that ran out of time can still be
// answered. Only a signature that a disk held may be sent after writeTimeout.
const (
	// readHeaderTimeout is also that of a TLS handshake. TCP sends a lost packet again after 1, 3 and
	// 7 s: two losses in a row are borne.
	readHeaderTimeout = 5 * time.Second
	bodyTimeout       = 5 * time.Second // from the end of the head
	readTimeout       = readHeaderTimeout + bodyTimeout
	writeTimeout      = 10 * time.Second
	// idleTimeout is well below the six seconds between two blocks: a client that keeps its connection
	// finds it closed before it asks again, and never meets the moment of closing.
	idleTimeout = 3 * time.Second
	// keepAlive tells it to clients, which do not use a connection then that may be closed by now
	// (Node.js and its fetch keep to it; RFC 2068, section 19.7.1.1).
	keepAlive = "timeout=3"
	// maxHeaderBytes leaves room for the headers that tunnels add. octez-client sends under 1 KiB.
	// net/http reads 4 KiB more before it refuses.
	maxHeaderBytes = 8 << 10
	// stopTimeout bounds a graceful stop.
	stopTimeout = 10 * time.Second
	// stopPatience is what a request gets at a stop to arrive whole.
	stopPatience = time.Second
)

// socketBuffer is what the kernel holds of a connection in each direction, in bytes; it takes twice
// the number. All requests and answers of bakers but the longest operations fit. By itself the kernel
// grows the two to some 10 MB, which a client fills by sending too much and reading nothing.
const socketBuffer = 16 << 10

// DefaultConnections is how many connections a listener has at once if it does not say so.
// octez-client opens two for each signature and closes both. A connection costs about 20 KiB.
const DefaultConnections = 4096

// Listener is an address of a Server, and who is served there.
type Listener struct {
	net.Listener
	// Name stands in metrics and log lines: "signing" or "admin".
	Name string
	// Handler is that of Handler or Admin.
	Handler http.Handler
	// TLS is that of HTTPS.Config; nil is HTTP.
	TLS *tls.Config
	// Connections is how many are open at once; 0 is DefaultConnections. At the limit the one that
	// has waited longest for its client gives way to a new one; a request in flight never does.
	Connections int
}

func (l Listener) limit() int {
	if l.Connections == 0 {
		return DefaultConnections
	}
	return l.Connections
}

// Serve answers the connections of l until ctx is done. It speaks HTTP/1.1 only: streams of HTTP/2
// would get around the limit on connections.
//
// When ctx is done it accepts no more and closes idle connections. A request that has not arrived
// whole gets 1 s to do so, and one in flight up to 10 s. It closes l. The error is nil if every
// request in flight was answered.
func (s *Server) Serve(ctx context.Context, l Listener) error {
	if err := boundBuffers(l.Listener); err != nil {
		return fmt.Errorf("serving %v: %w", l.Addr(), err)
	}
	e := s.newEndpoint(l)
	srv := s.httpServer(l.Handler)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(&limited{endpoint: e}) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving %v: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	err := shutdown(ctx, srv, e)
	<-served //nolint:errcheck // http.ErrServerClosed, now that it is shut
	s.limit.tellAll()
	return err
}

// boundBuffers sets socketBuffer for the connections that a TCP listener will accept.
func boundBuffers(ln net.Listener) error {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		for _, option := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
			set = errors.Join(set, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, socketBuffer))
		}
	})
	return errors.Join(err, set)
}

// shutdown stops srv gracefully within stopTimeout. ctx is done already: requests in flight
// outlive it on purpose.
func shutdown(ctx context.Context, srv *http.Server, e *endpoint) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	go func() {
		for wait := stopPatience; ; wait = roomPoll {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
				e.all.stopWaiting()
			}
		}
	}()
	if err := srv.Shutdown(ctx); err != nil {
		return fmt.Errorf("stopping %v: requests were cut off after %v: %w", e.Addr(), stopTimeout,
			errors.Join(err, srv.Close()))
	}
	return nil
}

func (s *Server) httpServer(handler http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       withConnection,
		ConnState:         changed,
		// OPTIONS * is answered as every other request.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.connectionLog(), slog.LevelWarn),
	}
}
