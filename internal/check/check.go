// Package check looks at all that a daemon needs: keys.json, the files that it points at, the
// certificates, the servers, a signature of each key, the ratchets, the clock. It changes nothing and
// may run beside a daemon.
package check

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"pawl/internal/config"
	"pawl/internal/durable"
)

// Options are what a check is asked for.
type Options struct {
	Config string // path of keys.json
	// Admin is the admin listener of a running daemon, asked while that one holds the ratchet.
	Admin string
	// Timeout bounds the check, whatever hangs. What was not checked by then is a finding.
	Timeout time.Duration
}

// Run checks from the file outwards. Servers, which can take long, come last.
func Run(ctx context.Context, opts Options) *Report {
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	r := new(Report)
	if cfg := r.config(opts.Config); cfg != nil {
		r.certificates(cfg.HSM)
		r.ratchets(ctx, cfg, opts.Config, opts.Admin)
		for _, server := range serversOf(cfg) {
			r.server(ctx, server, cfg.Keys)
		}
		r.modes(opts.Config, cfg)
	}
	r.clock()
	r.end(ctx, opts.Timeout)
	return r
}

// config reads keys.json and the files of keys. It returns nil when there is none to go
// on with, else a configuration whose keys have a blob, or nil for a bad one.
func (r *Report) config(path string) *config.Config {
	cfg, findings, err := config.Load(path)
	if cfg != nil {
		cfg, findings = cfg.ReadFiles()
	}
	for _, f := range findings {
		r.finding(path, f)
	}
	if cfg != nil {
		r.blobFileModes(cfg.Keys)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.fail(path, "name another with --config, or copy keys.json.example", "does not exist")
	case err != nil && len(findings) == 0:
		r.fail(path, "mend the file", "%v", withoutPath(err))
	case cfg != nil && len(cfg.Keys) == 0:
		r.fail(path, Command(path, "make a key with pawl createtezoskey --add tz3"), "has no keys")
	case cfg != nil:
		r.ok(path, "%s", counted(len(cfg.Keys), "key"))
	}
	return cfg
}

// withoutPath is an error of config.Load without the path, which is the subject.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*config.FileError](err); ok {
		return e.Err
	}
	return err
}

// finding is one of keys.json, whose text says what to do.
func (r *Report) finding(path string, f config.Finding) {
	subject, remedy := f.Path, "mend "+path
	if subject == "" {
		subject = path
	}
	if f.Code == config.ModeOpen {
		r.open = true
	}
	if f.Severity == config.Warning {
		r.warn(subject, remedyOf(f), "%s", f.Text)
		return
	}
	r.fail(subject, remedy, "%s", f.Text)
}

// remedyOf says what to do about a warning, whose text may say it too.
func remedyOf(f config.Finding) string {
	switch f.Code {
	case config.NoOperations:
		return `add "operations": [] if the key should only bake`
	case config.ModeOpen:
		return "close it to others, so that only the user of the daemon gets at it"
	case config.BadNextBlob:
		return "run `pawl keys rewrap` again, or remove the line"
	case config.BadBlob, config.Other:
	}
	return "change keys.json if it is not meant so"
}

// blobFileModes warns of key blobs that others may read or exchange.
func (r *Report) blobFileModes(keys []config.KeySpec) {
	for _, key := range keys {
		if key.BlobFile != "" {
			r.mode("keys."+key.PublicKey.Hash().String()+".secret_key_file", key.BlobFile, durable.Others)
		}
	}
}

// modes looks at the ratchets, whatever state they are in, and at the folders of all that
// is secret or decides; the modes of keys.json and of the secrets are findings of it.
func (r *Report) modes(config string, cfg *config.Config) {
	guarded := []string{config, cfg.HSM.KeyPath, cfg.HSM.APIKeyFile}
	ratchets := make(map[string]bool)
	for _, key := range cfg.Keys {
		guarded = append(guarded, key.BlobFile, key.DB)
		ratchets[key.DB] = true
	}
	folders := make(map[string]bool)
	for _, path := range guarded {
		if path != "" {
			folders[filepath.Dir(path)] = true
		}
	}
	for _, path := range slices.Sorted(maps.Keys(ratchets)) {
		for _, suffix := range []string{"", "-wal", "-last"} {
			r.mode(path+suffix, path+suffix, durable.Others)
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		r.mode(folder, folder, durable.OthersWrite)
	}
	if !r.open {
		r.ok("file modes", "keys.json, the ratchets, the secret files and the folders of them all are closed to others")
	}
}

// mode warns of a file or folder whose mode gives others one of the forbidden permissions.
func (r *Report) mode(subject, path string, forbidden fs.FileMode) {
	if open, ok := errors.AsType[*durable.OpenError](durable.CheckMode(path, forbidden)); ok {
		r.open = true
		r.warn(subject, "close it to others, so that only the user of the daemon gets at it",
			"mode %04o, owner %d is too open: %s", open.Mode, open.Owner, open.Remedy)
	}
}
