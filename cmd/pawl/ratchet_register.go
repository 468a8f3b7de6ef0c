package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pawl/internal/audit"
	"pawl/internal/check"
	"pawl/ratchet"
)

type ratchetRegisterCmd struct {
	ratchetKey
	Chain     string `required:"" placeholder:"NetX…" help:"Chain that the key will bake on: its id, or the name of a public network such as mainnet or shadownet."`
	FromLevel *int32 `placeholder:"N" help:"First level that may be signed. Take one above every level that was ever signed with this key, e.g. the head of the chain and 10, which is told if it is left out and keys.json names a node."`
	Far       bool   `help:"Register a level that is more than max_level_gap above all that the ratchet has of the key and chain, or above 100000000 if it has nothing. One digit too many cannot be taken back: levels only rise."`
}

func (*ratchetRegisterCmd) Help() string {
	return helpText("The level only rises. The daemon must be stopped: one process at a time has the ratchet.",
		"pawl ratchet register tz3… --chain NetXdQprcVkpaWU --from-level 12345678", exitCodes)
}

// Run registers the key and says what that means.
func (c *ratchetRegisterCmd) Run(ctx context.Context, s *streams) error {
	if c.FromLevel == nil {
		return wantLevel(ctx, c.Config, "--from-level", 10)
	}
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

// register registers the key, and returns what the ratchet holds then. The daemon must be stopped: one
// process at a time may use a ratchet.
func (c *ratchetRegisterCmd) register(
	ctx context.Context, path string, gap int32, r ratchet.Registration,
) (all ratchet.Snapshot, err error) {
	_, err = changeRatchet(ctx, c.Config, path, audit.Register, func(held ratchet.Snapshot) (done ratchet.Changes, err error) {
		if c.Far {
			done, err = held.Register(r)
		} else {
			done, err = held.RegisterNear(r, gap)
		}
		all = held.With(done)
		return done, err
	})
	return all, err
}

// registration reads the arguments.
func (c *ratchetRegisterCmd) registration() (r ratchet.Registration, err error) {
	if r.Key, err = c.hash(); err != nil {
		return r, err
	}
	if r.ChainID, err = chainOf(c.Chain); err != nil {
		return r, err
	}
	if *c.FromLevel < 0 {
		return r, &usageError{text: fmt.Sprintf("--from-level %d: levels are not negative", *c.FromLevel)}
	}
	r.FromLevel = *c.FromLevel
	return r, nil
}

// command returns this command as it was given.
func (c *ratchetRegisterCmd) command(more ...string) string {
	words := []string{fmt.Sprintf("pawl ratchet register %s --chain %s --from-level %d", c.Key, c.Chain, *c.FromLevel)}
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
