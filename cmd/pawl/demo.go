package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"pawl/internal/config"
	"pawl/internal/latelog"
	"pawl/server"
	"pawl/softcard"
	"pawl/tezos"
)

type demoCmd struct {
	Dir    string `default:"./pawl-demo" placeholder:"DIR" help:"Folder of the demo; made the first time and used again (default: ${default})."`
	Listen string `default:"127.0.0.1:6732" placeholder:"ADDR" help:"Address of the signer, on loopback (default: ${default})."`
	Admin  string `default:"127.0.0.1:9732" placeholder:"ADDR" help:"Address of /healthz, /readyz, /metrics and /ratchet (default: ${default})."`
	Card   string `default:"127.0.0.1:9876" placeholder:"ADDR" help:"Address of the software card (default: ${default})."`
}

func (*demoCmd) Help() string {
	return helpText("Makes a folder with a software card, a tz1, a tz2 and a tz3 key that may bake, and a ratchet, "+
		"then runs the card and the signer as in production, over mutual TLS. Prints a line for octez-client for each "+
		"key, and commands that sign something. It signs for one client, whose key is DIR/octez-client.key. Every "+
		"other command works on the folder too, with --config DIR/keys.json.",
		"pawl demo --dir ./pawl-demo", exitCodes)
}

// Run makes the folder if it does not exist, and serves it until ctx is done.
func (c *demoCmd) Run(ctx context.Context, s *streams) error {
	return s.daemon(func(s *streams, log *latelog.Log) error { return c.run(ctx, s, log) })
}

func (c *demoCmd) run(ctx context.Context, s *streams, log *latelog.Log) error {
	if err := harden(); err != nil {
		return err
	}
	if err := cmp.Or(checkAddress("--listen", c.Listen, "6732"), checkAddress("--admin", c.Admin, "9732"),
		checkAddress("--card", c.Card, "9876")); err != nil {
		return err
	}
	for _, addr := range []string{c.Listen, c.Admin} {
		if err := server.CheckListen(addr, false, false); err != nil {
			return &usageError{text: fmt.Sprintf("%v: a demo serves loopback only", err)}
		}
	}
	ln, err := listen(ctx, "--card", c.Card)
	if err != nil {
		return startError(ctx, err)
	}
	defer ln.Close() //nolint:errcheck // closed by the card, unless it was not reached
	address := ln.Addr().String()
	if err := openFolder(ctx, s, c.Dir, address); err != nil {
		return startError(ctx, err)
	}
	dir := softcard.Dir(c.Dir)
	card, err := softcard.Open(dir)
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	s.notef(noHSM, filepath.Join(c.Dir, "master.key"))

	// The card outlives the signer, which must answer what is in flight.
	cardCtx, stopCard := context.WithCancel(context.WithoutCancel(ctx))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan error, 1)
	go func() {
		defer stop()
		stopped <- card.Serve(cardCtx, ln, dir, false)
	}()
	err = c.serve(ctx, s, log, address)
	stopCard()
	return errors.Join(err, <-stopped)
}

// serve runs the signer as `pawl serve` does, with the card at that address.
func (c *demoCmd) serve(ctx context.Context, s *streams, log *latelog.Log, address string) error {
	path := filepath.Join(c.Dir, demoConfig)
	signer := &serveCmd{Config: path, Listen: c.Listen, Admin: c.Admin, hsm: address}
	d, err := started(ctx, func() (*service, error) { return signer.open(ctx, log) })
	if err != nil {
		return startError(ctx, err)
	}
	// Now the folder is ours: the ratchet is locked.
	if err := config.SetURL(path, address); err != nil {
		return errors.Join(err, d.close())
	}
	d.Edited()
	if err := printImports(s, d.at.Public.Addr().String(), d.Keys()); err != nil {
		return errors.Join(err, d.close())
	}
	if err := c.tellClient(s, d.at.Public.Addr(), d.Keys()[0]); err != nil {
		return errors.Join(err, d.close())
	}
	return d.serve(ctx)
}

// demoPayload is an attestation of level 1 and round 0, as octez-baker sends it (operation_repr.ml), whose
// payload hash ends in variant. Its chain id is of no network, so that the marks of real ones stay free.
func demoPayload(variant byte) []byte {
	const tagAttestation, chainAndBranch = 0x15, 4 + 32
	payload := append([]byte{byte(tezos.Attestation)}, make([]byte, chainAndBranch)...)
	payload = append(payload, tagAttestation, 0, 0) // slot 0
	payload = append(payload, 0, 0, 0, 1)           // level
	payload = append(payload, 0, 0, 0, 0)           // round
	payload = append(payload, make([]byte, 31)...)
	return append(payload, variant)
}

// printImports prints the commands that import the keys into octez-client.
func printImports(s *streams, address string, keys []tezos.PublicKeyHash) error {
	count := make(map[tezos.KeyKind]int)
	for _, key := range keys {
		alias := "demo-" + key.Kind().String()
		if count[key.Kind()]++; count[key.Kind()] > 1 {
			alias = fmt.Sprintf("%s-%d", alias, count[key.Kind()])
		}
		if err := s.printf("octez-client import secret key %s http://%s/%v\n", alias, address, key); err != nil {
			return err
		}
	}
	return nil
}
