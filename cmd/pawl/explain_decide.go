package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"pawl/internal/config"
	"pawl/policy"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// decide prints what the policy and the ratchet of the key would make of the
// request.
func (c *explainCmd) decide(ctx context.Context, lines *table, cfg *config.Config, key tezos.PublicKeyHash,
	req tezos.Request, digest tezos.Digest,
) {
	lines.row("key", "%v", key)
	entry := findKey(cfg, key)
	if entry == nil {
		lines.row("decision", "unknown key: %s does not have it", c.Config)
		return
	}
	lines.row("policy", "%s", policyDecision(&entry.Policy, req))
	consensus, ok := req.(tezos.Consensus)
	if !ok {
		lines.row("mark", "none: this has no level, so the ratchet is not asked")
		return
	}
	if entry.DB == "" {
		lines.row("mark", "unknown: %s names no ratchet for the key", c.Config)
		return
	}
	asked := ratchet.Mark{
		Key: key, ChainID: consensus.ChainID, Kind: consensus.Kind, Level: consensus.Level,
		Round: consensus.Round,
	}
	gap := cmp.Or(cfg.MaxLevelGap, ratchet.DefaultMaxLevelGap)
	if err := c.decideSlot(ctx, lines, entry.DB, gap, asked, digest); err != nil {
		lines.row("mark", "unknown: %s", whyUnread(err))
	}
}

// whyUnread returns why the ratchet could not be read, with the remedy. Nobody needs to stop the
// daemon for that.
func whyUnread(err error) string {
	if locked, ok := errors.AsType[*sqlite.LockedError](err); ok {
		return locked.Holder() + ": " + hintLine(hintFor(err))
	}
	return err.Error()
}

func findKey(cfg *config.Config, key tezos.PublicKeyHash) *config.KeySpec {
	for i := range cfg.Keys {
		if cfg.Keys[i].PublicKey.Hash() == key {
			return &cfg.Keys[i]
		}
	}
	return nil
}

// policyDecision names the line of the policy that decides.
func policyDecision(p *policy.Policy, req tezos.Request) string {
	err := p.Check(req)
	var denied *policy.DeniedError
	switch {
	case err == nil:
		return "allowed by " + allowingLine(req)
	case errors.As(err, &denied):
		return fmt.Sprintf("refused by policy.%s: %s", denied.Line, denied.Reason)
	}
	return "refused: " + err.Error()
}

// allowingLine returns the line of a policy that allows the request.
func allowingLine(req tezos.Request) string {
	switch req := req.(type) {
	case tezos.Consensus:
		return "policy.baking"
	case tezos.Michelson:
		return "policy.michelson"
	case tezos.Operation:
		if len(req.Contents) == 1 && req.Contents[0].Kind == tezos.OpBallot {
			return "policy.voting"
		}
	}
	return "policy.operations"
}

// decideSlot prints what the ratchet at path has for the slot and what it would do.
func (c *explainCmd) decideSlot(ctx context.Context, lines *table, path string, gap int32, asked ratchet.Mark,
	digest tezos.Digest,
) error {
	state, err := readRatchets(ctx, []string{path}, c.Config, c.Admin)
	if err != nil {
		return err
	}
	standing := state.Standing(asked)
	lines.row("registration", "%s", standing.Allows())
	lines.row("mark", "%s", describeMark(standing.Mark, asked))
	lines.row("ratchet", "%s", decide(standing, asked, digest, gap))
	return nil
}

// decide says what the ratchet's one rule makes of the request.
func decide(standing ratchet.Standing, asked ratchet.Mark, digest tezos.Digest, gap int32) string {
	stored, err := standing.Judge(asked, digest, gap)
	switch {
	case err != nil:
		return "refused: " + err.Error()
	case stored != nil:
		return "the stored signature would be answered"
	}
	return "would be signed"
}

func describeMark(mark *ratchet.StoredMark, asked ratchet.Mark) string {
	if mark == nil {
		return fmt.Sprintf("no %v was signed on %v", asked.Kind, asked.ChainID)
	}
	return fmt.Sprintf("%v level %d, round %d, digest %v", mark.Kind, mark.Level, mark.Round, mark.Digest)
}
