package grep11

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"pawl/signer/grep11/pb"
)

// handshakeTimeout bounds a connection with its TLS handshake: twice what Dial gives one
// attempt.
const handshakeTimeout = 2 * connectTimeout

// Peer is what a TLS handshake showed of a server.
type Peer struct {
	Version string        // of TLS, e.g. TLS 1.3
	Elapsed time.Duration // connection and handshake
	// Certificates are those that the server sent, its own first. They were verified
	// only if Handshake returned no error.
	Certificates []*x509.Certificate
}

// Handshake connects once as Dial does, with the same files and the same checks of the
// server, and hangs up. It takes at most three seconds. When the server's certificate
// does not verify, the error comes with the certificates all the same. In TLS 1.3 a
// server refuses a client's certificate only after the handshake: a call tells that.
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
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	start := time.Now()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", cfg.Address)
	if err != nil {
		return Peer{}, fmt.Errorf("connecting to %s: %w", cfg.Address, err)
	}
	secured, err := handshake(ctx, conn, config)
	if err != nil {
		return unverified(err), fmt.Errorf("connecting to %s: %w", cfg.Address, err)
	}
	state := secured.ConnectionState()
	_ = secured.Close() // nothing was sent
	return Peer{tls.VersionName(state.Version), time.Since(start), state.PeerCertificates}, nil
}

// unverified returns the certificates that a handshake refused.
func unverified(err error) Peer {
	refused, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		return Peer{}
	}
	return Peer{Certificates: refused.UnverifiedCertificates}
}

// Clock returns the time that the server, or a proxy before it, writes into its answers (the
// header date, RFC 9110 section 6.6.1), in whole seconds. It is zero if there is none, as with
// most GREP11 servers.
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
