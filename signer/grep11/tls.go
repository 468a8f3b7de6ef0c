package grep11

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"pawl/internal/certfile"
)

// transportCredentials returns mutual TLS, or none for a loopback host when cfg asks for it.
func transportCredentials(cfg Config, host string) (credentials.TransportCredentials, error) {
	if cfg.Plaintext {
		if !isLoopback(host) {
			return nil, fmt.Errorf("grep11 address %q: without TLS only a loopback address will do", cfg.Address)
		}
		return insecure.NewCredentials(), nil
	}
	files := filesOf(cfg, host)
	config, err := files.load()
	if err != nil {
		return nil, err
	}
	good := new(atomic.Pointer[tls.Config])
	good.Store(config)
	return mutualTLS{credentials.NewTLS(config), files, good}, nil
}

// errNoHTTP2 means that no HTTP/2 was agreed on (ALPN, RFC 9113 section 3.3), which gRPC needs.
var errNoHTTP2 = errors.New("the server speaks TLS and no HTTP/2")

// handshake makes the TLS handshake of a client on conn, and closes conn if it fails. It is the only
// one: what `pawl check` finds right, the client finds right. gRPC's own cuts a port off the name
// before it verifies it, and there are certificates that bear host:port as a DNS name.
func handshake(ctx context.Context, conn net.Conn, config *tls.Config) (*tls.Conn, error) {
	secured := tls.Client(conn, config)
	err := secured.HandshakeContext(ctx)
	if err == nil && secured.ConnectionState().NegotiatedProtocol != http2 {
		err = errNoHTTP2
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secured, nil
}

// http2 is the ALPN name of HTTP/2 (RFC 9113 section 3.1).
const http2 = "h2"

// cipherSuites are those of TLS 1.2 that HTTP/2 does not forbid (RFC 9113 appendix A).
var cipherSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// mutualTLS reads the files again at each handshake, so that renewed ones are used.
type mutualTLS struct {
	credentials.TransportCredentials // made of the files as they were at Dial; for Info only
	files                            tlsFiles
	good                             *atomic.Pointer[tls.Config] // of the files when they could be read last
}

// ClientHandshake authenticates both sides with the files as they are, or as they last could
// be read: a file that is half-written at the moment does not keep a lost server away. If the
// server refuses the older ones, the error is that of the files.
func (m mutualTLS) ClientHandshake(
	ctx context.Context, _ string, conn net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	config, unreadable := m.files.load()
	if unreadable != nil {
		config = m.good.Load()
	}
	secured, err := handshake(ctx, conn, config)
	if err != nil {
		return nil, nil, cmp.Or(unreadable, err)
	}
	m.good.Store(config)
	return explainedConn{secured}, credentials.TLSInfo{
		State:          secured.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Clone returns m, which holds nothing of one connection.
func (m mutualTLS) Clone() credentials.TransportCredentials { return m }

// explainedConn says why a write failed. In TLS 1.3 a server refuses a client certificate
// after the client's handshake: the next write meets a closed connection, and the reason,
// an alert, waits to be read (RFC 8446 section 4.4.2.4).
type explainedConn struct{ net.Conn }

// alertTimeout is how long to look for an alert; it came before the connection was closed.
const alertTimeout = 100 * time.Millisecond

// Write returns the peer's alert instead of the error that it caused.
func (c explainedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err == nil {
		return n, nil
	}
	if c.SetReadDeadline(time.Now().Add(alertTimeout)) == nil {
		_, alert := c.Read(make([]byte, 1)) // nothing is lost: the connection is dead
		if op, ok := errors.AsType[*net.OpError](alert); ok && op.Op == "remote error" {
			return n, alert
		}
	}
	return n, err
}

type tlsFiles struct {
	cert, key, ca, serverName string
	token                     bool // the client proves itself with a bearer token
}

func filesOf(cfg Config, host string) tlsFiles {
	host, _, _ = strings.Cut(host, "%") // a zone names an interface of this host, and nothing in a certificate
	return tlsFiles{
		cert: cfg.CertPath, key: cfg.KeyPath, ca: cfg.CACertPath,
		serverName: cmp.Or(cfg.ServerName, host), token: cfg.APIKeyFile != "",
	}
}

func (f tlsFiles) load() (*tls.Config, error) {
	switch {
	case !f.token && (f.cert == "" || f.key == "" || f.ca == ""):
		return nil, errors.New("grep11 mutual TLS: set cert_path, key_path and cacert_path")
	case (f.cert == "") != (f.key == ""):
		return nil, errors.New("grep11 mutual TLS: set cert_path and key_path, or neither")
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, CipherSuites: cipherSuites, NextProtos: []string{http2}, ServerName: f.serverName,
	}
	if f.cert != "" {
		cert, err := f.clientCertificate()
		if err != nil {
			return nil, err
		}
		// Not Certificates: a certificate that the server's CA list does not cover would
		// then be held back, and the server would complain of none at all.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	if f.ca != "" { // else those of the system
		pool, err := f.authorities()
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	}
	return config, nil
}

func (f tlsFiles) clientCertificate() (*tls.Certificate, error) {
	cert, err := certfile.Pair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("grep11 client certificate: %w", err)
	}
	if err := certfile.CheckEnd(cert.Leaf); err != nil {
		return nil, fmt.Errorf("grep11 client certificate %s %w", f.cert, err)
	}
	return &cert, nil
}

func (f tlsFiles) authorities() (*x509.CertPool, error) {
	all, err := certfile.Read(f.ca)
	if err != nil {
		return nil, fmt.Errorf("grep11 CA certificate: %w", err)
	}
	return certfile.Pool(all), nil
}
