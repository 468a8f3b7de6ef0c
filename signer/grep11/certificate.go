package grep11

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"time"
)

// CertificateWarning is how long before its end a certificate is warned of.
const CertificateWarning = 30 * 24 * time.Hour

// Certificate is the certificate of a file that matters for its end. The metric, the warning
// and `pawl check` all tell this one's date.
type Certificate struct {
	Name string            // of the file in keys.json: cert_path or cacert_path
	Path string            // of the file
	Cert *x509.Certificate // nil with Err
	Err  error             // why the file has none
}

// Certificates reads the certificate files of the connection, as they are now. Of cert_path the
// first certificate counts: the rest is for the server to build its chain. Of cacert_path the one
// that ends last counts: any of a bundle may be the one that is used.
func (c Config) Certificates() []Certificate {
	var list []Certificate
	if c.CertPath != "" {
		first := func(all []*x509.Certificate) *x509.Certificate { return all[0] }
		list = append(list, readCertificate("cert_path", c.CertPath, first))
	}
	if c.CACertPath != "" {
		list = append(list, readCertificate("cacert_path", c.CACertPath, func(all []*x509.Certificate) *x509.Certificate {
			return slices.MaxFunc(all, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		}))
	}
	return list
}

func readCertificate(name, path string, choose func([]*x509.Certificate) *x509.Certificate) Certificate {
	all, err := readPEM(path)
	if err != nil {
		return Certificate{Name: name, Path: path, Err: err}
	}
	return Certificate{Name: name, Path: path, Cert: choose(all)}
}

// readPEM reads the certificates of a PEM file; there is at least one.
func readPEM(path string) (list []*x509.Certificate, err error) {
	rest, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, cert)
	}
	if list == nil {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return list, nil
}
