package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"pawl/internal/config"
	"pawl/internal/ep11"
	"pawl/internal/hostlock"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// open opens servers, ratchets and locks, in this order, and makes the signer of them. The lock of a
// ratchet comes first: it is the nearest that two daemons can have in common.
func (d *Daemon) open(ctx context.Context) error {
	for _, server := range d.cfg.Servers() {
		server.Log = d.log
		client, err := grep11.Dial(server)
		if err != nil {
			return err
		}
		d.clients = append(d.clients, client)
	}
	for _, key := range d.cfg.Keys {
		entry, err := d.openKey(ctx, key)
		if err != nil {
			return fmt.Errorf("key %v: %w", key.PublicKey.Hash(), err)
		}
		d.entries = append(d.entries, entry)
	}
	if err := d.lockKeys(); err != nil {
		return err
	}
	if err := d.checkRegistrations(ctx); err != nil {
		return err
	}
	if err := d.askNode(ctx); err != nil {
		return err
	}
	var err error
	d.Signer, err = signer.New(d.entries, signer.Options{Log: d.log, OnSign: d.opts.OnSign, Renew: d.renew})
	return err
}

// openKey opens the ratchet of a key, and the key at each server.
func (d *Daemon) openKey(ctx context.Context, key config.KeySpec) (signer.Entry, error) {
	marks, err := d.openRatchet(ctx, key.DB)
	if err != nil {
		return signer.Entry{}, err
	}
	replicas, err := d.replicas(key)
	return signer.Entry{Policy: key.Policy, Ratchet: marks, Replicas: replicas}, err
}

// lockKeys locks all keys, and tells of other users who claim one.
func (d *Daemon) lockKeys() (err error) {
	var keys []tezos.PublicKeyHash
	for _, key := range d.cfg.Keys {
		keys = append(keys, key.PublicKey.Hash())
	}
	if d.lock, err = hostlock.LockKeys(keys...); err != nil {
		return err
	}
	told := make(map[tezos.PublicKeyHash]bool)
	for _, stranger := range d.lock.Strangers() {
		if told[stranger.Key] {
			continue
		}
		told[stranger.Key] = true
		d.log.Warn("another user claims the lock of a key, which changes nothing: see that it is no second daemon",
			"pkh", stranger.Key.String(), "claimed_by", stranger.String())
	}
	return nil
}

// replicas are the key, with both of its blobs, at each server.
func (d *Daemon) replicas(key config.KeySpec) ([]signer.Replica, error) {
	blobs := []ep11.Blob{key.Blob}
	if key.NextBlob != nil {
		blobs = append(blobs, key.NextBlob)
	}
	var replicas []signer.Replica
	for _, client := range d.clients {
		hsmKey, err := client.Key(key.PublicKey, blobs...)
		if err != nil {
			return nil, err
		}
		replicas = append(replicas, signer.Replica{Key: hsmKey, Server: client})
	}
	return replicas, nil
}

// openRatchet opens each file once, whatever paths lead to it.
func (d *Daemon) openRatchet(ctx context.Context, path string) (*ratchet.Ratchet, error) {
	for i, other := range d.paths {
		if sameFile(path, other) {
			return d.ratchets[i], nil
		}
	}
	store, err := sqlite.Open(ctx, path, d.storeOptions())
	if err != nil {
		return nil, &RatchetError{path, err}
	}
	d.tellFinding(store.Finding())
	trail := d.openTrail(path, store.Finding())
	d.trails = append(d.trails, trail)
	opened, err := ratchet.New(store, ratchet.Options{
		MaxLevelGap: d.cfg.MaxLevelGap, OnDecision: trail.decided, OnChange: trail.changed,
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	d.paths = append(d.paths, path)
	d.ratchets = append(d.ratchets, opened)
	return opened, nil
}

// RatchetError says why the ratchet at Path could not be opened.
type RatchetError struct {
	Path string
	Err  error // names the path
}

func (e *RatchetError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the store.
func (e *RatchetError) Unwrap() error { return e.Err }

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return a == b || errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// checkRegistrations refuses keys that may bake and could not: each of their requests would be
// refused, and the operator is not there to see it.
func (d *Daemon) checkRegistrations(ctx context.Context) error {
	type at struct {
		in  *ratchet.Ratchet
		key tezos.PublicKeyHash
	}
	registered := make(map[at]bool)
	for _, r := range d.ratchets {
		held, err := r.List(ctx)
		if err != nil {
			return err
		}
		for _, row := range held.Registrations {
			registered[at{r, row.Key}] = true
		}
	}
	var missing []tezos.PublicKeyHash
	for i, e := range d.entries {
		if hash := d.cfg.Keys[i].PublicKey.Hash(); e.Policy.Baking && !registered[at{e.Ratchet, hash}] {
			missing = append(missing, hash)
		}
	}
	if missing == nil {
		return nil
	}
	return &UnregisteredError{missing}
}

// UnregisteredError names the keys that may bake and are registered for no chain.
type UnregisteredError struct{ Keys []tezos.PublicKeyHash }

func (e *UnregisteredError) Error() string {
	names := make([]string, len(e.Keys))
	for i, key := range e.Keys {
		names[i] = key.String()
	}
	text := fmt.Sprintf("registered for no chain: %s: pawl ratchet register %s --chain NetX… --from-level N",
		strings.Join(names, ", "), names[0])
	if len(names) > 1 {
		text += ", and so each of the others"
	}
	return text
}

// unlockKeys releases the key locks, if they were taken.
func (d *Daemon) unlockKeys() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

// undo closes what is open when the start is refused.
func (d *Daemon) undo() error {
	var errs []error
	for _, client := range d.clients {
		errs = append(errs, client.Close())
	}
	for _, r := range d.ratchets {
		errs = append(errs, r.Close())
	}
	d.closeTrails()
	return errors.Join(append(errs, d.unlockKeys())...)
}
