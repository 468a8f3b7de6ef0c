package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"

	"pawl/internal/durable"
)

// CheckListen returns an error if listening at addr (host:port) would let strangers ask for
// signatures. A loopback address is always allowed. Any other address must be guarded, by TLS with
// client certificates or by Octez client authentication, or be behind a tunnel for which the
// operator answers. The admin listener has no guard: pass false for guarded.
func CheckListen(addr string, guarded, behindTunnel bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q: want host:port", addr)
	}
	if guarded || behindTunnel || isLoopback(host) {
		return nil
	}
	return fmt.Errorf("listen address %q is not loopback, and nothing guards it", addr)
}

// isLoopback reports whether host is a loopback address or localhost. Other names are not: what
// they resolve to can change after the check.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// authenticated are the cipher suites of TLS 1.2 that authenticate what they encrypt, with forward
// secrecy. Octez's clients (ocaml-tls) have them. TLS 1.3 has no others.
var authenticated = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// TLSConfig returns the server side of HTTPS from PEM files: TLS 1.2 or later, with session
// resumption, and authenticated encryption only. With clientCA, every client must have a certificate
// of that authority. If all three are empty there is no HTTPS, and the configuration is nil. The key
// file must not be accessible to other users. Errors name the file.
func TLSConfig(cert, key, clientCA string) (*tls.Config, error) {
	if cert == "" && key == "" && clientCA == "" {
		return nil, nil //nolint:nilnil // nil is net/http's word for no TLS
	}
	if cert == "" || key == "" {
		return nil, fmt.Errorf("TLS needs both a certificate and a key: give --tls-cert and --tls-key")
	}
	if err := durable.CheckMode(key, durable.Others); err != nil {
		return nil, fmt.Errorf("TLS key: %v", err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %v", cert, key, err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, CipherSuites: authenticated}
	if clientCA != "" {
		if cfg.ClientCAs, err = readAuthority(clientCA); err != nil {
			return nil, err
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

func readAuthority(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("TLS client authority: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("TLS client authority %s has no PEM certificate", path)
	}
	return pool, nil
}
