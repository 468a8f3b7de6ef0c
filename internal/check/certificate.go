package check

import (
	"cmp"
	"crypto/x509"
	"time"

	"pawl/internal/certfile"
	"pawl/internal/config"
	"pawl/internal/durable"
	"pawl/server"
)

// https checks the files of pawl's own HTTPS as its start does.
func (r *Report) https(files server.HTTPSFiles, user durable.User) {
	if files == (server.HTTPSFiles{}) {
		return
	}
	for _, f := range config.HTTPSRights(user, files.Cert, files.Key, files.ClientCA) {
		r.finding("", f)
	}
	if err := files.Check(); err != nil {
		r.fail("HTTPS", "mend the file that is named: with it pawl serve does not start, and a running one goes on "+
			"with what it has", "%v", err)
		return
	}
	r.certificates(files.Certificates(), "put a certificate in PEM form there")
}

// certificates checks the dates of those in files.
func (r *Report) certificates(files []certfile.File, remedy string) {
	for _, c := range files {
		if c.Err != nil {
			r.fail(c.Name, remedy, "%v", c.Err)
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
	case cert.NotAfter.Sub(now) < certfile.Warning:
		r.warn(subject, renew+" before that day", "%scertificate %q ends on %s", prefix, name, end)
	default:
		r.ok(subject, "%scertificate %q ends on %s", prefix, name, end)
	}
}
