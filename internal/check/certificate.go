package check

import (
	"cmp"
	"crypto/x509"
	"time"

	"pawl/signer/grep11"
)

// certificates checks the files of the TLS with the server.
func (r *Report) certificates(hsm grep11.Config) {
	for _, c := range hsm.Certificates() {
		if c.Err != nil {
			r.fail(c.Name, "put the PEM file there that the administrator of the GREP11 server gave", "%v", c.Err)
			continue
		}
		r.certificate(c.Name, c.Path+": ", c.Cert)
	}
}

// certificate judges the dates of one.
func (r *Report) certificate(subject, prefix string, cert *x509.Certificate) {
	now := time.Now()
	name := cmp.Or(cert.Subject.CommonName, cert.Subject.String(), "without a name")
	begin, end := cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339)
	const renew = "renew the certificate"
	switch {
	case now.After(cert.NotAfter):
		r.fail(subject, renew+", or set the clock of this host", "%scertificate %q ended on %s", prefix, name, end)
	case now.Before(cert.NotBefore):
		r.fail(subject, "set the clock of this host, or wait", "%scertificate %q begins on %s", prefix, name, begin)
	case cert.NotAfter.Sub(now) < grep11.CertificateWarning:
		r.warn(subject, renew+" before that day", "%scertificate %q ends on %s", prefix, name, end)
	default:
		r.ok(subject, "%scertificate %q ends on %s", prefix, name, end)
	}
}
