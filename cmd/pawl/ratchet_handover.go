package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"pawl/internal/audit"
	"pawl/internal/check"
	"pawl/internal/durable"
	"pawl/internal/node"
	"pawl/internal/transfer"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

type ratchetHandoverCmd struct {
	To    string `required:"" placeholder:"FILE" help:"File to make, of mode 0600, for pawl ratchet import on the other host."`
	At    string `required:"" placeholder:"LEVEL|+N" help:"First level that the other host signs: a level, or so many above the highest that was signed here, or above the head if keys.json names a node."`
	Chain string `placeholder:"NetX…" help:"Chain: its id, or the name of a public network. May be left out while the ratchet has only one."`
	Far   bool   `help:"Take a level that is more than max_level_gap above all that the ratchet has."`
	oneRatchet
}

func (*ratchetHandoverCmd) Help() string {
	return helpText("Hands all keys of a chain over to another host at a level. This ratchet allows the levels below and no "+
		"others from then on; the file allows the other one that level and those above, once it is imported there. Both "+
		"daemons may run. The daemon must be stopped for the moment of the command.",
		"pawl ratchet handover --to moved.json --at +10", exitCodes)
}

// Run bounds the keys, and then writes the file: without the file nobody signs, without the bound both
// would.
func (c *ratchetHandoverCmd) Run(ctx context.Context, s *streams) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(c.To); err == nil {
		return fmt.Errorf("%s: %w: pawl writes over no file", c.To, fs.ErrExist)
	}
	var given ratchet.Snapshot
	var at int32
	head, _ := nodeHead(ctx, c.Config)
	_, err = changeRatchet(ctx, c.Config, path, audit.Handover, func(held ratchet.Snapshot) (done ratchet.Changes, err error) {
		done, given, at, err = c.plan(held, head)
		return done, err
	})
	if err != nil {
		return withFar(withNewRatchet(withRestart(err, c.command(c.At)), c.Config, path), c.command(c.At))
	}
	if err := c.write(ctx, path, given); err != nil {
		return withCommands(err, "the keys are handed over, and the file is missing", []string{c.command(strconv.Itoa(int(at)))})
	}
	s.notef("%s here sign below level %d, and from it on where %s is imported", counted(len(given.Registrations), "key"), at, c.To)
	return nil
}

func (c *ratchetHandoverCmd) plan(
	held ratchet.Snapshot, head node.Head,
) (done ratchet.Changes, given ratchet.Snapshot, at int32, err error) {
	chain, err := c.chain(held)
	if err != nil {
		return done, given, 0, err
	}
	if at, err = c.level(held, chain, head); err != nil {
		return done, given, 0, err
	}
	gap := c.gap()
	if c.Far {
		gap = 0
	}
	done, given, err = held.HandOver(chain, at, gap)
	return done, given, at, err
}

func (c *ratchetHandoverCmd) chain(held ratchet.Snapshot) (tezos.ChainID, error) {
	if c.Chain != "" {
		return chainOf(c.Chain)
	}
	return onlyChain(held)
}

// level reads --at.
func (c *ratchetHandoverCmd) level(held ratchet.Snapshot, chain tezos.ChainID, head node.Head) (int32, error) {
	text, relative := strings.CutPrefix(c.At, "+")
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return 0, &usageError{text: fmt.Sprintf("--at %q: want a level, or +N", c.At)}
	}
	if !relative {
		return int32(n), nil
	}
	highest := int64(-1)
	if head.ChainID == chain && head.Level > 0 {
		highest = int64(head.Level)
	}
	for _, m := range held.Marks {
		if m.ChainID == chain {
			highest = max(highest, int64(m.Level))
		}
	}
	if highest < 0 {
		return 0, &usageError{text: fmt.Sprintf("--at %s: nothing was signed on %s yet: name a level", c.At, chain)}
	}
	if highest+n > 1<<31-1 {
		return 0, &usageError{text: fmt.Sprintf("--at %s: level %d does not exist", c.At, highest+n)}
	}
	return int32(highest + n), nil
}

// write writes the file.
func (c *ratchetHandoverCmd) write(ctx context.Context, path string, given ratchet.Snapshot) error {
	held, err := sqlite.Read(ctx, path)
	if err != nil {
		return err
	}
	content := c.content(given)
	content.Handover = true
	text, err := transfer.Export(content, host(path, held.Generation))
	if err != nil {
		return err
	}
	return durable.WriteNew(c.To, text, 0o600)
}

func (c *ratchetHandoverCmd) command(at string) string {
	command := fmt.Sprintf("pawl ratchet handover --to %s --at %s", check.Quoted(c.To), at)
	if c.Chain != "" {
		command += " --chain " + c.Chain
	}
	return check.Command(c.Config, "%s", command+c.ofDB())
}
