package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"

	"pawl/internal/certfile"
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
// resumption, and authenticated encryption only. With clientCA, every client must have a certificate of
// that authority. If all three are empty there is no HTTPS, and the configuration is nil. It refuses a key
// file that other users may read, a certificate that has ended or is not for servers, a key of another
// certificate, and authorities with which no client would be admitted. Errors name the file.
func TLSConfig(cert, key, clientCA string) (*tls.Config, error) {
	if cert == "" && key == "" && clientCA == "" {
		return nil, nil //nolint:nilnil // nil is net/http's word for no TLS
	}
	if cert == "" || key == "" {
		return nil, fmt.Errorf("TLS needs both a certificate and a key: give --tls-cert and --tls-key")
	}
	if err := checkPrivate(key); err != nil {
		return nil, fmt.Errorf("TLS key: %v", err)
	}
	return tlsConfig(cert, key, clientCA)
}

// checkPrivate returns an error if others may read the file.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil // reading it tells why
	}
	return durable.Self().CheckSecret(path, info)
}

// tlsConfig is TLSConfig, whoever may read the key.
func tlsConfig(cert, key, clientCA string) (*tls.Config, error) {
	pair, err := readPair(cert, key)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, CipherSuites: authenticated}
	if clientCA != "" {
		if cfg.ClientCAs, err = readAuthorities(clientCA); err != nil {
			return nil, err
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

func readPair(cert, key string) (tls.Certificate, error) {
	pair, err := certfile.Pair(cert, key)
	if err != nil {
		return pair, fmt.Errorf("TLS certificate: %v", err)
	}
	if err := usable(pair.Leaf, x509.ExtKeyUsageServerAuth); err != nil {
		return pair, fmt.Errorf("TLS certificate %s %v", cert, err)
	}
	return pair, nil
}

// readAuthorities reads the authorities of clients. Those that no client can come with any more
// may stay in the file beside others.
func readAuthorities(path string) (*x509.CertPool, error) {
	all, err := certfile.Read(path)
	if err != nil {
		return nil, fmt.Errorf("TLS client authority: %v", err)
	}
	for _, cert := range all {
		if err = usable(cert, x509.ExtKeyUsageClientAuth); err == nil {
			return certfile.Pool(all), nil
		}
	}
	return nil, fmt.Errorf("TLS client authority %s %v", path, err)
}

func usable(cert *x509.Certificate, use x509.ExtKeyUsage) error {
	if err := certfile.CheckEnd(cert); err != nil {
		return err
	}
	return certfile.CheckUse(cert, use)
}
