package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"pawl/internal/audit"
)

type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Check that no line of an audit trail was changed, removed or moved."`
}

type auditVerifyCmd struct {
	From   string `placeholder:"FILE" help:"File of the trail to begin with, instead of the oldest one. It also names the ratchet."`
	DB     string `name:"db" placeholder:"PATH" help:"Ratchet file, instead of those of keys.json."`
	Config string `default:"./keys.json" placeholder:"FILE" help:"keys.json that names the ratchets (default: ${default})."`
}

func (*auditVerifyCmd) Help() string {
	return helpText("Reads the audit trail beside each ratchet, from the oldest file on, and tells the first line that does "+
		"not fit. It changes nothing, and the daemon may run.\n\nThe chain has no secret: it shows damage and careless edits. "+
		"Whoever can write the files can write the whole chain anew, or cut off its end. So keep the last seq and the last hash "+
		"that this command prints where that person cannot write: the line of the next seq tells that hash as its prev, for ever.",
		"pawl audit verify --db ratchet.db",
		"0 when all lines fit, also if there are notes; 1 when one does not fit, a file cannot be read or a ratchet has no "+
			"trail, with the reason on stderr; 2 for wrong usage, before anything is touched")
}

// Run checks the trails.
func (c *auditVerifyCmd) Run(s *streams) error {
	paths, err := c.ratchets()
	if err != nil {
		return err
	}
	var found []error
	for i, path := range paths {
		if i > 0 {
			found = append(found, s.printf("\n"))
		}
		found = append(found, c.verify(s, path))
	}
	return errors.Join(found...)
}

// ratchets are the one that is named, that of the file that is named, or those of keys.json.
func (c *auditVerifyCmd) ratchets() ([]string, error) {
	switch path, ok := audit.RatchetOf(c.From); {
	case c.DB != "":
		return []string{c.DB}, nil
	case ok:
		return []string{path}, nil
	case c.From != "":
		return nil, &usageError{text: fmt.Sprintf("--from %q: want a file of a trail, such as ratchet.db-audit.3", c.From)}
	}
	return ratchetPaths(c.Config)
}

// verify checks the trail of a ratchet and prints what it found.
func (c *auditVerifyCmd) verify(s *streams, path string) error {
	result, err := audit.Verify(path, c.From)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.From == "":
		return fmt.Errorf("%s has no audit trail: %s does not exist", path, audit.Path(path))
	case err != nil:
		return fmt.Errorf("audit trail of %s: %w", path, err)
	}
	if err := printTrail(s, path, result); err != nil {
		return err
	}
	if result.Damage != nil {
		return result.Damage
	}
	return nil
}

// printTrail prints how far a trail fits, and the notes.
func printTrail(s *streams, path string, result audit.Result) error {
	rows := table{out: s.out}
	rows.row("ratchet", "%s", path)
	rows.row("files", "%d", len(result.Files))
	fit := strconv.FormatUint(result.Lines, 10)
	if result.Damage != nil {
		fit += " before one that does not fit"
	}
	rows.row("lines", "%s", fit)
	if result.Lines > 0 {
		rows.row("first seq", "%d", result.First)
		rows.row("last seq", "%d", result.Last)
		rows.row("last hash", "%s", result.Hash)
	}
	for _, n := range result.Notes {
		rows.row("note", "%s", oneLine(n.String()))
	}
	if result.More > 0 {
		rows.row("note", "and %s more", counted(result.More, "note"))
	}
	return rows.flush()
}
