package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"pawl/server"
)

// ErrRatchetFailed means that the outcome of a commit is unknown: nothing more is released, and
// only a new start can tell what is durable.
var ErrRatchetFailed = errors.New("ratchet failed")

// Listeners are where a daemon serves.
type Listeners struct {
	Public, Admin net.Listener
	HTTPS         *server.HTTPS // of Public; nil is HTTP
}

// Close closes the listeners that are open. They may be closed already.
func (l Listeners) Close() {
	for _, ln := range []net.Listener{l.Public, l.Admin} {
		if ln != nil {
			_ = ln.Close()
		}
	}
}

// Serve serves until ctx is done or a ratchet has failed, then closes the daemon. Its error is
// nil after a stop that answered every request in flight and closed the ratchets, and Is
// ErrRatchetFailed after a failure.
func (d *Daemon) Serve(ctx context.Context, srv *server.Server, at Listeners) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var tasks sync.WaitGroup
	var served, adminServed, failed error
	tasks.Go(func() { d.Watch(ctx) })
	tasks.Go(func() { d.watchCertificates(ctx, at.HTTPS) })
	tasks.Go(func() { d.watchRights(ctx, at.HTTPS) })
	tasks.Go(func() { defer stop(); served = srv.Serve(ctx, at.Public, srv.Handler(), at.HTTPS.Config()) })
	tasks.Go(func() { defer stop(); adminServed = srv.Serve(ctx, at.Admin, srv.Admin(), nil) })
	tasks.Go(func() { defer stop(); failed = d.failure(ctx) })
	d.log.Info("listening", "address", at.Public.Addr().String(), "admin", at.Admin.Addr().String(),
		"tls", at.HTTPS != nil, "keys", len(d.Keys()))
	tasks.Wait()
	err := errors.Join(served, adminServed, d.Close())
	if failed != nil {
		err = failed // which is also why nothing was closed
	}
	d.log.Info("stopped", "clean", err == nil)
	return err
}

// failure waits for the failure of a ratchet, or for ctx.
func (d *Daemon) failure(ctx context.Context) error {
	select {
	case <-d.Failed():
		d.log.Error("ratchet failed: nothing more is signed, start again", "err", d.Err())
		return fmt.Errorf("%w: %w", ErrRatchetFailed, d.Err())
	case <-ctx.Done():
		return nil
	}
}
