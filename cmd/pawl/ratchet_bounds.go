package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pawl/internal/audit"
	"pawl/internal/check"
	"pawl/ratchet"
	"pawl/tezos"
)

// The commands that bound a key that is registered: raise, retire, unfence.

type ratchetRaiseCmd struct {
	ratchetKey
	Chain string `required:"" placeholder:"NetX…" help:"Chain: its id, or the name of a public network."`
	Level int32  `required:"" placeholder:"N" help:"First level that may be signed from now on."`
	Far   bool   `help:"Take a level that is more than max_level_gap above all that the ratchet has of the key and chain. Levels only rise."`
}

func (*ratchetRaiseCmd) Help() string {
	return helpText("Raises the first level that a registered key may sign. It never lowers it, and registers nothing. "+
		"The daemon must be stopped.",
		"pawl ratchet raise tz3… --chain mainnet --level 12345678", exitCodes)
}

// Run raises the level.
func (c *ratchetRaiseCmd) Run(ctx context.Context, s *streams) error {
	key, err := c.hash()
	if err != nil {
		return err
	}
	chain, err := chainOf(c.Chain)
	if err != nil {
		return err
	}
	path, gap, err := c.ratchet(key)
	if err != nil {
		return err
	}
	r := ratchet.Registration{Key: key, ChainID: chain, FromLevel: c.Level}
	_, err = changeRatchet(ctx, c.Config, path, audit.Raise, func(held ratchet.Snapshot) (ratchet.Changes, error) {
		if err := held.Registered(key, chain); err != nil || c.Far {
			done, refused := held.Register(r)
			return done, errors.Join(err, refused)
		}
		return held.RegisterNear(r, gap)
	})
	if err != nil {
		return withFar(withNewRatchet(withRestart(err, c.command()), c.Config, path), c.command())
	}
	s.notef("%v may sign on %v from level %d on", key, chain, c.Level)
	return nil
}

func (c *ratchetRaiseCmd) command() string {
	command := fmt.Sprintf("pawl ratchet raise %s --chain %s --level %d", c.Key, c.Chain, c.Level)
	return check.Command(c.Config, "%s", command+c.ofDB())
}

type ratchetRetireCmd struct {
	ratchetKey
	Reason string `required:"" placeholder:"TEXT" help:"Why, in 1 to 200 bytes: each refusal says so."`
}

func (*ratchetRetireCmd) Help() string {
	return helpText("Has a key sign nothing more with this ratchet, on any chain, from then on. Nothing takes that back but "+
		"the import of a handover from where the key signs then. The daemon must be stopped.",
		`pawl ratchet retire tz3… --reason "moved to host b"`, exitCodes)
}

// Run retires the key.
func (c *ratchetRetireCmd) Run(ctx context.Context, s *streams) error {
	key, err := c.hash()
	if err != nil {
		return err
	}
	path, _, err := c.ratchet(key)
	if err != nil {
		return err
	}
	_, err = changeRatchet(ctx, c.Config, path, audit.Retire, func(held ratchet.Snapshot) (ratchet.Changes, error) {
		return held.Retire(key, c.Reason)
	})
	if err != nil {
		command := check.Command(c.Config, "pawl ratchet retire %s --reason %s%s", c.Key, check.Quoted(c.Reason), c.ofDB())
		return withNewRatchet(withRestart(err, command), c.Config, path)
	}
	s.notef("%v signs nothing more here: %s", key, c.Reason)
	return nil
}

type ratchetUnfenceCmd struct {
	Key   string `arg:"" optional:"" name:"pkh" help:"Hash of the key, or --all."`
	All   bool   `help:"All keys that are fenced on the chain."`
	Chain string `placeholder:"NetX…" help:"Chain: its id, or the name of a public network. May be left out while the ratchet has only one."`
	Level int32  `placeholder:"N" help:"First level that may be signed: above all that was ever signed with the key, here and elsewhere. The head of the chain and 2 is a good one, and is told if it is left out and keys.json names a node."`
	Far   bool   `help:"Take a level that is more than max_level_gap above all that the ratchet has of the key and chain."`
	oneRatchet
}

func (*ratchetUnfenceCmd) Help() string {
	return helpText("Lets keys sign again that are fenced because the ratchet was moved, copied or restored. Run it only when "+
		"whatever signed with them before has stopped for good: with two alive, both sign, and the stake is lost. The "+
		"daemon must be stopped.",
		"pawl ratchet unfence --all --level 12345678", exitCodes)
}

// Run lifts the fences.
func (c *ratchetUnfenceCmd) Run(ctx context.Context, s *streams) error {
	if (c.Key == "") != c.All {
		return &usageError{text: "want the hash of a key, or --all"}
	}
	if c.Level == 0 {
		return wantLevel(ctx, c.Config, "--level", 2)
	}
	path, err := c.path()
	if err != nil {
		return err
	}
	var done ratchet.Changes
	done, err = changeRatchet(ctx, c.Config, path, audit.Unfence, c.plan)
	if err != nil {
		return withFar(withNewRatchet(withRestart(err, c.command()), c.Config, path), c.command())
	}
	for _, r := range done.Registrations {
		s.notef("%v may sign on %v from level %d on: that nothing else signs with it is your word", r.After.Key, r.After.ChainID,
			c.Level)
	}
	return nil
}

func (c *ratchetUnfenceCmd) plan(held ratchet.Snapshot) (done ratchet.Changes, err error) {
	keys, err := c.keys(held)
	if err != nil {
		return done, err
	}
	chain, err := c.chain(held)
	if err != nil {
		return done, err
	}
	gap := c.gap()
	if c.Far {
		gap = 0
	}
	for _, key := range keys {
		next, err := held.Unfence(key, chain, c.Level, gap)
		if err != nil {
			return ratchet.Changes{}, err
		}
		done = done.Then(next)
	}
	return done, nil
}

// keys are the one that is named, or all that are fenced.
func (c *ratchetUnfenceCmd) keys(held ratchet.Snapshot) (keys []tezos.PublicKeyHash, err error) {
	if !c.All {
		key, err := tezos.ParsePublicKeyHash(c.Key)
		if err != nil {
			return nil, &usageError{text: fmt.Sprintf("%q: %v", c.Key, err)}
		}
		return []tezos.PublicKeyHash{key}, nil
	}
	seen := make(map[tezos.PublicKeyHash]bool)
	for _, r := range held.HeldBack() {
		if r.Fence.Cause != ratchet.NoCause && !seen[r.Key] {
			seen[r.Key] = true
			keys = append(keys, r.Key)
		}
	}
	if keys == nil {
		return nil, errors.New("no key is fenced")
	}
	return keys, nil
}

// chain is the one that is named, or the only one that the ratchet has.
func (c *ratchetUnfenceCmd) chain(held ratchet.Snapshot) (chain tezos.ChainID, err error) {
	if c.Chain != "" {
		return chainOf(c.Chain)
	}
	return onlyChain(held)
}

// onlyChain is that of all registrations.
func onlyChain(held ratchet.Snapshot) (chain tezos.ChainID, err error) {
	chains := make(map[tezos.ChainID]bool)
	for _, r := range held.Registrations {
		if !r.AnyChain {
			chains[r.ChainID] = true
			chain = r.ChainID
		}
	}
	if len(chains) != 1 {
		return chain, &usageError{text: fmt.Sprintf("the ratchet has %s: name one with --chain", counted(len(chains), "chain"))}
	}
	return chain, nil
}

func (c *ratchetUnfenceCmd) command() string {
	command := "pawl ratchet unfence " + c.Key
	if c.All {
		command += "--all"
	}
	if c.Chain != "" {
		command += " --chain " + c.Chain
	}
	return check.Command(c.Config, "%s", fmt.Sprintf("%s --level %d%s", command, c.Level, c.ofDB()))
}

// withFar adds the command that takes a far level.
func withFar(err error, command string) error {
	if refused, ok := errors.AsType[*ratchet.FloorError](err); ok && !refused.Lower() {
		return withCommands(err, "if the level is right", []string{command + " --far"})
	}
	return err
}

// ofDB is the flag that names the ratchet, as it was given.
func (k *ratchetKey) ofDB() string { return dbFlag(k.DB) }

func (c *oneRatchet) ofDB() string { return dbFlag(c.DB) }

func dbFlag(path string) string {
	if path == "" {
		return ""
	}
	return " --db " + strings.TrimSpace(check.Quoted(path))
}
