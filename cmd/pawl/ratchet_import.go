package main

import (
	"context"
	"fmt"

	"pawl/internal/audit"
	"pawl/internal/check"
	"pawl/internal/durable"
	"pawl/internal/transfer"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

type ratchetImportCmd struct {
	File   string `arg:"" help:"File of pawl ratchet export, or what --from says."`
	From   string `enum:"pawl,csv,octez,python,signatory" default:"pawl" placeholder:"FORMAT" help:"csv: a table with the line key,chain,kind,level,round first. octez: base directory of octez-signer, or a file of it. python: database of the Python GREP11 signer. signatory: its watermark_v2 folder."`
	Key    string `placeholder:"PKH" help:"Whose the marks are that name no key, as those of the Python signer may."`
	DryRun bool   `help:"Print what would change, and change nothing."`
	Far    bool   `help:"Take levels above 100000000 too. One digit too many cannot be taken back."`
	oneRatchet
}

func (*ratchetImportCmd) Help() string {
	return helpText("Brings the marks and registrations of an export into the ratchet, all or none. Marks and levels only "+
		"rise: what is higher here stays, and importing again changes nothing. A signature that does not verify is "+
		"dropped, and its slot is refused. Marks of another signer register their keys, each from its highest level on. "+
		"The daemon must be stopped, here and, for good, where the file was made.",
		"pawl ratchet import moved.json --dry-run", exitCodes)
}

// Run prints each change, and makes it.
func (c *ratchetImportCmd) Run(ctx context.Context, s *streams) error {
	content, err := c.read()
	if err != nil {
		return err
	}
	if err := c.checkLevels(content.Snapshot); err != nil {
		return err
	}
	path, err := c.path()
	if err != nil {
		return err
	}
	if dropped := content.Verify(c.publicKeys()); dropped > 0 {
		s.notef("%s that could not be verified: the slots are refused", counted(dropped, "signature"))
	}
	merge := c.merge
	if c.DryRun {
		merge = c.plan
	}
	m, err := merge(ctx, path, planOf(content))
	if err != nil {
		return withNewRatchet(withRestart(err, c.command()), c.Config, path)
	}
	return c.tell(s, path, m)
}

func (c *ratchetImportCmd) read() (transfer.Content, error) {
	if c.From != "pawl" {
		return c.readForeign()
	}
	text, _, err := durable.ReadFile(c.File, transfer.MaxFile)
	if err != nil {
		return transfer.Content{}, err
	}
	content, err := transfer.Read(text)
	if err != nil {
		return content, fmt.Errorf("%s: %w", c.File, err)
	}
	return content, nil
}

// readForeign reads the marks of another signer.
func (c *ratchetImportCmd) readForeign() (transfer.Content, error) {
	var key tezos.PublicKeyHash
	if c.Key != "" {
		var err error
		if key, err = tezos.ParsePublicKeyHash(c.Key); err != nil {
			return transfer.Content{}, &usageError{text: fmt.Sprintf("--key %q: %v", c.Key, err)}
		}
	}
	return transfer.Foreign(c.From, c.File, key)
}

// checkLevels refuses levels that no chain has reached.
func (c *ratchetImportCmd) checkLevels(all ratchet.Snapshot) error {
	highest := int32(0)
	for _, m := range all.Marks {
		highest = max(highest, m.Level)
	}
	for _, r := range all.Registrations {
		highest = max(highest, r.FromLevel)
	}
	if c.Far || highest <= ratchet.MaxFirstLevel {
		return nil
	}
	return withCommands(fmt.Errorf("%s: level %d is above %d: is it a time, or has it a digit too many?", c.File, highest,
		ratchet.MaxFirstLevel), "if the level is right", []string{c.command() + " --far"})
}

// planOf is the plan of an import.
func planOf(content transfer.Content) ratchet.Plan {
	return func(held ratchet.Snapshot) (ratchet.Changes, error) {
		if content.Handover {
			return held.TakeOver(content.Snapshot)
		}
		return held.Merge(content.Snapshot)
	}
}

// plan returns what an import would change.
func (c *ratchetImportCmd) plan(ctx context.Context, path string, plan ratchet.Plan) (ratchet.Changes, error) {
	held, err := sqlite.Read(ctx, path)
	if err != nil {
		return ratchet.Changes{}, err
	}
	return plan(held.Snapshot)
}

// merge imports, and returns what it has changed.
func (c *ratchetImportCmd) merge(ctx context.Context, path string, plan ratchet.Plan) (ratchet.Changes, error) {
	return changeRatchet(ctx, c.Config, path, audit.Import, plan)
}

// command returns this command as it was given.
func (c *ratchetImportCmd) command() string {
	command := "pawl ratchet import " + check.Quoted(c.File)
	if c.From != "pawl" {
		command += " --from " + c.From
	}
	if c.Key != "" {
		command += " --key " + c.Key
	}
	if c.DryRun {
		command += " --dry-run"
	}
	if c.DB != "" {
		command += " --db " + check.Quoted(c.DB)
	}
	return check.Command(c.Config, "%s", command)
}

// tell prints each change as old -> new.
func (c *ratchetImportCmd) tell(s *streams, path string, m ratchet.Changes) error {
	if m.Empty() {
		s.notef("%s holds all of %s already: nothing changes", path, c.File)
		return nil
	}
	t := table{out: s.out}
	t.cells("KEY", "CHAIN", "WHAT", "OLD", "", "NEW")
	for _, r := range m.Registrations {
		chain, old := r.After.ChainID.String(), "none"
		if r.After.AnyChain {
			chain = "others"
		}
		if r.Before != nil {
			old = floor(*r.Before)
		}
		t.cells(r.After.Key.String(), chain, "may sign", old, "->", floor(r.After))
	}
	for _, mark := range m.Marks {
		old := "none"
		if mark.Before != nil {
			old = slot(*mark.Before)
		}
		t.cells(mark.After.Key.String(), mark.After.ChainID.String(), mark.After.Kind.String(), old, "->", slot(mark.After))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if c.DryRun {
		s.notef("%s is as it was: this was a dry run", path)
	}
	return nil
}

// floor is a registration in a cell.
func floor(r ratchet.Registration) string {
	text := "any level"
	if !r.AnyChain && !r.NoFloor {
		text = fmt.Sprintf("from level %d on", r.FromLevel)
	}
	if r.Bounded {
		text += fmt.Sprintf(", up to level %d", r.NotAfter)
	}
	if r.Retired != "" {
		text = "nothing: retired: " + r.Retired
	}
	return text
}

// slot is a mark in a cell.
func slot(m ratchet.StoredMark) string {
	text := fmt.Sprintf("level %d round %d", m.Level, m.Round)
	if m.Signature == nil {
		text += ", no signature"
	}
	return text
}
