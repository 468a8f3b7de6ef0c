package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"pawl/internal/config"
	"pawl/internal/durable"
)

type checkCmd struct {
	Config string `default:"./keys.json" placeholder:"FILE" help:"keys.json to check (default: ${default})."`
	Admin  string `default:"127.0.0.1:9732" placeholder:"ADDR" help:"Admin listener of a running daemon, asked while it holds the ratchet (default: ${default})."`
	JSON   bool   `name:"json" help:"Print JSON."`
	// Timeout bounds a check, whatever hangs. A server that is down costs seconds.
	Timeout time.Duration `default:"2m" placeholder:"TIME" help:"End after so long; what was not checked by then is told (default: ${default})."`
}

// Validate finds a time that is none.
func (c *checkCmd) Validate() error {
	if c.Timeout <= 0 {
		return fmt.Errorf("--timeout %v: want a time above 0", c.Timeout)
	}
	return nil
}

func (*checkCmd) Help() string {
	return "Checks keys.json and all that it points at: certificates, the GREP11 server, a signature of each key, the ratchet, file modes, the " +
		"clock. Changes nothing and may run beside a daemon. Exit code 1 when anything is broken, be it one server of several; " +
		"warnings leave it at 0."
}

// Run checks from the file outwards, and prints all that it found. Servers, which can
// take long, come last.
func (c *checkCmd) Run(ctx context.Context, s *streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var r checkReport
	if cfg := r.config(c.Config); cfg != nil {
		r.certificates(cfg.HSM)
		r.ratchets(ctx, cfg, c.Admin)
		for _, server := range serversOf(cfg) {
			r.server(ctx, server, cfg.Keys)
		}
		r.modes(c.Config, cfg)
	}
	r.clock()
	r.end(ctx, c.Timeout)
	return errors.Join(r.print(s, c.JSON), r.err())
}

// config reads keys.json and the files of keys. It returns nil when there is none to go
// on with, else a configuration whose keys have a blob, or nil for a bad one.
func (r *checkReport) config(path string) *config.Config {
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
		r.fail(path, "mend the file", "%s", withoutName(err, path))
	case cfg != nil && len(cfg.Keys) == 0:
		r.fail(path, "make a key with pawl createtezoskey --add", "has no keys")
	case cfg != nil:
		r.ok(path, "%s", counted(len(cfg.Keys), "key"))
	}
	return cfg
}

// finding is one of keys.json, whose text says what to do.
func (r *checkReport) finding(path string, f config.Finding) {
	subject, remedy := f.Path, "mend "+path
	if subject == "" {
		subject = path
	}
	if f.Code == config.ModeOpen {
		r.open = true
	}
	if f.Severity == config.Warning {
		r.warn(subject, "see whether it is meant", "%s", f.Text)
		return
	}
	r.fail(subject, remedy, "%s", f.Text)
}

// blobFileModes warns of key blobs that others may read or exchange.
func (r *checkReport) blobFileModes(keys []config.KeySpec) {
	for _, key := range keys {
		if key.BlobFile != "" {
			r.mode("keys."+key.PublicKey.Hash().String()+".secret_key_file", key.BlobFile, durable.Others)
		}
	}
}

// modes looks at the ratchets, whatever state they are in, and at the folders of all that
// is secret or decides; the modes of keys.json and of the secrets are findings of it.
func (r *checkReport) modes(config string, cfg *config.Config) {
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
func (r *checkReport) mode(subject, path string, forbidden fs.FileMode) {
	if open, ok := errors.AsType[*durable.OpenError](durable.CheckMode(path, forbidden)); ok {
		r.open = true
		r.warn(subject, "close it to others, so that only the user of the daemon gets at it",
			"mode %04o, owner %d is too open: %s", open.Mode, open.Owner, open.Remedy)
	}
}

// withoutName is the text of an error that may begin with the name of its file.
func withoutName(err error, path string) string {
	text := err.Error()
	for _, name := range []string{"keys.json: ", path + ": "} {
		if len(text) > len(name) && text[:len(name)] == name {
			text = text[len(name):]
		}
	}
	return text
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
