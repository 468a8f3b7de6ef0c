package grep11

// This file implements hsm.Server.Refresh, which the sign path calls again and again in the background.

import (
	"context"
	"errors"
	"sync"

	"pawl/signer/hsm"
)

// renewal remembers why certificates could not be renewed, so that it is logged once.
type renewal struct {
	mu     sync.Mutex // held during a renewal
	logged string     // the error logged last
}

// Refresh begins to connect if the connection is lost. At the same time it does three things: it
// loads renewed certificates, asks for the mechanism list, and probes whether a missing master key
// has arrived. They run at once, so that one that hangs does not delay the others. The error is
// that of the mechanism list.
func (c *Client) Refresh(ctx context.Context) error {
	if c.State() == hsm.Down {
		c.wake()
	}
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() { c.renewCertificates(ctx) })
	others.Go(func() { c.masterKeys.probe(ctx) })
	list, err := c.Mechanisms(ctx)
	if err == nil {
		c.mechanisms.Store(&list)
	}
	return err
}

// renewCertificates loads certificates that have changed. It logs each reason for a failure once.
func (c *Client) renewCertificates(ctx context.Context) {
	if !c.renewal.mu.TryLock() {
		return // another Refresh does it
	}
	defer c.renewal.mu.Unlock()
	moved, err := c.Reload(ctx)
	switch {
	case moved:
		c.renewal.logged = ""
		c.cfg.Log.Info("certificates renewed", "server", c.Address())
	case err != nil && err.Error() != c.renewal.logged && !errors.Is(ctx.Err(), context.Canceled):
		c.renewal.logged = err.Error()
		c.cfg.Log.Warn("certificates not renewed, the old connection goes on", "server", c.Address(), "err", err)
	}
}
