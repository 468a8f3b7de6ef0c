// Package check looks at all that a daemon needs: keys.json, the files that it points at, the
// certificates, the servers, a signature of each key, the ratchets, the head of a node, the clock. It
// changes nothing and may run beside a daemon.
package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"pawl/internal/config"
	"pawl/internal/durable"
	"pawl/server"
)

// Options are what a check is asked for.
type Options struct {
	Config string // path of keys.json
	// Admin is the admin listener of a running daemon, asked while that one holds the ratchet.
	Admin string
	// HTTPS are the files of the daemon's own HTTPS, which are named by its flags alone.
	HTTPS server.HTTPSFiles
	// Timeout bounds the check, whatever hangs. What was not checked by then is a finding.
	Timeout time.Duration
}

// Run checks from the file outwards. Servers, which can take long, come last.
func Run(ctx context.Context, opts Options) *Report {
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	r := new(Report)
	if cfg := r.config(opts.Config); cfg != nil {
		r.certificates(cfg.HSM.Certificates(), "put the PEM file there that the administrator of the GREP11 server gave")
		r.https(opts.HTTPS, userOf(cfg))
		r.ratchets(ctx, cfg, opts.Config, opts.Admin)
		r.node(ctx, cfg.NodeURL)
		for _, server := range serversOf(cfg) {
			r.server(ctx, server, cfg.Keys)
		}
		r.closedFiles(userOf(cfg))
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
		cfg, findings = cfg.ReadFiles(userOf(cfg))
	}
	r.findings(path, findings)
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

// findings tells of those of keys.json, or of as many as one can mend at a time.
func (r *Report) findings(path string, findings []config.Finding) {
	shown, more := config.Shown(findings)
	for _, f := range shown {
		r.finding(path, f)
	}
	if more == 0 {
		return
	}
	worse := r.warn
	if slices.ContainsFunc(findings[len(shown):], func(f config.Finding) bool { return f.Severity > config.Warning }) {
		worse = r.fail
	}
	worse(path, "mend those above first", "has %s more", counted(more, "finding"))
}

// finding is one of keys.json, whose text says what to do.
func (r *Report) finding(path string, f config.Finding) {
	subject, remedy := f.Path, "mend "+path
	if subject == "" {
		subject = path
	}
	if f.Code == config.ModeOpen {
		r.open = true
		remedy = remedyOf(f)
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
		return "close it to others with that command, so that only root and the user of the daemon get at it"
	case config.BadNextBlob:
		return "run `pawl keys rewrap` again, or remove the line"
	case config.BadBlob, config.BadNodeURL, config.Other:
	}
	return "change keys.json if it is not meant so"
}

// closedFiles says so when no file or folder is open to others; each that is has a finding.
func (r *Report) closedFiles(user durable.User) {
	if r.open {
		return
	}
	who := "only root"
	if user != 0 {
		who = fmt.Sprintf("only root and user %d", user)
	}
	r.ok("file modes", "%s may write keys.json, the files that it names and their folders; the secret ones are closed "+
		"to others", who)
}

// userOf returns who runs the daemon: the owner of its ratchet, be the one who checks another.
func userOf(cfg *config.Config) durable.User {
	for _, key := range cfg.Keys {
		if key.DB != "" {
			return durable.OwnerOf(key.DB)
		}
	}
	return durable.Self()
}
