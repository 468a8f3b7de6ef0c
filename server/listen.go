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

// CheckListen returns an error when listening at addr (host:port) would let
// strangers ask for signatures. Loopback addresses are open to all on the host
// and always allowed; any other address must be guarded, by TLS with client
// certificates or by Octez client authentication, or stand behind a tunnel that
// the operator answers for. The admin listener has no guard: it takes false.
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

// isLoopback takes names other than localhost for foreign: what they mean can
// change after the check.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// TLSConfig returns the server's side of HTTPS, TLS 1.2 or later with session
// resumption, from PEM files. With clientCA every client must have a
// certificate of that authority. Without cert and key there is no HTTPS: the
// configuration is nil. Others than the owner must have no access to key. The
// errors name the file.
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
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clientCA == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(clientCA) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("TLS client authority: %v", err)
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("TLS client authority %s: no PEM certificate in it", clientCA)
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	return cfg, nil
}
