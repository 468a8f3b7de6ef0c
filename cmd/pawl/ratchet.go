package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"pawl/internal/check"
	"pawl/internal/config"
	"pawl/ratchet/sqlite"
)

type ratchetCmd struct {
	Init     ratchetInitCmd     `cmd:"" help:"Make an empty ratchet."`
	Show     ratchetShowCmd     `cmd:"" help:"Print the marks and the registrations."`
	Register ratchetRegisterCmd `cmd:"" help:"Allow a key to sign on a chain from a level on."`
	Raise    ratchetRaiseCmd    `cmd:"" help:"Raise the first level that a key may sign."`
	Retire   ratchetRetireCmd   `cmd:"" help:"Have a key sign nothing more here."`
	Unfence  ratchetUnfenceCmd  `cmd:"" help:"Let keys sign that are fenced because the ratchet was moved."`
	Handover ratchetHandoverCmd `cmd:"" help:"Hand the keys over to another host at a level."`
	Export   ratchetExportCmd   `cmd:"" help:"Write what a ratchet holds to a file, to move its keys."`
	Import   ratchetImportCmd   `cmd:"" help:"Bring what another ratchet held into this one."`
}

type ratchetInitCmd struct {
	Path   string `arg:"" optional:"" help:"File to make (default: each db of keys.json that is not there)."`
	Config string `default:"./keys.json" placeholder:"FILE" help:"keys.json that names the files when PATH is left out (default: ${default})."`
}

func (*ratchetInitCmd) Help() string {
	return helpText("Never writes over a file. A new ratchet knows no mark: register each key, from a level above all "+
		"that it ever signed.",
		"pawl ratchet init --config keys.json", exitCodes)
}

// Run makes the file, or those named in keys.json that do not exist.
func (c *ratchetInitCmd) Run(ctx context.Context, s *streams) error {
	paths := []string{c.Path}
	if c.Path == "" {
		var err error
		if paths, err = missingRatchets(c.Config, s); err != nil {
			return err
		}
	}
	for _, path := range paths {
		if err := sqlite.Create(ctx, path); err != nil {
			return withNewRatchet(err, c.Config, path)
		}
		c.tellNext(s, path)
	}
	return nil
}

// tellNext says what is to be done with a new ratchet.
func (c *ratchetInitCmd) tellNext(s *streams, path string) {
	cfg, _, err := config.Load(c.Config)
	if err != nil {
		cfg = new(config.Config)
	}
	commands := check.RegisterCommands(c.Config, keysOf(cfg, path))
	if commands == nil {
		s.notef("made %s: it knows no mark: a key that signed anywhere before must be registered above all of that", path)
		return
	}
	s.notef("made %s: %s:\n  %s", path, check.NewRatchet, strings.Join(commands, "\n  "))
}

// missingRatchets returns the ratchets of keys.json that do not exist.
func missingRatchets(config string, s *streams) ([]string, error) {
	paths, err := ratchetPaths(config)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, path := range paths {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, path)
			continue
		}
		s.notef("%s exists and stays as it is", path)
	}
	if missing == nil {
		return nil, fmt.Errorf("each ratchet of %s exists already", config)
	}
	return missing, nil
}
