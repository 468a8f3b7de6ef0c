package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of an HTTP connection; net/http sets none by itself. writeTimeout and requestTimeout both
// run from the end of the head of a request, so a request that ran out of time can still be
// answered. Only a signature that a disk held may be sent after writeTimeout.
const (
	readHeaderTimeout = 2 * time.Second // also of a TLS handshake
	readTimeout       = 5 * time.Second // of head and body
	writeTimeout      = 10 * time.Second
	idleTimeout       = 90 * time.Second
	// maxHeaderBytes leaves room for the headers that tunnels add. octez-client sends under 1 KiB.
	// net/http reads 4 KiB more before it refuses.
	maxHeaderBytes = 8 << 10
	// maxConnections is how many connections of a listener are open at once. Further ones wait in
	// the kernel. octez-client opens two for each signature and closes both. A connection costs
	// about 20 KiB, so thousands of slow ones delay nobody.
	maxConnections = 4096
	// otherFiles are the open files left to the HSM connections and the ratchets.
	otherFiles = 64
	// stopTimeout bounds a graceful stop.
	stopTimeout = 10 * time.Second
)

// Serve answers the connections of ln with handler until ctx is done. handler is that of Handler
// or Admin. Serve speaks HTTPS, or HTTP if tlsConfig is nil. It speaks HTTP/1.1 only: streams of
// HTTP/2 would get around the limit on connections.
//
// When ctx is done it accepts no more, closes idle connections and waits up to 10 s for requests
// in flight. It closes ln. The error is nil if every request in flight was answered.
func (s *Server) Serve(ctx context.Context, ln net.Listener, handler http.Handler, tlsConfig *tls.Config) error {
	srv := s.httpServer(handler, tlsConfig)
	served := make(chan error, 1)
	go func() {
		limited := netutil.LimitListener(ln, connections(openFiles()))
		if tlsConfig == nil {
			served <- srv.Serve(limited)
			return
		}
		served <- srv.ServeTLS(limited, "", "") // tlsConfig has the certificate
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serving %v: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	err := shutdown(ctx, srv, ln.Addr())
	<-served //nolint:errcheck // http.ErrServerClosed, now that it is shut
	s.limit.tellAll()
	return err
}

// shutdown stops srv gracefully within stopTimeout. ctx is done already: requests in flight
// outlive it on purpose.
func shutdown(ctx context.Context, srv *http.Server, addr net.Addr) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		return fmt.Errorf("stopping %v: requests were cut off after %v: %w", addr, stopTimeout, errors.Join(err, srv.Close()))
	}
	return nil
}

// openFiles returns how many files this process may have open. Go raises the limit at start as far
// as it is allowed to.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 // the usual limit
	}
	return limit.Cur
}

// connections returns how many connections one listener may have open: half of the open files for
// each of the two listeners, less otherFiles.
func connections(files uint64) int {
	if files/2 >= maxConnections+otherFiles {
		return maxConnections
	}
	return max(1, int(files/2)-otherFiles)
}

func (s *Server) httpServer(handler http.Handler, tlsConfig *tls.Config) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// A client with the wrong certificate shows up nowhere else.
		ErrorLog: slog.NewLogLogger(s.connectionLog(), slog.LevelWarn),
	}
}
