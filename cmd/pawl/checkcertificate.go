package main

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"time"

	"pawl/signer/grep11"
)

// certificateSoon is how long before its end a certificate is warned of, as at the start
// of the daemon.
const certificateSoon = 30 * 24 * time.Hour

// certificates checks the files of the TLS with the server.
func (r *checkReport) certificates(hsm grep11.Config) {
	if hsm.CertPath != "" { // what comes behind the first is for the server to build its chain
		r.certificateFile("cert_path", hsm.CertPath, func(list []*x509.Certificate) *x509.Certificate { return list[0] })
	}
	if hsm.CACertPath != "" { // any of them may be the one that counts
		r.certificateFile("cacert_path", hsm.CACertPath, func(list []*x509.Certificate) *x509.Certificate {
			return slices.MaxFunc(list, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		})
	}
}

// certificateFile judges the one that decides.
func (r *checkReport) certificateFile(subject, path string, decides func([]*x509.Certificate) *x509.Certificate) {
	list, err := readCertificates(path)
	if err != nil {
		r.fail(subject, "put the PEM file there that the administrator of the GREP11 server gave", "%v", err)
		return
	}
	r.certificate(subject, path+": ", decides(list))
}

// certificate judges the dates of one.
func (r *checkReport) certificate(subject, prefix string, cert *x509.Certificate) {
	now := time.Now()
	name := cmp.Or(cert.Subject.CommonName, cert.Subject.String(), "without a name")
	begin, end := cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339)
	const renew = "renew the certificate"
	switch {
	case now.After(cert.NotAfter):
		r.fail(subject, renew+", or set the clock of this host", "%scertificate %q ended on %s", prefix, name, end)
	case now.Before(cert.NotBefore):
		r.fail(subject, "set the clock of this host, or wait", "%scertificate %q begins on %s", prefix, name, begin)
	case cert.NotAfter.Sub(now) < certificateSoon:
		r.warn(subject, renew+" before that day", "%scertificate %q ends on %s", prefix, name, end)
	default:
		r.ok(subject, "%scertificate %q ends on %s", prefix, name, end)
	}
}

// readCertificates reads the certificates of a PEM file; there is at least one.
func readCertificates(path string) (list []*x509.Certificate, err error) {
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
