package main

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"pawl/ratchet"
	"pawl/server"
)

type ratchetShowCmd struct {
	Path   string `arg:"" optional:"" help:"Ratchet file (default: each db of keys.json)."`
	Config string `default:"./keys.json" placeholder:"FILE" help:"keys.json that names the files when PATH is left out (default: ${default})."`
	Admin  string `default:"127.0.0.1:9732" placeholder:"ADDR" help:"Admin listener of a running daemon, asked while it holds the ratchet (default: ${default})."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

func (*ratchetShowCmd) Help() string {
	return helpText("Reads the file without changing it, or asks the daemon that holds it.",
		"pawl ratchet show --json", exitCodes)
}

// Run prints the marks and the registrations.
func (c *ratchetShowCmd) Run(ctx context.Context, s *streams) error {
	paths := []string{c.Path}
	if c.Path == "" {
		var err error
		if paths, err = ratchetPaths(c.Config); err != nil {
			return err
		}
	}
	state, err := readRatchets(ctx, paths, c.Config, c.Admin)
	if err != nil {
		return err
	}
	if state.daemon != "" {
		s.notef("a daemon holds the ratchet: this is what http://%s/ratchet tells", state.daemon)
	}
	for _, text := range state.found {
		s.notef("%s: the next start fences the keys", text)
	}
	if c.JSON {
		return showJSON(s, state)
	}
	return showTable(s, state.Snapshot)
}

func showTable(s *streams, all ratchet.Snapshot) error {
	marks := table{out: s.out}
	marks.cells("KEY", "CHAIN", "KIND", "LEVEL", "ROUND", "TIME", "DIGEST", "SIGNATURE")
	for _, m := range all.Marks {
		signature, at := "stored", "unknown"
		if m.Signature == nil {
			signature = "none"
		}
		if !m.Time.IsZero() {
			at = m.Time.UTC().Format(time.RFC3339)
		}
		marks.cells(m.Key.String(), m.ChainID.String(), m.Kind.String(), number(m.Level), number(m.Round), at,
			m.Digest.String(), signature)
	}
	if err := marks.flush(); err != nil {
		return err
	}
	registered := table{out: s.out}
	registered.cells()
	registered.cells("REGISTERED", "CHAIN", "MAY SIGN")
	for _, r := range all.Registrations {
		chain, allows := all.Allowed(r)
		registered.cells(r.Key.String(), chain, allows)
	}
	return registered.flush()
}

func number(n int32) string { return strconv.Itoa(int(n)) }

// showJSON prints what /ratchet tells.
func showJSON(s *streams, state ratchetState) error {
	out := json.NewEncoder(s.out)
	out.SetIndent("", "  ")
	return out.Encode(server.NewRatchet(state.Snapshot))
}
