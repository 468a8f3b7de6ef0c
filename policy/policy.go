// Package policy says whether a key may sign a request. It is pure: it looks
// at the parsed request and at what the operator wrote for the key, and knows
// nothing of levels signed before (package ratchet) or of bytes (package tezos).
//
// The zero Policy refuses everything; each field opens one thing.
package policy

import (
	"errors"
	"fmt"
	"slices"

	"pawl/tezos"
)

// Policy is what one key may sign.
type Policy struct {
	// Baking opens blocks, preattestations and attestations, with or without
	// DAL content.
	Baking bool
	// Voting is the ballots that the key may cast.
	Voting []tezos.Ballot
	// Operations is the kinds of operation contents that the key may sign.
	// Ballots are not opened here but in Voting.
	Operations []tezos.OperationKind
	// Destinations, when not nil, is the only addresses that a content of kind
	// transaction may pay or call.
	Destinations []string
	// Michelson opens packed Michelson data (magic byte 0x05).
	Michelson bool
	// LiquidityBaking, when not nil, is the only liquidity-baking vote that a
	// block may carry.
	LiquidityBaking *tezos.LiquidityBakingVote
	// Chains, when not empty, is the only chains of consensus requests. When
	// empty, the ratchet's registrations alone decide.
	Chains []tezos.ChainID
	// NotBeforeLevel and NotAfterLevel bound the levels of consensus requests,
	// both inclusive; zero is no bound.
	NotBeforeLevel, NotAfterLevel int32
}

// ErrDenied is what every refusal of this package Is.
var ErrDenied = errors.New("refused by policy")

// DeniedError is a refusal: the line of the policy that decided, and why.
type DeniedError struct {
	Line   string // the name in keys.json, e.g. "baking"
	Reason string
}

// Error names the policy line, so that the remedy is in the text.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("%v: %s (policy.%s)", ErrDenied, e.Reason, e.Line)
}

// Is makes errors.Is(err, ErrDenied) true.
func (e *DeniedError) Is(target error) bool { return target == ErrDenied }

func denied(line, format string, args ...any) error {
	return &DeniedError{Line: line, Reason: fmt.Sprintf(format, args...)}
}

// Check returns nil when the policy opens the whole request, else a
// *DeniedError. A batch is open only if each of its contents is.
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
