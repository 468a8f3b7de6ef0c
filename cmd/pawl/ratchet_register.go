package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pawl/internal/check"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

type ratchetRegisterCmd struct {
	Key       string `arg:"" name:"pkh" help:"Hash of the key: tz1…, tz2… or tz3…."`
	Chain     string `required:"" placeholder:"NetX…" help:"Chain that the key will bake on: its id, or the name of a public network such as mainnet or shadownet."`
	FromLevel int32  `required:"" placeholder:"N" help:"First level that may be signed. Take one above every level that was ever signed with this key, e.g. the head of the chain and 10."`
	Far       bool   `help:"Register a level that is more than max_level_gap above all that the ratchet has of the key and chain, or above 100000000 if it has nothing. One digit too many cannot be taken back: levels only rise."`
	Config    string `default:"./keys.json" placeholder:"FILE" help:"keys.json that names the ratchet of the key (default: ${default})."`
	DB        string `name:"db" placeholder:"PATH" help:"Ratchet file, instead of that of keys.json."`
}

func (*ratchetRegisterCmd) Help() string {
	return helpText("The level only rises. The daemon must be stopped: one process at a time has the ratchet.",
		"pawl ratchet register tz3… --chain NetXdQprcVkpaWU --from-level 12345678", exitCodes)
}

// Run registers the key and says what that means.
func (c *ratchetRegisterCmd) Run(ctx context.Context, s *streams) error {
	r, err := c.registration()
	if err != nil {
		return err
	}
	path, gap, err := c.ratchet(r.Key)
	if err != nil {
		return err
	}
	all, err := c.register(ctx, path, gap, r)
	if err != nil {
		return c.withWayOut(err, path)
	}
	s.notef("%s", registered(all, r))
	return nil
}

// register opens the ratchet, registers the key, and returns what the ratchet holds then. The daemon
// must be stopped: one process at a time may use a ratchet.
func (c *ratchetRegisterCmd) register(
	ctx context.Context, path string, gap int32, r ratchet.Registration,
) (all ratchet.Snapshot, err error) {
	store, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return all, err
	}
	marks, err := ratchet.New(store, ratchet.Options{MaxLevelGap: gap})
	if err != nil {
		return all, errors.Join(err, store.Close())
	}
	defer func() { err = errors.Join(err, marks.Close()) }()
	register := marks.RegisterNear
	if c.Far {
		register = marks.Register
	}
	if err := register(ctx, r); err != nil {
		return all, err
	}
	return marks.List(ctx)
}

// registration reads the arguments.
func (c *ratchetRegisterCmd) registration() (r ratchet.Registration, err error) {
	if r.Key, err = tezos.ParsePublicKeyHash(c.Key); err != nil {
		return r, &usageError{text: fmt.Sprintf("%q: %v", c.Key, err)}
	}
	if r.ChainID, err = tezos.ParseChain(c.Chain); err != nil {
		return r, &usageError{text: fmt.Sprintf("--chain %q: %v", c.Chain, err)}
	}
	if c.FromLevel < 0 {
		return r, &usageError{text: fmt.Sprintf("--from-level %d: levels are not negative", c.FromLevel)}
	}
	r.FromLevel = c.FromLevel
	return r, nil
}

// ratchet returns the ratchet of the key and the level gap, 0 for the default.
func (c *ratchetRegisterCmd) ratchet(key tezos.PublicKeyHash) (path string, gap int32, err error) {
	cfg, err := loadConfig(c.Config)
	if c.DB != "" {
		if err == nil {
			gap = cfg.MaxLevelGap
		}
		return c.DB, gap, nil
	}
	if err != nil {
		return "", 0, err
	}
	entry := findKey(cfg, key)
	switch {
	case entry == nil:
		return "", 0, withHint(fmt.Errorf("%s has no key %v", c.Config, key),
			"add the key first, or name the ratchet with --db")
	case entry.DB == "":
		return "", 0, fmt.Errorf("%s names no ratchet for %v", c.Config, key)
	}
	return entry.DB, cfg.MaxLevelGap, nil
}

// command returns this command as it was given.
func (c *ratchetRegisterCmd) command(more ...string) string {
	words := []string{fmt.Sprintf("pawl ratchet register %s --chain %s --from-level %d", c.Key, c.Chain, c.FromLevel)}
	words = append(words, more...)
	if c.Far {
		words = append(words, "--far")
	}
	if c.DB != "" {
		words = append(words, "--db "+check.Quoted(c.DB))
	}
	return check.Command(c.Config, "%s", strings.Join(words, " "))
}

// withWayOut adds what to do about a refused registration.
func (c *ratchetRegisterCmd) withWayOut(err error, path string) error {
	refused, ok := errors.AsType[*ratchet.FloorError](err)
	switch {
	case !ok:
		return withNewRatchet(withRestart(err, c.command()), c.Config, path)
	case !refused.Lower():
		return withCommands(err, "if the level is right", []string{c.command("--far")})
	}
	return withCommands(err, "if the registered level is a mistake, only a new ratchet forgets it; "+check.NewRatchet,
		newRatchetCommands(c.Config, path))
}

// registered says what the key may sign now, with the marks that are there.
func registered(all ratchet.Snapshot, r ratchet.Registration) string {
	text := fmt.Sprintf("%v may sign on %v from level %d on", r.Key, r.ChainID, r.FromLevel)
	var above []string
	for _, m := range all.Marks {
		if m.Key == r.Key && m.ChainID == r.ChainID && m.Level >= r.FromLevel {
			above = append(above, fmt.Sprintf("%v above level %d and round %d", m.Kind, m.Level, m.Round))
		}
	}
	if above == nil {
		return text
	}
	return text + ", but, for it has signed: " + strings.Join(above, ", ")
}
