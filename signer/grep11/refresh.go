package grep11

import (
	"context"
	"errors"
	"sync"

	"pawl/signer/hsm"
)

// renewal remembers which trouble with renewed certificates was logged.
type renewal struct {
	mu   sync.Mutex // held while one is under way
	told string
}

// Refresh reconnects if the connection is lost, and does three things at the same time, so
// that one that hangs does not hide another: it loads renewed certificates, asks for the
// mechanism list, and probes whether a missing master key is there by now. The error is that
// of the mechanism list.
func (c *Client) Refresh(ctx context.Context) error {
	if c.State() == hsm.Down {
		c.wake()
	}
	var others sync.WaitGroup
	defer func() { // until ctx ends: a file system that hangs does not know it
		done := make(chan struct{})
		go func() { others.Wait(); close(done) }()
		select {
		case <-done:
		case <-ctx.Done():
		}
	}()
	others.Go(func() { c.renewCertificates(ctx) })
	others.Go(func() { c.masterKeys.probe(ctx) })
	list, err := c.Mechanisms(ctx)
	if err == nil {
		c.mechanisms.Store(&list)
	}
	return err
}

// renewCertificates loads certificates that have changed, and logs once why it cannot.
func (c *Client) renewCertificates(ctx context.Context) {
	if !c.renewal.mu.TryLock() {
		return // another Refresh is at it
	}
	defer c.renewal.mu.Unlock()
	moved, err := c.Reload(ctx)
	switch {
	case moved:
		c.renewal.told = ""
		c.cfg.Log.Info("certificates renewed", "server", c.Address())
	case err != nil && err.Error() != c.renewal.told && !errors.Is(ctx.Err(), context.Canceled):
		c.renewal.told = err.Error()
		c.cfg.Log.Warn("certificates not renewed, the old connection goes on", "server", c.Address(), "err", err)
	}
}
