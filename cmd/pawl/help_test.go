package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// Each command says what it is for, with an example that begins with its name, and its exit codes.
func TestHelpOfEachCommand(t *testing.T) {
	t.Parallel()
	var cmds commands
	parser, err := kong.New(&cmds, kong.Name("pawl"))
	if err != nil {
		t.Fatal(err)
	}
	leaves := parser.Model.Leaves(true)
	if len(leaves) < 15 {
		t.Errorf("%d commands, want all", len(leaves))
	}
	for _, leaf := range leaves {
		if leaf.Name == "version" {
			continue // which can only print
		}
		var out bytes.Buffer
		if err := run(context.Background(), append(strings.Fields(leaf.FullPath()), "--help"), &out, &out); err != nil {
			t.Errorf("%s: %v", leaf.FullPath(), err)
		}
		for _, want := range []string{"Example:\n\n    " + leaf.FullPath() + " ", "Exit codes: 0 "} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the help of %s has not %q:\n%s", leaf.FullPath(), want, out.String())
			}
		}
	}
}
