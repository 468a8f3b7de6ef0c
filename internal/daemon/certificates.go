package daemon

import (
	"context"
	"sync"
	"time"

	"pawl/internal/certfile"
	"pawl/internal/config"
	"pawl/server"
	"pawl/signer/grep11"
)

// endsInterval is how often the log warns of a certificate that ends soon.
const endsInterval = 24 * time.Hour

// CertificateEnds returns when the certificates of the HSM connection end, by their names in
// keys.json, and those of https, by their flags. The files of the connection are read anew, as each
// connection does, and one that cannot be read is left out. Of https what is in use counts.
func (d *Daemon) CertificateEnds(https *server.HTTPS) map[string]time.Time {
	ends := make(map[string]time.Time)
	for _, c := range append(d.cfg.HSM.Certificates(), https.Certificates()...) {
		if c.Err == nil {
			ends[c.Name] = c.Cert.NotAfter
		}
	}
	return ends
}

// certificateFindings warns of a certificate that ends soon; grep11.Dial judges the rest.
func certificateFindings(hsm grep11.Config) (findings []config.Finding) {
	for _, c := range hsm.Certificates() {
		if c.Err != nil {
			findings = append(findings, config.Finding{Severity: config.Unopenable, Path: c.Name, Text: c.Err.Error()})
		} else if soon := c.EndsSoon(); soon != "" {
			findings = append(findings, config.Finding{Severity: config.Warning, Path: c.Name, Text: soon})
		}
	}
	return findings
}

// watchCertificates takes up those of https when they change (the clients of the HSM see to theirs),
// and warns each day of those that end soon: a daemon may run for longer than they last. The start
// has warned already.
func (d *Daemon) watchCertificates(ctx context.Context, https *server.HTTPS) {
	var tasks sync.WaitGroup
	if https != nil {
		tasks.Go(func() { every(ctx, watchInterval, func() { https.Renew(d.log) }) })
	}
	tasks.Go(func() {
		every(ctx, endsInterval, func() {
			d.warnOfEnds(append(d.cfg.HSM.Certificates(), https.Certificates()...))
		})
	})
	tasks.Wait()
}

func (d *Daemon) warnOfEnds(files []certfile.File) {
	for _, c := range files {
		if soon := c.EndsSoon(); soon != "" {
			d.log.Warn("certificate ends soon", "name", c.Name, "finding", soon)
		}
	}
}

// every calls look after each interval until ctx is done. It does not wait for a look that hangs,
// as one at a lost network file system may.
func every(ctx context.Context, interval time.Duration, look func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		looked := make(chan struct{})
		go func() {
			defer close(looked)
			look()
		}()
		select {
		case <-looked:
		case <-ctx.Done():
			return
		}
	}
}
