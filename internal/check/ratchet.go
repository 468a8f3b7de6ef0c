package check

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"pawl/internal/config"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/server"
)

// ratchets checks each ratchet file once. The daemon that holds one is asked.
func (r *Report) ratchets(ctx context.Context, cfg *config.Config, configPath, admin string) {
	r.witness(cfg)
	keysOf := make(map[string][]config.KeySpec)
	if len(cfg.Keys) == 0 && cfg.DB != "" {
		keysOf[cfg.DB] = nil
	}
	for _, key := range cfg.Keys {
		if key.DB != "" { // else Load has said so
			keysOf[key.DB] = append(keysOf[key.DB], key)
		}
	}
	asked := false
	for _, path := range slices.Sorted(maps.Keys(keysOf)) {
		if r.ratchet(ctx, path, configPath, keysOf[path], cfg.MaxLevelGap) && !asked {
			asked = true
			r.daemon(ctx, admin, configPath, cfg.Keys)
		}
	}
}

// ratchet checks one file, and says whether a daemon holds it.
func (r *Report) ratchet(
	ctx context.Context, path, configPath string, keys []config.KeySpec, gap int32,
) (held bool) {
	subject := "ratchet " + path
	found, err := sqlite.Examine(ctx, path)
	locked, isLocked := errors.AsType[*sqlite.LockedError](err)
	switch {
	case err != nil && r.ended(ctx, subject):
	case isLocked:
		held = true
		r.ok(subject, "%s", locked.Holder())
	case err != nil:
		r.fail(subject, ratchetRemedy(err, configPath, path, keys), "%v", err)
	case found.Finding.Verdict != sqlite.InPlace:
		r.fenced(subject, configPath, path, found.Finding)
	case !found.Clean:
		r.warn(subject, "nothing, if pawl was killed or the host went down: the next start reads what is in the -wal",
			"was not closed; the next start takes it")
	default:
		r.ok(subject, "whole and closed: %s, %s", counted(found.Marks, "mark"), counted(len(found.Registrations),
			"registration"))
		r.registrations(subject, configPath, ratchet.Snapshot{Registrations: found.Registrations}, keys)
	}
	if err == nil {
		r.readable = append(r.readable, path)
	}
	if err == nil || held {
		r.ok(subject, "each opening has %s, max_level_gap=%d", strings.Join(sqlite.Settings(), ", "), cmp.Or(gap,
			ratchet.DefaultMaxLevelGap))
		r.filesystem(subject, found)
	}
	return held
}

// fenced tells why the next start fences the keys.
func (r *Report) fenced(subject, configPath, path string, found sqlite.Finding) {
	if found.Verdict == sqlite.Moved {
		r.warn(subject, "if nothing else signs with these keys any more, with N above all that was ever signed:\n"+
			Command(configPath, "pawl ratchet unfence --all --level N --db %s", Quoted(path)),
			"%s: pawl starts, and signs for no key of it", found.Text)
		return
	}
	r.warn(subject, "nothing: the fences pass by themselves", "%s: pawl starts, and signs for its keys from two levels above "+
		"the first that is asked", found.Text)
}

// witness tells where the witness of the ratchets is.
func (r *Report) witness(cfg *config.Config) {
	folder, err := sqlite.LookupWitnessFolder(cfg.Witness)
	if err != nil {
		r.warn("witness", "name a folder that is not restored together with the ratchet, with witness in keys.json",
			"there is none for this user, and each start fences the keys: %v", err)
		return
	}
	r.ok("witness", "is in %s", folder)
}

// ratchetRemedy says what to do about a ratchet that a daemon would not open.
func ratchetRemedy(err error, configPath, path string, keys []config.KeySpec) string {
	if errors.Is(err, ratchet.ErrMissing) || errors.Is(err, ratchet.ErrSuspect) {
		return strings.Join(append([]string{NewRatchet + ":"}, NewRatchetCommands(configPath, path, keys)...), "\n")
	}
	return "do what the finding says; never restore a ratchet from a backup"
}

// registrations tells where each key may sign, and finds those that may bake and are registered
// nowhere, with which the daemon does not start.
func (r *Report) registrations(subject, configPath string, held ratchet.Snapshot, keys []config.KeySpec) {
	for _, key := range keys {
		hash := key.PublicKey.Hash()
		var where []string
		for _, row := range held.Registrations {
			if row.Key == hash {
				chain, allows := held.Allowed(row)
				where = append(where, chain+": "+allows)
			}
		}
		switch {
		case where != nil:
			r.ok(subject, "registrations of %v: %s", hash, strings.Join(where, "; "))
		case key.Policy.Baking:
			r.fail("keys."+hash.String(), "while pawl is stopped, and with N above the head of the chain:\n"+
				strings.Join(RegisterCommands(configPath, []config.KeySpec{key}), "\n"), "may bake and is registered for no chain")
		}
	}
}

func (r *Report) filesystem(subject string, found sqlite.Examination) {
	if found.Volatile {
		r.warn(subject, "keep it on a disk, or a volume: a lost ratchet stops every key",
			"is on %s, which is gone with the host or the container", found.FileSystem)
		return
	}
	r.ok(subject, "is on %s", found.FileSystem)
}

// daemon asks the one that holds a ratchet what it knows. Another one may answer: it has
// other keys.
func (r *Report) daemon(ctx context.Context, admin, configPath string, keys []config.KeySpec) {
	subject := "daemon " + admin
	const name = "name the admin listener of the daemon with --admin"
	client := server.AdminClient{Address: admin}
	held, err := client.Ratchet(ctx)
	state, notReady := client.Readiness(ctx)
	ready := state.Keys
	switch {
	case (err != nil || notReady != nil) && r.ended(ctx, subject):
		return
	case err != nil:
		r.warn(subject, name, "the ratchet is in use, and its daemon does not tell its marks and registrations: %v", err)
		return
	case notReady != nil:
		r.warn(subject, name, "the daemon does not tell whether it is ready: %v", notReady)
		return
	case !sameKeys(ready, keys):
		r.warn(subject, name+", or restart it to take up keys.json",
			"has other keys than keys.json: it is another daemon than the one that holds the ratchet, or keys.json was "+
				"changed since it began")
		return
	}
	r.told = held.Marks
	r.ok(subject, "holds the ratchet, with %s", counted(len(held.Marks), "mark"))
	r.registrations(subject, configPath, held, keys)
	for _, hash := range slices.Sorted(maps.Keys(ready)) {
		if key := ready[hash]; !key.Ready {
			r.fail("keys."+hash, "see the log of the daemon", "%s: not ready: %s", subject, key.Reason)
		}
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(ready)), func(k server.ReadyState) bool { return !k.Ready }) {
		r.ok(subject, "is ready with %s", counted(len(ready), "key"))
	}
}

// sameKeys reports whether a daemon has the keys of keys.json and no others.
func sameKeys(ready map[string]server.ReadyState, keys []config.KeySpec) bool {
	return len(ready) == len(keys) && !slices.ContainsFunc(keys, func(key config.KeySpec) bool {
		_, there := ready[key.PublicKey.Hash().String()]
		return !there
	})
}
