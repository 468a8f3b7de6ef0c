// Package policy decides whether a key may sign a request.
//
// Everything is refused unless the policy allows it. The zero [Policy] refuses every
// request. Each field allows or limits one thing. [Policy.Check] returns nil or a
// [*DeniedError], which names the field that refused.
//
// The package is pure. It sees the parsed request and the policy of the key, and nothing
// else: parsing is up to package tezos, and what the key has signed before is up to package
// ratchet.
package policy

import (
	"errors"
	"fmt"
	"slices"

	"pawl/tezos"
)

// Policy says what a key may sign.
type Policy struct {
	// Baking allows blocks, preattestations and attestations, with or without DAL content.
	Baking bool
	// Voting holds the ballots that the key may cast.
	Voting []tezos.Ballot
	// Operations holds the kinds of operation contents that the key may sign. It does not
	// allow ballots; Voting does.
	Operations []tezos.OperationKind
	// Destinations limits transactions to these addresses. Nil means no limit, and an
	// empty list allows none.
	Destinations []string
	// Michelson allows packed Michelson data (magic byte 0x05).
	Michelson bool
	// LiquidityBaking limits blocks to this liquidity-baking vote. Nil means no limit.
	LiquidityBaking *tezos.LiquidityBakingVote
	// Chains limits consensus requests to these chains. If it is empty, only the ratchet's
	// registrations limit them.
	Chains []tezos.ChainID
	// NotBeforeLevel and NotAfterLevel are the lowest and the highest level that consensus
	// requests may have. Zero means no limit.
	NotBeforeLevel, NotAfterLevel int32
}

// ErrDenied is the error that every DeniedError Is.
var ErrDenied = errors.New("refused by policy")

// DeniedError says which line of the policy refused a request, and why.
type DeniedError struct {
	Line   string // the name in keys.json, e.g. "baking"
	Reason string
}

// Error returns the reason and the line of the policy, so that the reader knows what to change.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("%v: %s (policy.%s)", ErrDenied, e.Reason, e.Line)
}

// Is reports whether target is ErrDenied.
func (e *DeniedError) Is(target error) bool { return target == ErrDenied }

func denied(line, format string, args ...any) error {
	return &DeniedError{Line: line, Reason: fmt.Sprintf(format, args...)}
}

// Check returns nil if the policy allows the request, and otherwise a *DeniedError. It allows
// a batch only if it allows each of its contents.
func (p *Policy) Check(req tezos.Request) error {
	switch req := req.(type) {
	case tezos.Consensus:
		return p.checkConsensus(req)
	case tezos.Operation:
		return p.checkOperation(req)
	case tezos.Michelson:
		if p.Michelson {
			return nil
		}
		return denied("michelson", "packed Michelson data is not allowed")
	}
	return denied("operations", "unknown request")
}

func (p *Policy) checkConsensus(req tezos.Consensus) error {
	switch {
	case !p.Baking:
		return denied("baking", "%v is not allowed", req.Kind)
	case len(p.Chains) > 0 && !slices.Contains(p.Chains, req.ChainID):
		return denied("chains", "chain %v is not allowed", req.ChainID)
	case req.Level < p.NotBeforeLevel:
		return denied("not_before_level", "%v level %d is below %d", req.Kind, req.Level, p.NotBeforeLevel)
	case p.NotAfterLevel != 0 && req.Level > p.NotAfterLevel:
		return denied("not_after_level", "%v level %d is above %d", req.Kind, req.Level, p.NotAfterLevel)
	case req.Kind == tezos.Block && p.LiquidityBaking != nil && req.LiquidityBaking != *p.LiquidityBaking:
		return denied("liquidity_baking_vote", "vote %v is not %v", req.LiquidityBaking, *p.LiquidityBaking)
	}
	return nil
}

func (p *Policy) checkOperation(req tezos.Operation) error {
	if len(req.Contents) == 0 {
		return denied("operations", "operation without contents")
	}
	for _, content := range req.Contents {
		if err := p.checkContent(content); err != nil {
			return err
		}
	}
	return nil
}

func (p *Policy) checkContent(c tezos.Content) error {
	switch {
	case c.Kind == tezos.OpBallot:
		if !slices.Contains(p.Voting, c.Ballot) {
			return denied("voting", "ballot %v is not allowed", c.Ballot)
		}
	case !slices.Contains(p.Operations, c.Kind):
		return denied("operations", "%s is not allowed", c.Kind)
	case c.Kind == tezos.OpTransaction && p.Destinations != nil && !slices.Contains(p.Destinations, c.Destination):
		return denied("destinations", "transaction to %s is not allowed", c.Destination)
	}
	return nil
}
