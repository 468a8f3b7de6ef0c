package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"pawl/internal/check"
	"pawl/internal/config"
	"pawl/internal/daemon"
	"pawl/internal/latelog"
	"pawl/server"
)

type serveCmd struct {
	Config            string     `default:"./keys.json" placeholder:"FILE" help:"Keys, their policies, their ratchet and the GREP11 servers (default: ${default})."`
	Listen            string     `default:"127.0.0.1:6732" placeholder:"ADDR" help:"Address to serve octez-client and octez-baker on (default: ${default}). One that is not loopback needs --tls-client-ca, authorized_keys in keys.json, or --behind-tunnel."`
	Admin             string     `default:"127.0.0.1:9732" placeholder:"ADDR" help:"Address of /healthz, /readyz, /metrics and /ratchet (default: ${default}). It only reads and has no guard: one that is not loopback needs --admin-behind-tunnel."`
	HTTPS             httpsFlags `embed:""`
	BehindTunnel      bool       `help:"Serve an address that is not loopback without a guard: a tunnel or a firewall keeps strangers away."`
	AdminBehindTunnel bool       `help:"The same for --admin."`

	hsm string // address of the GREP11 server, instead of those of keys.json
}

func (*serveCmd) Help() string {
	return helpText("Serves until SIGTERM, SIGHUP or Ctrl-C, then answers the requests in flight, closes the ratchet "+
		"and ends; a second SIGTERM or Ctrl-C ends it at once. New key blobs in keys.json and renewed certificates are "+
		"taken up while it runs; all else needs a restart.",
		"pawl serve --config /etc/pawl/keys.json", "0 after a clean stop; 1 if it did not start, if requests were cut "+
			"off, or if the ratchet failed: start it again then; 2 for wrong usage")
}

// Validate refuses flags that mean nothing without another one.
func (c *serveCmd) Validate() error { return c.HTTPS.validate() }

// Run serves until ctx is done, then until each request in flight is answered.
func (c *serveCmd) Run(ctx context.Context, s *streams) error {
	return s.daemon(func(_ *streams, log *latelog.Log) error {
		if err := harden(); err != nil {
			return err
		}
		opened, err := started(ctx, func() (*service, error) { return c.open(ctx, log) })
		if err != nil {
			return startError(ctx, err)
		}
		return opened.serve(ctx)
	})
}

// startGrace is how long a start that was told to stop may take to close what it has opened.
const startGrace = 2 * time.Second

// errStartHangs is that of a start that was told to stop and did not.
var errStartHangs = errors.New("the start was given up: a disk or a network file system does not answer")

// started waits for open, and not for ever when ctx is done: open may read a file on a file system
// that hangs. What it holds then ends with the process, as at a kill.
func started(ctx context.Context, open func() (*service, error)) (opened *service, err error) {
	done := make(chan struct{})
	var late struct {
		opened *service
		err    error
	}
	go func() {
		defer close(done)
		late.opened, late.err = open()
	}()
	select {
	case <-done:
		return late.opened, late.err
	case <-ctx.Done():
	}
	select {
	case <-done:
		return late.opened, late.err
	case <-time.After(startGrace):
		return nil, errStartHangs
	}
}

// startError returns why a daemon did not start: nothing if it was told to stop meanwhile, and did.
func startError(ctx context.Context, err error) error {
	if ctx.Err() == nil || errors.Is(err, errStartHangs) {
		return err
	}
	return nil
}

// service is an open daemon with its server and listeners.
type service struct {
	*daemon.Daemon
	server *server.Server
	at     daemon.Listeners
}

// open opens all that serve needs. Whatever is wrong is found here, once.
func (c *serveCmd) open(ctx context.Context, late *latelog.Log) (*service, error) {
	log := late.Logger()
	cfg, err := c.config(log)
	if err != nil {
		return nil, err
	}
	at, err := c.listeners(ctx, log, cfg)
	if err != nil {
		at.Close()
		return nil, err
	}
	version, _ := buildVersion()
	metrics := server.NewMetrics(version)
	metrics.LogLinesDropped = late.Dropped
	d, err := c.openDaemon(ctx, log, cfg, metrics)
	if err != nil {
		at.Close()
		return nil, err
	}
	metrics.AuditDropped = d.AuditDropped
	metrics.CertificateEnds = func() map[string]time.Time { return d.CertificateEnds(at.HTTPS) }
	srv := server.New(server.Config{Signer: d.Signer, AuthorizedKeys: cfg.AuthorizedKeys, Log: log, Metrics: metrics})
	return &service{d, srv, at}, nil
}

// config reads keys.json, with the server of the demo if there is one.
func (c *serveCmd) config(log *slog.Logger) (*config.Config, error) {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return nil, err
	}
	if len(cfg.Keys) == 0 {
		return nil, withHint(fmt.Errorf("%s has no keys", c.Config), "make one: %s",
			check.Command(c.Config, "pawl createtezoskey --add tz3"))
	}
	if c.hsm != "" {
		cfg.HSM.Address, cfg.OtherServers = c.hsm, nil
		return cfg, nil // a demo is for whoever tries it
	}
	if os.Geteuid() == 0 {
		log.Warn("pawl runs as root, which it does not need: give it a user of its own")
	}
	return cfg, nil
}

// listeners opens both addresses and the files of HTTPS. The caller closes what is open, also after an error.
func (c *serveCmd) listeners(ctx context.Context, log *slog.Logger, cfg *config.Config) (at daemon.Listeners, err error) {
	if at.Connections, err = daemon.CountConnections(cfg); err != nil {
		return at, err
	}
	if err := c.checkAddresses(len(cfg.AuthorizedKeys) > 0); err != nil {
		return at, err
	}
	if at.HTTPS, err = c.HTTPS.open(log); err != nil {
		return at, err
	}
	if at.Public, err = listen(ctx, "--listen", c.Listen); err != nil {
		return at, err
	}
	at.Admin, err = listen(ctx, "--admin", c.Admin)
	return at, err
}

// checkAddresses refuses an address that may not be opened with these flags.
func (c *serveCmd) checkAddresses(authenticated bool) error {
	if err := cmp.Or(checkAddress("--listen", c.Listen, "6732"), checkAddress("--admin", c.Admin, "9732")); err != nil {
		return err
	}
	if err := server.CheckListen(c.Listen, authenticated || c.HTTPS.ClientCA != "", c.BehindTunnel); err != nil {
		return &usageError{text: fmt.Sprintf("%v: give --tls-client-ca, authorized_keys in %s, or --behind-tunnel", err,
			c.Config)}
	}
	if err := server.CheckListen(c.Admin, false, c.AdminBehindTunnel); err != nil {
		return &usageError{text: fmt.Sprintf("--admin: %v: give --admin-behind-tunnel", err)}
	}
	return nil
}

// warn logs the findings that are warnings.
func warn(log *slog.Logger, findings []config.Finding) {
	warnings, more := config.Shown(slices.DeleteFunc(slices.Clone(findings), func(f config.Finding) bool {
		return f.Severity != config.Warning
	}))
	for _, f := range warnings {
		log.Warn("configuration", "path", f.Path, "finding", f.Text)
	}
	if more > 0 {
		log.Warn("configuration has more findings than are logged: pawl check counts them", "more", more)
	}
}

// openDaemon opens the daemon and reports the findings in keys.json.
func (c *serveCmd) openDaemon(
	ctx context.Context, log *slog.Logger, cfg *config.Config, metrics *server.Metrics,
) (*daemon.Daemon, error) {
	d, findings, err := daemon.Open(ctx, cfg, daemon.Options{
		Log: log, OnSign: metrics.ObserveSign,
		OnCommit: metrics.ObserveCommit,
	})
	warn(log, findings)
	if err != nil {
		return nil, withStartCommands(fatalFindings(c.Config, findings, config.Unopenable, err), c.Config, cfg.Keys)
	}
	return d, nil
}

// serve serves until ctx is done or the ratchet has failed.
func (s *service) serve(ctx context.Context) error {
	err := s.Serve(ctx, s.server, s.at)
	if errors.Is(err, daemon.ErrRatchetFailed) {
		return withHint(err, "start pawl again: only that can tell what is durable")
	}
	return err
}

// close closes all without having served.
func (s *service) close() error {
	s.at.Close()
	return s.Close()
}
