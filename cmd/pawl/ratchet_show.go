package main

import (
	"context"
	"encoding/json"
	"strconv"

	"pawl/ratchet"
	"pawl/server"
)

type ratchetShowCmd struct {
	Path   string `arg:"" optional:"" help:"Ratchet file (default: each db of keys.json)."`
	Config string `default:"./keys.json" placeholder:"FILE" help:"keys.json that names the files when PATH is left out (default: ${default})."`
	Admin  string `default:"127.0.0.1:9732" placeholder:"ADDR" help:"Admin listener of a running daemon, asked for the marks while it holds the ratchet (default: ${default})."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

func (*ratchetShowCmd) Help() string {
	return helpText("Reads the file without changing it, or asks the daemon that holds it, which tells marks only.",
		"pawl ratchet show --json", exitCodes)
}

// Run prints the marks, and the registrations unless a daemon was asked.
func (c *ratchetShowCmd) Run(ctx context.Context, s *streams) error {
	paths := []string{c.Path}
	if c.Path == "" {
		var err error
		if paths, err = ratchetPaths(c.Config); err != nil {
			return err
		}
	}
	state, err := readRatchets(ctx, paths, c.Admin)
	if err != nil {
		return err
	}
	if state.daemon != "" {
		s.notef("a daemon holds the ratchet: these are the marks that http://%s/ratchet tells, without registrations",
			state.daemon)
	}
	if c.JSON {
		return showJSON(s, state)
	}
	return showTable(s, state)
}

func showTable(s *streams, state ratchetState) error {
	marks := table{out: s.out}
	marks.cells("KEY", "CHAIN", "KIND", "LEVEL", "ROUND", "DIGEST", "SIGNATURE")
	for _, m := range state.Marks {
		signature := "stored"
		if m.Signature == nil {
			signature = "none"
		}
		marks.cells(m.Key.String(), m.ChainID.String(), m.Kind.String(), number(m.Level), number(m.Round), m.Digest.String(),
			signature)
	}
	if err := marks.flush(); err != nil || state.daemon != "" {
		return err
	}
	registered := table{out: s.out}
	registered.cells()
	registered.cells("REGISTERED", "CHAIN", "FROM LEVEL")
	for _, r := range state.Registrations {
		registered.cells(r.Key.String(), chainOf(r), number(r.FromLevel))
	}
	return registered.flush()
}

func number(n int32) string { return strconv.Itoa(int(n)) }

// chainOf returns the chain of a registration; a key that was made here and never used may
// sign on any.
func chainOf(r ratchet.Registration) string {
	if r.AnyChain {
		return "any"
	}
	return r.ChainID.String()
}

type registrationJSON struct {
	PublicKeyHash string `json:"pkh"`
	ChainID       string `json:"chain_id"` // or "any"
	FromLevel     int32  `json:"from_level"`
}

// showJSON prints marks and registrations; registrations are null if they are not known.
func showJSON(s *streams, state ratchetState) error {
	show := struct {
		Marks         []server.Mark      `json:"marks"`
		Registrations []registrationJSON `json:"registrations"`
	}{Marks: make([]server.Mark, len(state.Marks))}
	for i, m := range state.Marks {
		show.Marks[i] = server.NewMark(m)
	}
	if state.daemon == "" {
		show.Registrations = make([]registrationJSON, len(state.Registrations))
	}
	for i, r := range state.Registrations {
		show.Registrations[i] = registrationJSON{r.Key.String(), chainOf(r), r.FromLevel}
	}
	out := json.NewEncoder(s.out)
	out.SetIndent("", "  ")
	return out.Encode(show)
}
