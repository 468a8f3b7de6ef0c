package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
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
	Connections   Connections   // of both
}

// public and admin are the listeners as the server has them.
func (l Listeners) public(handler http.Handler) server.Listener {
	return server.Listener{
		Listener: l.Public, Name: "signing", Handler: handler, TLS: l.HTTPS.Config(), Connections: l.Connections.Public,
	}
}

func (l Listeners) admin(handler http.Handler) server.Listener {
	return server.Listener{Listener: l.Admin, Name: "admin", Handler: handler, Connections: l.Connections.Admin}
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
	tasks.Go(func() { defer stop(); served = srv.Serve(ctx, at.public(srv.Handler())) })
	tasks.Go(func() { defer stop(); adminServed = srv.Serve(ctx, at.admin(srv.Admin())) })
	tasks.Go(func() { defer stop(); failed = d.failure(ctx) })
	d.log.Info("listening", "address", at.Public.Addr().String(), "admin", at.Admin.Addr().String(),
		"tls", at.HTTPS != nil, "keys", len(d.Keys()), "connections", at.Connections.Public,
		"admin_connections", at.Connections.Admin, "open_files", at.Connections.OpenFiles)
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
