package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

type ratchetCmd struct {
	Init     ratchetInitCmd     `cmd:"" help:"Make an empty ratchet."`
	Show     ratchetShowCmd     `cmd:"" help:"Print the marks and the registrations."`
	Register ratchetRegisterCmd `cmd:"" help:"Allow a key to sign on a chain from a level on."`
}

type ratchetInitCmd struct {
	Path   string `arg:"" optional:"" help:"File to make (default: each db of keys.json that is not there)."`
	Config string `default:"./keys.json" placeholder:"FILE" help:"keys.json that names the files when PATH is left out (default: ${default})."`
}

func (*ratchetInitCmd) Help() string {
	return helpText("Never writes over a file. A new ratchet knows no mark: register each key that was used elsewhere.",
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
			return err
		}
		s.notef("made %s: register each key that baked elsewhere with pawl ratchet register", path)
	}
	return nil
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

type ratchetRegisterCmd struct {
	Key       string `arg:"" name:"pkh" help:"Hash of the key: tz1…, tz2… or tz3…."`
	Chain     string `required:"" placeholder:"NetX…" help:"Chain that the key will bake on: its id, or the name of a public network such as mainnet or shadownet."`
	FromLevel int32  `required:"" placeholder:"N" help:"First level that may be signed. Take one above every level that was ever signed with this key, e.g. the head of the chain and 10."`
	Config    string `default:"./keys.json" placeholder:"FILE" help:"keys.json that names the ratchet of the key (default: ${default})."`
	DB        string `name:"db" placeholder:"PATH" help:"Ratchet file, instead of that of keys.json."`
}

func (*ratchetRegisterCmd) Help() string {
	return helpText("The level only rises. The daemon must be stopped: one process at a time has the ratchet.",
		"pawl ratchet register tz3… --chain NetXdQprcVkpaWU --from-level 12345678", exitCodes)
}

// Run registers the key. The daemon must be stopped: one process at a time may use a ratchet.
func (c *ratchetRegisterCmd) Run(ctx context.Context, s *streams) (err error) {
	key, err := tezos.ParsePublicKeyHash(c.Key)
	if err != nil {
		return &usageError{text: fmt.Sprintf("%q: %v", c.Key, err)}
	}
	chain, err := tezos.ParseChain(c.Chain)
	if err != nil {
		return &usageError{text: fmt.Sprintf("--chain %q: %v", c.Chain, err)}
	}
	if c.FromLevel < 0 {
		return &usageError{text: fmt.Sprintf("--from-level %d: levels are not negative", c.FromLevel)}
	}
	path, err := c.path(key)
	if err != nil {
		return err
	}
	db, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Register(ctx, ratchet.Registration{Key: key, ChainID: chain, FromLevel: c.FromLevel}); err != nil {
		return err
	}
	s.notef("%v may sign on %v from level %d on", key, chain, c.FromLevel)
	return nil
}

// path returns the ratchet of the key.
func (c *ratchetRegisterCmd) path(key tezos.PublicKeyHash) (string, error) {
	if c.DB != "" {
		return c.DB, nil
	}
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return "", err
	}
	for _, k := range cfg.Keys {
		switch {
		case k.PublicKey.Hash() != key:
		case k.DB == "":
			return "", fmt.Errorf("%s names no ratchet for %v", c.Config, key)
		default:
			return k.DB, nil
		}
	}
	return "", withHint(fmt.Errorf("%s has no key %v", c.Config, key), "add the key first, or name the ratchet with --db")
}
