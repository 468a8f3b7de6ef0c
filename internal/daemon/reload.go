package daemon

import (
	"context"
	"os"
	"slices"
	"time"

	"pawl/internal/config"
	"pawl/signer"
	"pawl/signer/grep11"
)

// watchInterval is how often keys.json, and the files of HTTPS, are looked at.
const watchInterval = time.Second

// reload is what is known of the keys.json that the daemon was opened from. There is none with
// path "".
type reload struct {
	path string
	turn chan struct{} // of one place: whoever looks at the file has it, and what follows
	seen os.FileInfo   // as it was at the last look
	bad  bool          // and could not be read
	told string        // why, once said
	load func(path string) (*config.Config, []config.Finding, error)
}

func newReload(cfg *config.Config) reload {
	return reload{path: cfg.Path, turn: make(chan struct{}, 1), seen: cfg.File, load: config.Load}
}

// changed reports whether the file is to be read: it is not as the last look found it, or, with
// rereadBad, it could not be read then. A file that is not there has not changed: it may be about
// to be replaced.
func (r *reload) changed(rereadBad bool) bool {
	info, err := os.Stat(r.path)
	if err != nil {
		return false
	}
	same := os.SameFile(info, r.seen) && info.ModTime().Equal(r.seen.ModTime()) && info.Size() == r.seen.Size()
	r.seen = info
	return !same || r.bad && rereadBad
}

// Edited says that the caller itself has just changed keys.json, before Watch, and that the change
// is none for the daemon: it is neither loaded nor told.
func (d *Daemon) Edited() {
	if info, err := os.Stat(d.reload.path); err == nil {
		d.reload.seen = info
	}
}

// watchConfig looks at keys.json every second until ctx is done.
func (d *Daemon) watchConfig(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		d.Reload(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// Reload takes up the key blobs of a keys.json that has changed, or that could not be read at
// the last look. It gives up when ctx is done.
func (d *Daemon) Reload(ctx context.Context) { d.lookAtConfig(ctx, true) }

// renew looks at keys.json for a request whose key was refused.
func (d *Daemon) renew(ctx context.Context) { d.lookAtConfig(ctx, false) }

// lookAtConfig takes up the blobs of a keys.json that has changed, or gives up when ctx is done.
// Many may call it at once: one of them reads the file.
func (d *Daemon) lookAtConfig(ctx context.Context, rereadBad bool) {
	if d.reload.path == "" {
		return
	}
	select {
	case d.reload.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	looked := make(chan struct{})
	go func() { // a file system that hangs holds this one goroutine
		defer close(looked)
		d.reloadBlobs(rereadBad)
		<-d.reload.turn
	}()
	select {
	case <-looked:
	case <-ctx.Done():
	}
}

// reloadBlobs swaps in a keyring with the key blobs of a keys.json that has changed, so that the
// keys know their next ones when the HSM finalises its new master key. All other changes wait for
// a restart. That is safe at any moment: no key loses the blob in use, the public keys are those
// of the start, and a signature that does not verify with them is never released, whatever blob
// made it. A file that is no keys.json changes nothing.
func (d *Daemon) reloadBlobs(rereadBad bool) {
	if !d.reload.changed(rereadBad) {
		return
	}
	cfg, findings, err := d.reload.load(d.reload.path)
	d.reload.bad = err != nil
	if err != nil {
		if text := err.Error(); text != d.reload.told {
			d.log.Warn("keys.json changed and cannot be read", "err", text)
			d.reload.told = text
		}
		return
	}
	d.reload.seen, d.reload.told = cfg.File, ""
	d.warn(findings)
	fresh := d.takeUp(cfg)
	d.log.Info("keys.json changed: key blobs loaded; all other changes need a restart", "keys_with_new_blobs", fresh)
}

// warn tells of the findings for which the daemon would not start again.
func (d *Daemon) warn(findings []config.Finding) {
	fatal, more := config.Shown(slices.DeleteFunc(slices.Clone(findings), func(f config.Finding) bool {
		return f.Severity < config.Unopenable
	}))
	for _, f := range fatal {
		d.log.Warn("keys.json changed and would not start again", "path", f.Path, "finding", f.Text)
	}
	if more > 0 {
		d.log.Warn("keys.json has more findings than are logged: pawl check counts them", "more", more)
	}
}

// takeUp swaps in the keyring with the blobs of cfg and returns how many keys have a new one.
func (d *Daemon) takeUp(cfg *config.Config) (fresh int) {
	entries := slices.Clone(d.entries)
	changed := false
	for i := range entries {
		hash := d.cfg.Keys[i].PublicKey.Hash()
		at := slices.IndexFunc(cfg.Keys, func(k config.KeySpec) bool { return k.PublicKey.Hash() == hash })
		if at < 0 {
			continue
		}
		replicas, isNew, err := withBlobs(entries[i].Replicas, &cfg.Keys[at])
		if err != nil {
			d.log.Warn("key blob of keys.json not loaded", "pkh", hash.String(), "err", err.Error())
		}
		changed = changed || !slices.Equal(replicas, entries[i].Replicas)
		entries[i].Replicas = replicas
		if isNew {
			fresh++
		}
	}
	if !changed {
		return 0
	}
	if err := d.Swap(entries); err != nil { // cannot be: it has the keys of the one before
		d.log.Error("keyring not swapped", "err", err.Error())
		return 0
	}
	d.entries = entries
	return fresh
}

// withBlobs returns replicas with the blobs of key, and reports whether one of these is new. One
// that cannot be read leaves all as they were: a blob that was known may be the one that is needed.
func withBlobs(replicas []signer.Replica, key *config.KeySpec) (changed []signer.Replica, fresh bool, err error) {
	blobs, err := key.Blobs()
	if err != nil {
		return replicas, false, err
	}
	changed = slices.Clone(replicas)
	for i, r := range changed {
		hsmKey, ok := r.Key.(*grep11.Key)
		if !ok {
			continue
		}
		renewed, isNew, unsound := hsmKey.With(blobs...)
		if unsound != nil {
			if err == nil {
				err = unsound // at each server the same
			}
			continue
		}
		changed[i].Key, fresh = renewed, fresh || isNew
	}
	return changed, fresh, err
}
