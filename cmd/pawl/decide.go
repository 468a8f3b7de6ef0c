package main

import (
	"context"
	"errors"
	"fmt"

	"pawl/internal/config"
	"pawl/policy"
	"pawl/ratchet"
	"pawl/tezos"
)

// decide prints what the policy and the ratchet of the key would make of the
// request.
func (c *explainCmd) decide(ctx context.Context, lines *table, cfg *config.Config, key tezos.PublicKeyHash, req tezos.Request, digest tezos.Digest) {
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
	asked := ratchet.Mark{Key: key, ChainID: consensus.ChainID, Kind: consensus.Kind, Level: consensus.Level, Round: consensus.Round}
	if err := c.decideSlot(ctx, lines, entry.DB, cfg.MaxLevelGap, asked, digest); err != nil {
		lines.row("mark", "unknown: %v", err)
	}
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

// allowingLine is the line of a policy that opens the request.
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

// decideSlot prints what the ratchet at path has for the slot and what it
// would do. While a daemon holds it, its marks alone are known.
func (c *explainCmd) decideSlot(ctx context.Context, lines *table, path string, maxGap int32, asked ratchet.Mark, digest tezos.Digest) (err error) {
	db, err := ratchet.Open(ctx, path, ratchet.Options{MaxLevelGap: maxGap})
	if errors.Is(err, ratchet.ErrLocked) {
		state, err := askHolder(ctx, c.Admin, err)
		if err != nil {
			return err
		}
		lines.row("registration", "unknown: the daemon at %s holds the ratchet and tells marks only", c.Admin)
		mark := state.mark(asked)
		lines.row("mark", "%s", describeMark(mark, asked))
		lines.row("ratchet", "%s", decideByMark(mark, asked, digest))
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var state ratchetState
	if err := state.read(ctx, db); err != nil {
		return err
	}
	lines.row("registration", "%s", state.registration(asked))
	lines.row("mark", "%s", describeMark(state.mark(asked), asked))
	lines.row("ratchet", "%s", dryRun(ctx, db, asked, digest))
	return nil
}

// errDryRun is what the ratchet gets in place of a signature: it stores
// nothing then.
var errDryRun = errors.New("would be signed")

// dryRun asks the ratchet itself, so that its rules stand in one place only.
func dryRun(ctx context.Context, db *ratchet.DB, asked ratchet.Mark, digest tezos.Digest) string {
	_, err := db.Sign(ctx, asked, digest, func(context.Context) (tezos.Signature, error) {
		return tezos.Signature{}, errDryRun
	})
	switch {
	case err == nil:
		return "the stored signature would be answered"
	case errors.Is(err, errDryRun):
		return errDryRun.Error()
	case errors.Is(err, ratchet.ErrRefused):
		return "refused: " + err.Error()
	}
	return "unknown: " + err.Error()
}

// registration is from where on the key may sign on the chain.
func (s ratchetState) registration(asked ratchet.Mark) string {
	text := "none on " + asked.ChainID.String()
	for _, r := range s.registrations {
		switch {
		case r.Key != asked.Key:
		case r.AnyChain:
			text = "made by pawl and not yet used on " + asked.ChainID.String()
		case r.ChainID == asked.ChainID:
			return fmt.Sprintf("from level %d", r.FromLevel)
		}
	}
	return text
}

func (s ratchetState) mark(asked ratchet.Mark) *ratchet.Entry {
	for i, m := range s.marks {
		if m.Key == asked.Key && m.ChainID == asked.ChainID && m.Kind == asked.Kind {
			return &s.marks[i]
		}
	}
	return nil
}

func describeMark(mark *ratchet.Entry, asked ratchet.Mark) string {
	if mark == nil {
		return fmt.Sprintf("no %v was signed on %v", asked.Kind, asked.ChainID)
	}
	return fmt.Sprintf("%v level %d, round %d, digest %v", mark.Kind, mark.Level, mark.Round, mark.Digest)
}

// decideByMark is what a mark alone decides.
func decideByMark(mark *ratchet.Entry, asked ratchet.Mark, digest tezos.Digest) string {
	switch {
	case mark == nil || asked.Level > mark.Level || asked.Level == mark.Level && asked.Round > mark.Round:
		return "would be signed, if the registration allows it"
	case asked.Level < mark.Level || asked.Round < mark.Round:
		return "refused: not above the mark"
	case !mark.HasSignature || mark.Digest != digest:
		return "refused: the slot is signed with other bytes"
	}
	return "the stored signature would be answered"
}
