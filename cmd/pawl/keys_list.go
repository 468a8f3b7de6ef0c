package main

import (
	"fmt"
	"strings"

	"pawl/internal/config"
	"pawl/policy"
)

type keysListCmd struct {
	Config string `default:"./keys.json" placeholder:"FILE" help:"keys.json with the keys (default: ${default})."`
}

func (*keysListCmd) Help() string {
	return helpText("What keys.json says of each key: its public key, what its policy allows, where its blob and its "+
		"marks are. No server is asked, and no ratchet opened: pawl check does both, pawl ratchet show prints the marks.",
		"pawl keys list --config keys.json", exitCodes)
}

// Run prints a line for each key.
func (c *keysListCmd) Run(s *streams) error {
	cfg, findings, err := loadFindings(c.Config)
	if err != nil {
		return err
	}
	lines := table{out: s.out}
	lines.cells("KEY", "PUBLIC KEY", "MAY SIGN", "BLOB", "RATCHET")
	for _, key := range cfg.Keys {
		public := key.PublicKey
		lines.cells(public.Hash().String(), public.String(), maySign(&key.Policy), placeOfBlob(key), ratchetOf(key))
	}
	if err := lines.flush(); err != nil {
		return err
	}
	if n := len(findings); n > 0 {
		s.notef("note: %s has %s: see pawl check", c.Config, counted(n, "finding"))
	}
	return nil
}

// maySign sums up a policy.
func maySign(p *policy.Policy) string {
	var may []string
	if p.Baking {
		may = append(may, "blocks and votes"+within(p))
	}
	for _, ballot := range p.Voting {
		may = append(may, "ballot "+ballot.String())
	}
	for _, kind := range p.Operations {
		may = append(may, string(kind))
	}
	if p.Michelson {
		may = append(may, "packed Michelson")
	}
	if may == nil {
		return "nothing"
	}
	return strings.Join(may, ", ")
}

// within names the chains to which blocks and votes are limited.
func within(p *policy.Policy) string {
	if len(p.Chains) == 0 {
		return ""
	}
	chains := make([]string, len(p.Chains))
	for i, chain := range p.Chains {
		chains[i] = chain.String()
	}
	return " of " + strings.Join(chains, " and ")
}

func placeOfBlob(key config.KeySpec) string {
	place := "secret_key"
	switch {
	case key.BlobFile != "":
		place = key.BlobFile
	case key.Blob == nil:
		place = "unreadable"
	}
	if key.NextBlob != nil {
		return fmt.Sprintf("%s, and secret_key_next", place)
	}
	return place
}

func ratchetOf(key config.KeySpec) string {
	if key.DB == "" {
		return "none"
	}
	return key.DB
}
