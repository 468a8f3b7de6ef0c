package daemon

import (
	"context"
	"time"

	"pawl/internal/config"
	"pawl/internal/durable"
	"pawl/server"
)

// rightsInterval is how often the rights of files are looked at while the daemon runs.
const rightsInterval = time.Minute

// rights are the findings of file rights that were told already.
type rights map[config.Finding]bool

func newRights(told []config.Finding) rights {
	r := make(rights)
	for _, f := range told {
		r[f] = true
	}
	return r
}

// watchRights tells, once each, of files that have come into the hands of others since the start.
// The keys go on signing: what was read is not read again because of it, and to stop would do for
// a stranger what he cannot do himself. The next start is the one that refuses.
func (d *Daemon) watchRights(ctx context.Context, https *server.HTTPS) {
	files := https.Files()
	for _, f := range config.HTTPSRights(durable.Self(), files.Cert, files.Key, files.ClientCA) {
		d.rights[f] = true // the start has warned of it
	}
	every(ctx, rightsInterval, func() { d.lookAtRights(https) })
}

func (d *Daemon) lookAtRights(https *server.HTTPS) {
	user := durable.Self()
	files := https.Files()
	for _, f := range append(d.cfg.Rights(user), config.HTTPSRights(user, files.Cert, files.Key, files.ClientCA)...) {
		if !d.rights[f] {
			d.rights[f] = true
			d.log.Warn("file rights changed", "path", f.Path, "finding", f.Text,
				"next_start_refused", f.Severity > config.Warning)
		}
	}
}
