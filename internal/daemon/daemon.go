// Package daemon puts a signer together: it opens what keys.json points at (servers, ratchets,
// the key locks of this host), keeps it true while the signer runs, and closes it in the right
// order. What is wrong is found at the opening, once.
package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"pawl/internal/config"
	"pawl/internal/durable"
	"pawl/internal/hostlock"
	"pawl/ratchet"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// Options are hooks of a daemon. Each may be left out.
type Options struct {
	// Log gets what the signer and the connections have to say, and what becomes of a keys.json
	// that changes. It must not block: signatures would wait for it.
	Log *slog.Logger
	// OnSign is told of each attempt at an HSM signature.
	OnSign func(key tezos.PublicKeyHash, elapsed time.Duration, err error)
	// OnCommit is told of each commit of a ratchet: how long it took and how many marks it made
	// durable.
	OnCommit func(elapsed time.Duration, marks int)
}

// Daemon is a signer with all that it stands on. It is safe for concurrent use.
type Daemon struct {
	*signer.Signer

	cfg      *config.Config
	log      *slog.Logger
	opts     Options
	clients  []*grep11.Client
	paths    []string // of ratchets
	ratchets []*ratchet.Ratchet
	trails   []*trail          // of the ratchets
	lock     *hostlock.KeyLock // of all keys
	entries  []signer.Entry    // of the keyring in use
	reload   reload
	rights   rights

	witnessTold bool // that there is none
}

// Open opens what cfg points at, takes the key locks of this host, and connects to the servers
// in the background. The findings are those of the configuration and one for each missing file
// and bad blob; the error is nil unless one of them refuses the start. A key that may bake and is
// registered for no chain refuses it too.
func Open(ctx context.Context, cfg *config.Config, opts Options) (*Daemon, []config.Finding, error) {
	cfg, findings := cfg.ReadFiles(durable.Self())
	findings = append(findings, certificateFindings(cfg.HSM)...)
	if err := config.Refusal(findings, config.Unopenable); err != nil {
		return nil, findings, err
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	d := &Daemon{cfg: cfg, log: opts.Log, opts: opts, reload: newReload(cfg), rights: newRights(findings)}
	if err := d.open(ctx); err != nil {
		return nil, findings, errors.Join(err, d.undo())
	}
	return d, findings, nil
}

// Watch keeps the state of the signer true until ctx is done, and takes up the key blobs of a
// keys.json that changes.
func (d *Daemon) Watch(ctx context.Context) {
	var tasks sync.WaitGroup
	tasks.Go(func() { d.Signer.Watch(ctx) })
	tasks.Go(func() { d.watchConfig(ctx) })
	tasks.Go(func() { d.watchTrails(ctx) })
	tasks.Wait()
}

// Close ends the ratchets (cleanly, after what is in flight), the connections and the key locks.
// Sign is not to be called any more.
func (d *Daemon) Close() error {
	err := d.Signer.Close()
	d.closeTrails()
	return errors.Join(err, d.unlockKeys())
}
