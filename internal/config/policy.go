package config

import (
	"pawl/policy"
	"pawl/tezos"
)

// readPolicy reads a policy object. Everything that it does not name stays refused.
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
		p.add(Warning, NoOperations, v.path, "has no operations: all are refused, except the ballots in voting")
	}
	if pol.NotAfterLevel != 0 && pol.NotAfterLevel < pol.NotBeforeLevel {
		p.invalid(v.path, "not_after_level is below not_before_level")
	}
	return &pol
}

func (p *parser) ballots(v value) (ballots []tezos.Ballot) {
	p.eachString(v, func(path, item string) {
		if item == "aye" { // old samples have it; Tezos has no such ballot
			p.warn(path, "\"aye\" is read as \"yay\"")
			item = "yay"
		}
		ballot, err := tezos.ParseBallot(item)
		if err != nil {
			p.invalid(path, "%q is not a ballot: use yay, nay or pass", item)
			return
		}
		ballots = append(ballots, ballot)
	})
	return ballots
}

func (p *parser) operations(v value) (kinds []tezos.OperationKind) {
	p.eachString(v, func(path, item string) {
		kind, err := tezos.ParseOperationKind(item)
		switch {
		case err != nil:
			p.invalid(path, "%v", err)
		case kind == tezos.OpBallot:
			p.invalid(path, "ballots are allowed by policy.voting")
		default:
			kinds = append(kinds, kind)
		}
	})
	return kinds
}

// destinations returns a list that is never nil. An empty list allows no destination.
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
		chain, err := tezos.ParseChainID(item)
		if err != nil {
			p.invalid(path, "%v", err)
		}
		chains = append(chains, chain)
	})
	if v.array && len(v.items) == 0 {
		p.invalid(v.path, "is empty: leave it out to allow every registered chain, or name one")
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
		p.invalid(v.path, "%q is not a vote: use any, on, off or pass", s)
	}
	return &vote
}
