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

// Bounds of a connection. Go sets none by itself. They follow each other: the
// head and the body of a request, then requestTimeout, are all over before
// writeTimeout, which runs from the end of the head. Only a signature that the
// disk held for longer may still be sent after it.
const (
	readHeaderTimeout = 2 * time.Second // of a TLS handshake too
	readTimeout       = 5 * time.Second
	writeTimeout      = 10 * time.Second
	idleTimeout       = 90 * time.Second
	// maxHeaderBytes leaves room for the headers that tunnels add; net/http reads
	// 4 KiB more before it refuses. A request of octez-client has under 1 KiB.
	maxHeaderBytes = 8 << 10
	// maxConnections are open at once; more wait in the kernel until one
	// closes. octez-client opens two for each signature and closes both. With 20 KiB
	// each, slow ones by the thousand hold nobody up.
	maxConnections = 4096
	// otherFiles are left to the HSM's connection and the ratchets.
	otherFiles = 64
	// stopTimeout bounds a graceful stop.
	stopTimeout = 10 * time.Second
)

// Serve answers the connections of ln with handler, which is that of Handler or
// Admin, until ctx is done: HTTPS with tlsConfig, HTTP when it is nil, and
// HTTP/1.1 only, for a stream of HTTP/2 would pass the limit of connections.
// Then it accepts no more, closes idle connections and waits for the requests
// in flight, 10 s at most. It closes ln. The error is nil after a stop that
// answered every request in flight.
func (s *Server) Serve(ctx context.Context, ln net.Listener, handler http.Handler, tlsConfig *tls.Config) error {
	srv := s.httpServer(handler, tlsConfig)
	served := make(chan error, 1)
	go func() {
		limited := netutil.LimitListener(ln, connections(openFiles()))
		if tlsConfig == nil {
			served <- srv.Serve(limited)
			return
		}
		served <- srv.ServeTLS(limited, "", "") // the certificate is in tlsConfig
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serving %v: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	// Requests in flight outlive ctx on purpose.
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := srv.Shutdown(stopCtx)
	if err != nil {
		err = fmt.Errorf("stopping %v: requests were cut off after %v: %w", ln.Addr(), stopTimeout, errors.Join(err, srv.Close()))
	}
	<-served //nolint:errcheck // http.ErrServerClosed, now that it is shut
	return err
}

// openFiles is how many this process may have open; Go has raised it as far as it may.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 // the usual one
	}
	return limit.Cur
}

// connections is how many one of the two listeners takes at once.
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
		// Broken handshakes and the like: a client with the wrong certificate is
		// told of nowhere else.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}
