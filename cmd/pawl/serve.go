package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"pawl/server"
	"pawl/signer"
)

type serveCmd struct {
	Config       string `default:"./keys.json" placeholder:"FILE" help:"Keys, their policies, their ratchet and the GREP11 servers (default: ${default})."`
	Listen       string `default:"127.0.0.1:6732" placeholder:"ADDR" help:"Address to serve octez-client and octez-baker on (default: ${default}). One that is not loopback needs --tls-client-ca, authorized_keys in keys.json, or --behind-tunnel."`
	Admin        string `default:"127.0.0.1:9732" placeholder:"ADDR" help:"Address of /healthz, /readyz, /metrics and /ratchet (default: ${default}). It only reads and has no guard: keep it on loopback."`
	TLSCert      string `name:"tls-cert" and:"tls" placeholder:"FILE" help:"PEM certificate: serve HTTPS instead of HTTP."`
	TLSKey       string `name:"tls-key" and:"tls" placeholder:"FILE" help:"PEM key of --tls-cert, mode 0600."`
	TLSClientCA  string `name:"tls-client-ca" placeholder:"FILE" help:"PEM certificates: only clients with a certificate of one of these are served."`
	BehindTunnel bool   `help:"Serve an address that is not loopback without a guard: a tunnel or a firewall keeps strangers away."`

	hsm string // address of the GREP11 server, instead of those of keys.json
}

// Validate finds flags that say nothing without another one.
func (c *serveCmd) Validate() error {
	if c.TLSClientCA != "" && c.TLSCert == "" {
		return errors.New("--tls-client-ca needs --tls-cert and --tls-key")
	}
	return nil
}

// Run serves until ctx is done, and then until each request in flight is
// answered.
func (c *serveCmd) Run(ctx context.Context, s *streams) error {
	if err := harden(); err != nil {
		return err
	}
	log, flush := s.logger()
	defer flush()
	d, err := openDaemon(ctx, log, c)
	if err != nil {
		return startError(ctx, err)
	}
	return d.run(ctx)
}

// startError is why a daemon did not start, which is nothing when it was told
// to stop meanwhile.
func startError(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// daemon is a signer that is open and two listeners.
type daemon struct {
	log           *slog.Logger
	signer        *signer.Signer
	server        *server.Server
	public, admin net.Listener
	tls           *tls.Config
}

// openDaemon opens all that serve needs. Whatever is wrong is found here, once.
func openDaemon(ctx context.Context, log *slog.Logger, c *serveCmd) (opened *daemon, err error) {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return nil, err
	}
	if len(cfg.Keys) == 0 {
		return nil, withHint(fmt.Errorf("%s has no keys", c.Config), "make one with pawl createtezoskey --add")
	}
	if c.hsm != "" {
		cfg.HSM.Address, cfg.OtherServers = c.hsm, nil
	}
	d := &daemon{log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if err := d.listen(ctx, c, len(cfg.AuthorizedKeys) > 0); err != nil {
		return nil, err
	}
	version, _ := buildVersion()
	metrics := server.NewMetrics(version)
	if err := d.openSigner(ctx, c.Config, cfg, metrics); err != nil {
		return nil, err
	}
	d.server = server.New(server.Config{Signer: d.signer, AuthorizedKeys: cfg.AuthorizedKeys, Log: log, Metrics: metrics})
	return d, nil
}

// listen opens both addresses, if they may be opened with these flags.
func (d *daemon) listen(ctx context.Context, c *serveCmd, authenticated bool) (err error) {
	if err := server.CheckListen(c.Listen, authenticated || c.TLSClientCA != "", c.BehindTunnel); err != nil {
		return &usageError{text: fmt.Sprintf("%v: give --tls-client-ca, authorized_keys in %s, or --behind-tunnel", err, c.Config)}
	}
	if err := server.CheckListen(c.Admin, false, c.BehindTunnel); err != nil {
		return &usageError{text: fmt.Sprintf("--admin: %v: give --behind-tunnel", err)}
	}
	if d.tls, err = server.TLSConfig(c.TLSCert, c.TLSKey, c.TLSClientCA); err != nil {
		return err
	}
	if d.public, err = listen(ctx, "--listen", c.Listen); err != nil {
		return err
	}
	d.admin, err = listen(ctx, "--admin", c.Admin)
	return err
}

// openSigner opens the signer and says what is to say of keys.json.
func (d *daemon) openSigner(ctx context.Context, path string, cfg *signer.Config, metrics *server.Metrics) error {
	s, findings, err := signer.Open(ctx, cfg, signer.OpenOptions{
		Options:  signer.Options{Log: d.log, OnSign: metrics.ObserveSign},
		OnCommit: metrics.ObserveCommit,
	})
	for _, f := range findings {
		if f.Severity == signer.Warning {
			d.log.Warn("configuration", "path", f.Path, "finding", f.Text)
		}
	}
	if err != nil {
		return fatalFindings(path, findings, signer.Unopenable, err)
	}
	d.signer = s
	return nil
}

// run serves until ctx is done or the ratchet has failed. Its error is nil
// after a stop that answered every request in flight and closed the ratchet.
func (d *daemon) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var tasks sync.WaitGroup
	var served, adminServed, failed error
	tasks.Go(func() { d.signer.Watch(ctx) })
	tasks.Go(func() { defer stop(); served = d.server.Serve(ctx, d.public, d.server.Handler(), d.tls) })
	tasks.Go(func() { defer stop(); adminServed = d.server.Serve(ctx, d.admin, d.server.Admin(), nil) })
	tasks.Go(func() { defer stop(); failed = d.failure(ctx) })
	d.log.Info("listening", "address", d.public.Addr().String(), "admin", d.admin.Addr().String(),
		"tls", d.tls != nil, "keys", len(d.signer.Keys()))
	tasks.Wait()
	err := errors.Join(served, adminServed, d.close())
	if failed != nil {
		err = failed // which is also why nothing was closed
	}
	d.log.Info("stopped", "clean", err == nil)
	return err
}

// failure waits for the failure of the ratchet: nothing more may be released,
// and only a restart can tell what is durable.
func (d *daemon) failure(ctx context.Context) error {
	select {
	case <-d.signer.Failed():
		d.log.Error("ratchet failed: nothing more is signed, start again", "err", d.signer.Err())
		return withHint(fmt.Errorf("ratchet failed: %w", d.signer.Err()), "start pawl again: only that can tell what is durable")
	case <-ctx.Done():
		return nil
	}
}

// close closes what is open. The listeners may be closed already.
func (d *daemon) close() error {
	for _, ln := range []net.Listener{d.public, d.admin} {
		if ln != nil {
			_ = ln.Close() // closed by Serve, or nobody was served
		}
	}
	if d.signer == nil {
		return nil
	}
	return d.signer.Close()
}
