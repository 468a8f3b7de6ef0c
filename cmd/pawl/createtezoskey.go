package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"pawl/internal/audit"
	"pawl/internal/check"
	"pawl/internal/config"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/signer/grep11"
	"pawl/signer/hsm"
	"pawl/tezos"
)

// keyTimeout bounds the HSM calls that make and try a key: createtezoskey needs two, keys a
// few more.
const keyTimeout = 30 * time.Second

type createTezosKeyCmd struct {
	Kind        string `arg:"" enum:"tz1,tz2,tz3" help:"tz1 (Ed25519), tz2 (secp256k1) or tz3 (P-256)."`
	Dir         string `default:"." placeholder:"DIR" help:"Folder of the files <hash>.sk.hex and <hash>.der (default: the working folder)."`
	Config      string `placeholder:"FILE" help:"keys.json that names the GREP11 servers (default: ./credential.yaml, else ./keys.json)."`
	Add         bool   `help:"Add the key to keys.json and register it in the ratchet as never used. A running daemon must be stopped first."`
	Extractable bool   `help:"Make a key that can leave the HSM. Not advised."`
}

func (*createTezosKeyCmd) Help() string {
	return helpText("Prints four lines: the key blob in hex, an empty line, the public key, its hash. The key blob "+
		"is wrapped by the HSM's master key. Back it up: without it the key is lost. A key that is not added with --add "+
		"must still be added to keys.json and registered with pawl ratchet register. --add names <hash>.sk.hex in "+
		"keys.json as secret_key_file: leave it where it is.",
		"pawl createtezoskey tz3 --add", exitCodes)
}

// Run makes a key. Scripts rely on one line on stderr if it fails, so a hint goes into that
// line.
func (c *createTezosKeyCmd) Run(ctx context.Context, s *streams) error {
	return hintInLine(c.run(ctx, s))
}

// run prints nothing until the key has signed and is on disk.
func (c *createTezosKeyCmd) run(ctx context.Context, s *streams) (err error) {
	kind, err := tezos.ParseKeyKind(c.Kind)
	if err != nil {
		return &usageError{text: err.Error()}
	}
	if c.Add && c.Config == "" {
		c.Config = defaultConfig // the server of the file that the key is added to
	}
	servers, err := connection(c.Config)
	if err != nil {
		return err
	}
	if err := writable("--dir", c.Dir); err != nil {
		return err
	}
	add, err := c.openAddition(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, add.close()) }()
	key, err := newKey(ctx, servers, kind, c.Extractable)
	if err != nil {
		return err
	}
	if err := writeKeyFiles(c.Dir, key); err != nil {
		return fmt.Errorf("keeping the key: %w", err)
	}
	if c.Extractable {
		s.notef("warning: this key is extractable: whoever may use the HSM can take it out")
	}
	if err := add.do(ctx, key, c.Dir); err != nil {
		return withHint(err, "the key is kept in %s", c.Dir)
	}
	err = s.printf("%s\n\n%v\n%v\n", key.Blob.Hex(), key.PublicKey, key.PublicKey.Hash())
	return withHint(err, "the key is kept in %s", c.Dir)
}

// writable returns nil if files can be made in dir; a key that cannot be kept is not made.
// flag is the flag that named dir.
func writable(flag, dir string) error {
	probe, err := os.CreateTemp(dir, ".pawl-*")
	if err != nil {
		return fmt.Errorf("%s %s: %w", flag, dir, withoutPath(err))
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// newKey makes a key in the HSM and tries it.
func newKey(
	ctx context.Context, servers []grep11.Config, kind tezos.KeyKind, extractable bool,
) (grep11.Generated, error) {
	what := fmt.Sprintf("making a %v key", kind)
	return triedKey(ctx, servers, what, func(ctx context.Context, client *grep11.Client) (grep11.Generated, error) {
		return client.Generate(ctx, kind, extractable)
	})
}

// triedKey calls make, then has the new key sign a random message.
func triedKey(
	ctx context.Context, servers []grep11.Config, what string,
	get func(context.Context, *grep11.Client) (grep11.Generated, error),
) (key grep11.Generated, err error) {
	err = withClient(ctx, servers, func(ctx context.Context, client *grep11.Client) error {
		if key, err = get(ctx, client); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err = tryKey(ctx, client, key); err != nil {
			return fmt.Errorf("trying the new key %v: %w", key.PublicKey.Hash(), err)
		}
		return nil
	})
	return key, err
}

// withClient calls do with a connection to the first server that answers, within keyTimeout.
// Any server will do: they share one master key.
func withClient(ctx context.Context, servers []grep11.Config, do func(context.Context, *grep11.Client) error) error {
	bounded, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	client, err := dialFirst(bounded, servers)
	if err == nil {
		defer client.Close() //nolint:errcheck // nothing is under way
		err = do(bounded, client)
	}
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// tryKey has a key sign a random message and verifies the signature.
func tryKey(ctx context.Context, client *grep11.Client, generated grep11.Generated) error {
	key, err := client.Key(generated.PublicKey, generated.Blob)
	if err != nil {
		return err
	}
	return hsm.Probe(ctx, key)
}

// addition is where --add puts a key: a keys.json and its ratchet, held open from before the
// key is made. The zero addition adds nothing.
type addition struct {
	config  string
	ratchet string // its path
	db      *sqlite.Store
}

func (c *createTezosKeyCmd) openAddition(ctx context.Context) (addition, error) {
	if !c.Add {
		return addition{}, nil
	}
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return addition{}, err
	}
	if cfg.DB == "" {
		return addition{}, withHint(fmt.Errorf("%s names no ratchet for all keys", c.Config),
			`add a line such as "db": "ratchet.db" and run %s`, check.Command(c.Config, "pawl ratchet init"))
	}
	db, err := openStore(ctx, c.Config, cfg.DB)
	if err != nil {
		return addition{}, withNewRatchet(fmt.Errorf("--add: %w", err), c.Config, cfg.DB)
	}
	return addition{config: c.Config, ratchet: cfg.DB, db: db}, nil
}

// do registers the key, whose files are in dir, and adds it. It registers it first: a daemon does
// not start with a baking key that has no registration.
func (a addition) do(ctx context.Context, key grep11.Generated, dir string) error {
	if a.db == nil {
		return nil
	}
	done, err := a.db.Change(ctx, ratchet.Registering(ratchet.Registration{Key: key.PublicKey.Hash(), AnyChain: true}))
	if err == nil {
		err = recordChanges(a.ratchet, audit.Register, done)
	}
	if err != nil {
		return fmt.Errorf("registering %v: %w", key.PublicKey.Hash(), err)
	}
	file, err := a.nameOf(blobFile(dir, key.PublicKey.Hash()))
	if err == nil {
		err = config.AddKey(a.config, key.PublicKey, file)
	}
	if err != nil {
		return fmt.Errorf("adding %v: %w", key.PublicKey.Hash(), err)
	}
	return nil
}

// nameOf returns the name of a file for keys.json, whose relative paths count from its own folder:
// relative if the file is in there, else absolute.
func (a addition) nameOf(file string) (string, error) {
	folder, err := filepath.Abs(filepath.Dir(a.config))
	if err != nil {
		return "", err
	}
	if file, err = filepath.Abs(file); err != nil {
		return "", err
	}
	if name, err := filepath.Rel(folder, file); err == nil && filepath.IsLocal(name) {
		return name, nil
	}
	return file, nil
}

func (a addition) close() error {
	if a.db == nil {
		return nil
	}
	return a.db.Close()
}
