package softcard

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"pawl/internal/durable"
)

// transport returns what protects the connections of a listener. A card that anybody may use serves
// loopback addresses only.
func (c *Card) transport(ln net.Listener, d Dir, plaintext bool) (credentials.TransportCredentials, error) {
	addr, isTCP := ln.Addr().(*net.TCPAddr)
	loopback := isTCP && addr.IP.IsLoopback()
	switch {
	case plaintext && !loopback:
		return nil, fmt.Errorf("software card without TLS on %s: only a loopback address may do without", ln.Addr())
	case plaintext:
		return insecure.NewCredentials(), nil
	case c.AnyClient && c.BearerToken == "" && !loopback:
		return nil, fmt.Errorf("software card on %s: without client certificates and a bearer token anybody could use "+
			"its keys: only a loopback address may do without", ln.Addr())
	}
	port := 0
	if isTCP {
		port = addr.Port
	}
	config, err := d.serverTLS(port)
	if err != nil {
		return nil, err
	}
	if !c.AnyClient {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return credentials.NewTLS(config), nil
}

// serverTLS is the configuration of a server at a port. The caller decides on ClientAuth.
func (d Dir) serverTLS(port int) (*tls.Config, error) {
	if err := d.whole(); err != nil {
		return nil, err
	}
	pair, err := d.serverPair()
	if err != nil {
		return nil, err
	}
	ca, pool, err := d.clientCAs()
	if err != nil {
		return nil, err
	}
	if pair, err = d.named(pair, ca, port); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientCAs: pool}, nil
}

func (d Dir) serverPair() (tls.Certificate, error) {
	certificate, _, err := durable.ReadFile(d.path(serverFile), maxFileSize)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading %s of the card: %w", serverFile, err)
	}
	key, err := d.readSecret(serverKeyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s and %s in %s: %v", serverFile, serverKeyFile, d, err)
	}
	return pair, nil
}

// clientCAs reads ca.pem, as it is and as a pool.
func (d Dir) clientCAs() ([]byte, *x509.CertPool, error) {
	text, _, err := durable.ReadFile(d.path(caFile), maxFileSize)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s of the card: %w", caFile, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, nil, fmt.Errorf("%s in %s holds no certificate", caFile, d)
	}
	return text, pool, nil
}

// named returns the server's certificate with the names of the port. One that another authority than
// ca-key.pem has signed stays as it is, and so does one in a folder without that file.
func (d Dir) named(pair tls.Certificate, caPEM []byte, port int) (tls.Certificate, error) {
	key, err := d.readSecret(caKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return pair, nil
	}
	if err != nil {
		return tls.Certificate{}, err
	}
	defer clear(key)
	ca, err := readAuthority(caPEM, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s and %s in %s: %v: if %s is your own, remove %s, and %s is served as it is",
			caFile, caKeyFile, d, err, caFile, caKeyFile, serverFile)
	}
	if pair.Leaf.CheckSignatureFrom(ca.certificate) != nil {
		return pair, nil
	}
	der, err := ca.withPort(pair.Leaf, port)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: pair.PrivateKey}, nil
}
