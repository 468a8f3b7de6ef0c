package grep11

// This file looks at a server's certificate and clock, for the checks of an operator.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"pawl/signer/grep11/pb"
)

// handshakeTimeout bounds the TCP connection and the TLS handshake together. It is twice the
// time of one attempt of Dial.
const handshakeTimeout = 2 * connectTimeout

// Peer is what a TLS handshake found out about a server.
type Peer struct {
	Version string        // of TLS, e.g. TLS 1.3
	Elapsed time.Duration // for the TCP connection and the handshake
	// Certificates are those that the server sent, its own first. They are verified
	// only if Handshake returned no error.
	Certificates []*x509.Certificate
}

// Handshake connects once and hangs up. It uses the files of Dial and checks the server in
// the same way. It takes at most three seconds. When the server's certificate does not
// verify, it returns the certificates together with the error. In TLS 1.3 a server refuses
// a client certificate only after the handshake, so only a call finds that out.
func Handshake(ctx context.Context, cfg Config) (Peer, error) {
	host, err := hostOf(cfg.Address)
	if err != nil {
		return Peer{}, err
	}
	files := filesOf(cfg, host)
	config, err := files.load()
	if err != nil {
		return Peer{}, err
	}
	config.NextProtos = []string{"h2"}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	start := time.Now()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", cfg.Address)
	if err != nil {
		return unverified(err), fmt.Errorf("connecting to %s: %w", cfg.Address, err)
	}
	peer := Peer{Elapsed: time.Since(start)}
	if secured, ok := conn.(*tls.Conn); ok {
		state := secured.ConnectionState()
		peer.Version, peer.Certificates = tls.VersionName(state.Version), state.PeerCertificates
	}
	_ = conn.Close() // nothing was sent
	return peer, nil
}

// unverified returns the certificates that did not verify, if that is what err says.
func unverified(err error) Peer {
	refused, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		return Peer{}
	}
	return Peer{Certificates: refused.UnverifiedCertificates}
}

// Clock returns the server's time in whole seconds. It comes from the date header that the
// server, or a proxy before it, adds to its answers (RFC 9110 section 6.6.1). Most GREP11
// servers send none; Clock then returns the zero time.
func (c *Client) Clock(ctx context.Context) (time.Time, error) {
	var header metadata.MD
	ask := func(
		ctx context.Context, in *pb.GetMechanismListRequest, opts ...grpc.CallOption,
	) (*pb.GetMechanismListResponse, error) {
		return c.crypto.GetMechanismList(ctx, in, append(opts, grpc.Header(&header))...)
	}
	if _, err := callNow(ctx, "GetMechanismList", ask, &pb.GetMechanismListRequest{}); err != nil {
		return time.Time{}, err
	}
	for _, text := range header.Get("date") {
		return http.ParseTime(text)
	}
	return time.Time{}, nil
}
