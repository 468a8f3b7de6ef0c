package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"pawl/internal/durable"
	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/tezos"
)

type keysDeriveCmd struct {
	keyPlace
	Kind string `arg:"" enum:"tz1,tz2,tz3" help:"tz1 (Ed25519), tz2 (secp256k1) or tz3 (P-256)."`
	Path string `arg:"" help:"Path of SLIP-0010 (BIP-32), e.g. \"m/44'/1729'/0'/0'\". ' or h marks a hardened level; all are for tz1."`
	Seed string `required:"" placeholder:"FILE" help:"File with the seed's blob, as pawl keys seed writes it."`
}

func (*keysDeriveCmd) Help() string {
	return helpText("Prints and writes what createtezoskey does. A seed that was brought in with pawl keys seed "+
		"--from gives the same key on the same path on every HSM, and in wallets that follow SLIP-0010.",
		"pawl keys derive tz1 \"m/44'/1729'/0'/0'\" --seed seed.blob", exitCodes)
}

// Validate refuses a malformed path before any server is called. Missing arguments are the parser's to report.
func (c *keysDeriveCmd) Validate() error {
	if c.Kind == "" || c.Path == "" {
		return nil
	}
	kind, err := tezos.ParseKeyKind(c.Kind)
	if err != nil {
		return err
	}
	path, err := parsePath(c.Path)
	if err != nil {
		return fmt.Errorf("path %q: %w", c.Path, err)
	}
	if err := grep11.CheckPath(kind, path); err != nil {
		return fmt.Errorf("path %q: %w", c.Path, err)
	}
	return nil
}

// Run derives the key.
func (c *keysDeriveCmd) Run(ctx context.Context, s *streams) error {
	return hintInLine(c.run(ctx, s))
}

func (c *keysDeriveCmd) run(ctx context.Context, s *streams) error {
	kind, err := tezos.ParseKeyKind(c.Kind)
	if err != nil {
		return err
	}
	path, err := parsePath(c.Path)
	if err != nil {
		return err
	}
	servers, err := c.servers()
	if err != nil {
		return err
	}
	seed, err := interruptible(ctx, c.readSeed)
	if err != nil {
		return err
	}
	key, err := triedKey(ctx, servers, fmt.Sprintf("deriving %v %s", kind, c.Path),
		func(ctx context.Context, client *grep11.Client) (grep11.Generated, error) {
			return client.Derive(ctx, kind, seed, path)
		})
	if grep11.RefusesBlob(err) {
		return withHint(err, "the blob of this seed is of another HSM, or of its master key before the last change: "+
			"bring the seed in again with pawl keys seed --from")
	}
	if err != nil {
		return needs(err, "CKM_IBM_BTC_DERIVE")
	}
	return c.keep(s, key)
}

func (c *keysDeriveCmd) readSeed() (ep11.Blob, error) {
	seed, err := readBlobFile(c.Seed)
	if err != nil {
		return nil, fmt.Errorf("--seed: %w", err)
	}
	return seed, nil
}

// parsePath reads m/1'/2 or 1'/2: numbers below 2^31, each with ', h or H if its level is
// hardened (BIP-32, "The key tree").
func parsePath(s string) ([]uint32, error) {
	if s == "m" {
		return nil, errors.New("is the master key itself, whose public key the HSM does not tell: name a level, m/0' for one")
	}
	levels := strings.Split(strings.TrimPrefix(s, "m/"), "/")
	path := make([]uint32, 0, len(levels))
	for i, level := range levels {
		digits := strings.TrimRight(level, "'hH")
		index, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || len(level)-len(digits) > 1 {
			return nil, fmt.Errorf("level %d, %q, is not a number below 2^31, with ' when hardened", i+1, level)
		}
		if digits != level {
			index += uint64(grep11.Hardened)
		}
		path = append(path, uint32(index))
	}
	return path, nil
}

// readBlobFile reads a file with the hex of one blob, or a pipe: of a program that decrypts a backup,
// for one. The name may be a secret in the wrong place.
func readBlobFile(path string) (ep11.Blob, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, errors.New(tezos.Redact(err.Error()))
	}
	defer file.Close() //nolint:errcheck // only read
	text, err := readBounded(file, maxSecretSize, path)
	if err != nil {
		return nil, errors.New(tezos.Redact(err.Error()))
	}
	blob, err := ep11.ParseBlob(string(text))
	if err != nil {
		return nil, errors.New(tezos.Redact(fmt.Sprintf("%s: %v", path, err)))
	}
	return blob, nil
}

type keysSeedCmd struct {
	Out    string `required:"" placeholder:"FILE" help:"File to make, for the seed's blob, e.g. seed.blob. It may not exist."`
	From   string `placeholder:"FILE" help:"Bring the seed of this file, or - for the standard input, 16 to 64 bytes in hex, instead of making one."`
	Config string `placeholder:"FILE" help:"keys.json that names the GREP11 servers (default: ./credential.yaml, else ./keys.json)."`
}

func (*keysSeedCmd) Help() string {
	return helpText("The file is wrapped by the HSM's master key, as the blob of a key is. Back it up. A seed that "+
		"was made in the HSM cannot leave it. pawl keys rewrap does not rewrap seeds: when the HSM's master key "+
		"changes, this file is lost.",
		"pawl keys seed --out seed.blob", exitCodes)
}

// Run makes the seed, or brings it in.
func (c *keysSeedCmd) Run(ctx context.Context, s *streams) error {
	return hintInLine(c.run(ctx, s))
}

func (c *keysSeedCmd) run(ctx context.Context, s *streams) error {
	if err := harden(); err != nil {
		return err
	}
	servers, err := connection(c.Config)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(c.Out); err == nil {
		return fmt.Errorf("--out %s already exists", c.Out)
	}
	if err := writable("--out in", filepath.Dir(c.Out)); err != nil {
		return err
	}
	seed, err := c.seed(ctx, s)
	if err != nil {
		return err
	}
	defer clear(seed)
	var blob ep11.Blob
	err = withClient(ctx, servers, func(ctx context.Context, client *grep11.Client) error {
		if seed == nil {
			blob, err = client.GenerateSeed(ctx)
			return err
		}
		blob, err = client.ImportSeed(ctx, seed)
		return err
	})
	if err != nil {
		return needs(fmt.Errorf("the seed: %w", err), importMechanisms+", or CKM_GENERIC_SECRET_KEY_GEN without --from")
	}
	if err := durable.WriteNew(c.Out, []byte(blob.Hex()), 0o600); err != nil {
		return fmt.Errorf("keeping the seed: %w", err)
	}
	s.notef("made %s: back it up, then pawl keys derive tz1 \"m/44h/1729h/0h/0h\" --seed %[1]s", c.Out)
	return nil
}

// seed reads the clear seed, or is nil when one is to be made.
func (c *keysSeedCmd) seed(ctx context.Context, s *streams) ([]byte, error) {
	if c.From == "" {
		return nil, nil
	}
	text, err := secretSource{c.From}.read(ctx, s, "Seed in hex: ")
	if err != nil {
		return nil, err
	}
	defer clear(text)
	digits := bytes.TrimSpace(text)
	seed := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(seed, digits); err != nil {
		clear(seed)
		return nil, errors.New("the seed is not hex")
	}
	return seed, nil
}
