package config

import (
	"pawl/policy"
	"pawl/tezos"
)

// readPolicy reads a policy object. What it does not name stays refused.
func (p *parser) readPolicy(v value) *policy.Policy {
	var pol policy.Policy
	p.object(v, map[string]func(value){
		"baking":                func(v value) { pol.Baking = p.flag(v) },
		"voting":                func(v value) { pol.Voting = p.ballots(v) },
		"operations":            func(v value) { pol.Operations = p.operations(v) },
		"destinations":          func(v value) { pol.Destinations = p.destinations(v) },
		"michelson":             func(v value) { pol.Michelson = p.flag(v) },
		"liquidity_baking_vote": func(v value) { pol.LiquidityBaking = p.liquidityBaking(v) },
		"chains":                func(v value) { pol.Chains = p.chains(v) },
		"not_before_level":      func(v value) { pol.NotBeforeLevel = p.whole(v, 0) },
		"not_after_level":       func(v value) { pol.NotAfterLevel = p.positive(v) },
	})
	if _, named := v.get("operations"); !named && v.object {
		p.add(Warning, NoOperations, v.path, "has no operations: every operation but the ballots of voting is refused")
	}
	if pol.NotAfterLevel != 0 && pol.NotAfterLevel < pol.NotBeforeLevel {
		p.invalid(v.path, "not_after_level is below not_before_level")
	}
	return &pol
}

func (p *parser) ballots(v value) (ballots []tezos.Ballot) {
	p.eachString(v, func(path, item string) {
		if item == "aye" { // from old samples; no ballot was ever called that
			p.warn(path, "\"aye\" is read as \"yay\"")
			item = "yay"
		}
		ballot, err := tezos.ParseBallot(item)
		if err != nil {
			p.invalid(path, "%s is no ballot: use yay, nay, pass", quote(item))
			return
		}
		ballots = append(ballots, ballot)
	})
	return ballots
}

func (p *parser) operations(v value) (kinds []tezos.OperationKind) {
	p.eachString(v, func(path, item string) {
		kind, err := tezos.ParseOperationKind(item)
		switch line, known := openedBy[item]; {
		case known:
			p.invalid(path, "%s is opened by %s", item, line)
		case err != nil:
			p.invalid(path, "%s is no kind of operation: use a name of Octez, such as delegation", quote(item))
		default:
			kinds = append(kinds, kind)
		}
	})
	return kinds
}

// openedBy are the words of Signatory, octez-signer and older protocols that people write as
// operations, with the line that opens what they mean.
var openedBy = map[string]string{
	"block":                bakingLine,
	"preattestation":       bakingLine,
	"attestation":          bakingLine,
	"attestation_with_dal": bakingLine,
	"preendorsement":       bakingLine,
	"endorsement":          bakingLine,
	"endorsement_with_dal": bakingLine,
	"baking":               bakingLine,
	"ballot":               "policy.voting, with yay, nay, pass",
	"voting":               "policy.voting, with yay, nay, pass",
	"michelson":            "policy.michelson",
	"generic":              "the kinds of operations, each by its name",
}

const bakingLine = "policy.baking"

// destinations returns a list that is never nil: an empty list allows none.
func (p *parser) destinations(v value) []string {
	list := []string{}
	p.eachString(v, func(path, item string) {
		if err := tezos.CheckAddress(item); err != nil {
			p.invalid(path, "%v", err)
		}
		list = append(list, item)
	})
	return list
}

func (p *parser) chains(v value) (chains []tezos.ChainID) {
	p.eachString(v, func(path, item string) {
		chain, err := tezos.ParseChain(item)
		if err != nil {
			p.invalid(path, "%v", err)
		}
		chains = append(chains, chain)
	})
	if v.array && len(v.items) == 0 {
		p.invalid(v.path, "is empty: leave it out for every registered chain, or name one")
	}
	return chains
}

func (p *parser) liquidityBaking(v value) *tezos.LiquidityBakingVote {
	var vote tezos.LiquidityBakingVote
	switch s := p.text(v); s {
	case "any":
		return nil
	case "on":
		vote = tezos.LiquidityBakingOn
	case "off":
		vote = tezos.LiquidityBakingOff
	case "pass":
		vote = tezos.LiquidityBakingPass
	default:
		p.invalid(v.path, "%s is no vote: use any, on, off, pass", quote(s))
	}
	return &vote
}
