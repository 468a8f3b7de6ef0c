package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"pawl/internal/config"
	"pawl/internal/durable"
	"pawl/internal/transfer"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// oneRatchet names the ratchet that a command works on.
type oneRatchet struct {
	Config string `default:"./keys.json" placeholder:"FILE" help:"keys.json that names the ratchet (default: ${default})."`
	DB     string `name:"db" placeholder:"PATH" help:"Ratchet file, instead of that of keys.json."`
}

// path returns the ratchet: that of --db, or the one that keys.json names.
func (c oneRatchet) path() (string, error) {
	if c.DB != "" {
		return c.DB, nil
	}
	paths, err := ratchetPaths(c.Config)
	if err == nil && len(paths) > 1 {
		err = withHint(fmt.Errorf("%s names %d ratchets", c.Config, len(paths)), "choose one with --db")
	}
	if err != nil {
		return "", err
	}
	return paths[0], nil
}

// publicKeys returns those of keys.json, if it can be read.
func (c oneRatchet) publicKeys() (keys []tezos.PublicKey) {
	cfg, _, err := config.Load(c.Config)
	if err != nil {
		return nil
	}
	for _, key := range cfg.Keys {
		keys = append(keys, key.PublicKey)
	}
	return keys
}

// gap returns the level gap of keys.json, or the default.
func (c oneRatchet) gap() int32 {
	cfg, _, err := config.Load(c.Config)
	if err != nil {
		return ratchet.DefaultMaxLevelGap
	}
	return cmp.Or(cfg.MaxLevelGap, ratchet.DefaultMaxLevelGap)
}

type ratchetExportCmd struct {
	File string `arg:"" help:"File to make, of mode 0600."`
	oneRatchet
}

func (*ratchetExportCmd) Help() string {
	return helpText("Writes all marks and registrations to a file, for pawl ratchet import on another host. It changes "+
		"nothing, and the daemon must be stopped: an export of a ratchet in use is old at once. Stop it for good: the "+
		"file does not keep it from signing on.",
		"pawl ratchet export moved.json", exitCodes)
}

// Run writes the file.
func (c *ratchetExportCmd) Run(ctx context.Context, s *streams) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	held, err := sqlite.Read(ctx, path)
	if errors.Is(err, ratchet.ErrLocked) {
		return withHint(err, "an export of a ratchet in use is old at once")
	}
	if err != nil {
		return err
	}
	text, err := transfer.Export(c.content(held.Snapshot), host(path, held.Generation))
	if err != nil {
		return err
	}
	if err := durable.WriteNew(c.File, text, 0o600); err != nil {
		return err
	}
	s.notef("%s has %s and %s", c.File, counted(len(held.Marks), "mark"), counted(len(held.Registrations), "registration"))
	return nil
}

// content adds the public keys of keys.json that have marks, in the order of the marks.
func (c oneRatchet) content(held ratchet.Snapshot) transfer.Content {
	content := transfer.Content{Snapshot: held}
	known := make(map[tezos.PublicKeyHash]tezos.PublicKey)
	for _, key := range c.publicKeys() {
		known[key.Hash()] = key
	}
	for _, m := range held.Marks {
		if key, ok := known[m.Key]; ok {
			content.PublicKeys = append(content.PublicKeys, key)
			delete(known, m.Key)
		}
	}
	return content
}

// host tells where an export is made.
func host(path string, generation int64) transfer.Host {
	name, _ := os.Hostname()
	version, _ := buildVersion()
	if whole, err := filepath.Abs(path); err == nil {
		path = whole
	}
	return transfer.Host{
		Name: name, Machine: sqlite.Machine(), Ratchet: path, Generation: generation, Pawl: version,
		Time: time.Now().UTC().Truncate(time.Second),
	}
}
