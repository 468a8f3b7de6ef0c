package softcard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	stopTimeout      = 5 * time.Second  // for calls in flight when the server ends
	handshakeTimeout = 10 * time.Second // for a TLS handshake
	pingTime         = 30 * time.Second // as in the configuration of IBM's server
	pingTimeout      = 5 * time.Second
	minPingTime      = 10 * time.Second // shortest interval of a client's keepalive pings
	window           = 1<<16 - 1        // bytes; the initial window of HTTP/2's flow control
)

// Serve serves the card on ln until ctx is done. Then it lets calls in flight end for at
// most 5 s and returns nil. It always closes ln.
//
// The server shows server.pem of d, for the names of its port too, speaks TLS 1.3 and admits only
// clients with a certificate of ca.pem for client authentication, unless AnyClient is set. With
// plaintext it uses no TLS and does not read d; ln must then be TCP on a loopback address.
func (c *Card) Serve(ctx context.Context, ln net.Listener, d Dir, plaintext bool) error {
	creds, err := c.transport(ln, d, plaintext)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	server := newServer(c,
		grpc.Creds(creds),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.StaticStreamWindowSize(window), // a window that grows makes gRPC ping for each request
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingTime, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingTime, PermitWithoutStream: true}),
	)

	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		stop(server)
	})
	err = server.Serve(trackingListener{ln, &c.conns})
	if cancel() { // ctx has not ended: the listener failed
		server.Stop()
		return fmt.Errorf("software card on %s: %w", ln.Addr(), err)
	}
	<-stopped
	return nil
}

// stop lets calls in flight end for stopTimeout, then cuts them off. GracefulStop alone
// would wait for a stuck call for ever.
func stop(server *grpc.Server) {
	graceful := make(chan struct{})
	go func() {
		defer close(graceful)
		server.GracefulStop()
	}()
	select {
	case <-graceful:
	case <-time.After(stopTimeout):
		server.Stop()
	}
}
