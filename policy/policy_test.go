package policy_test

import (
	"errors"
	"strings"
	"testing"

	"pawl/policy"
	"pawl/tezos"
)

var (
	mainnet  = tezos.ChainID{0x7a, 0x06, 0xa7, 0x70}
	ghostnet = tezos.ChainID{0xaf, 0x18, 0x64, 0xd9}
)

const (
	friend   = "tz1KqTpEZ7Yob7QbPE4Hy4Wo8fHG8LhKxZSx"
	stranger = "tz1YVQZd1k44cPH1GBj9JNbuCbtgqQ1j5A6C"
)

func consensus(kind tezos.Kind, level int32) tezos.Consensus {
	return tezos.Consensus{Kind: kind, ChainID: mainnet, Level: level}
}

func block(vote tezos.LiquidityBakingVote) tezos.Consensus {
	return tezos.Consensus{Kind: tezos.Block, ChainID: mainnet, Level: 10, LiquidityBaking: vote}
}

func batch(contents ...tezos.Content) tezos.Operation { return tezos.Operation{Contents: contents} }

func operation(kind tezos.OperationKind) tezos.Content { return tezos.Content{Kind: kind} }

func ballot(b tezos.Ballot) tezos.Content {
	return tezos.Content{Kind: tezos.OpBallot, Ballot: b}
}

func transactionTo(destination string) tezos.Content {
	return tezos.Content{Kind: tezos.OpTransaction, Destination: destination}
}

func TestCheck(t *testing.T) {
	off := tezos.LiquidityBakingOff
	const anyLine = ""
	var rows []struct {
		name   string
		policy policy.Policy
		req    tezos.Request
		line   string // the line that refuses; "-" if the request is allowed
	}
	row := func(name string, p policy.Policy, req tezos.Request, line string) {
		rows = append(rows, struct {
			name   string
			policy policy.Policy
			req    tezos.Request
			line   string
		}{name, p, req, line})
	}
	allow := func(name string, p policy.Policy, req tezos.Request) { row(name, p, req, "-") }
	deny := row

	// Everything is refused by default.
	closed := policy.Policy{}
	deny("zero policy, block", closed, consensus(tezos.Block, 1), "baking")
	deny("zero policy, preattestation", closed, consensus(tezos.Preattestation, 1), "baking")
	deny("zero policy, attestation", closed, consensus(tezos.Attestation, 1), "baking")
	deny("zero policy, yay", closed, batch(ballot(tezos.Yay)), "voting")
	deny("zero policy, transaction", closed, batch(transactionTo(friend)), "operations")
	deny("zero policy, reveal", closed, batch(operation(tezos.OpReveal)), "operations")
	deny("zero policy, failing noop", closed, batch(operation(tezos.OpFailingNoop)), "operations")
	deny("zero policy, michelson", closed, tezos.Michelson{}, "michelson")
	deny("zero policy, no request", closed, nil, anyLine)
	deny("operation without contents", policy.Policy{Operations: []tezos.OperationKind{tezos.OpReveal}}, batch(),
		"operations")

	// Each field allows one thing.
	baking := policy.Policy{Baking: true}
	allow("baking, block", baking, consensus(tezos.Block, 1))
	allow("baking, preattestation", baking, consensus(tezos.Preattestation, 1))
	allow("baking, attestation", baking, consensus(tezos.Attestation, 1))
	allow("baking, attestation with DAL", baking, tezos.Consensus{Kind: tezos.Attestation, DAL: true})
	deny("baking, drain delegate", baking, batch(operation(tezos.OpDrainDelegate)), "operations")
	deny("baking, yay", baking, batch(ballot(tezos.Yay)), "voting")
	deny("baking, michelson", baking, tezos.Michelson{}, "michelson")
	allow("michelson", policy.Policy{Michelson: true}, tezos.Michelson{})
	deny("michelson opens no block", policy.Policy{Michelson: true}, consensus(tezos.Block, 1), "baking")

	voting := policy.Policy{Voting: []tezos.Ballot{tezos.Yay, tezos.Pass}}
	allow("yay of yay and pass", voting, batch(ballot(tezos.Yay)))
	allow("pass of yay and pass", voting, batch(ballot(tezos.Pass)))
	deny("nay of yay and pass", voting, batch(ballot(tezos.Nay)), "voting")
	deny("ballot opened in operations only", policy.Policy{Operations: []tezos.OperationKind{tezos.OpBallot}},
		batch(ballot(tezos.Yay)), "voting")
	deny("proposals are no ballots", voting, batch(operation(tezos.OpProposals)), "operations")

	// Each content of a batch must be allowed.
	reveals := policy.Policy{Operations: []tezos.OperationKind{tezos.OpReveal, tezos.OpDelegation}}
	allow("batch of allowed kinds", reveals, batch(operation(tezos.OpReveal), operation(tezos.OpDelegation)))
	deny("batch, second content forbidden", reveals, batch(operation(tezos.OpReveal), transactionTo(friend)), "operations")
	deny("batch, last of three forbidden", reveals,
		batch(operation(tezos.OpReveal), operation(tezos.OpDelegation), operation(tezos.OpOrigination)), "operations")
	deny("stake is not transaction", policy.Policy{Operations: []tezos.OperationKind{tezos.OpTransaction}},
		batch(operation(tezos.OpStake)), "operations")

	// Destinations limits transactions and nothing else.
	paying := policy.Policy{
		Operations:   []tezos.OperationKind{tezos.OpTransaction, tezos.OpReveal},
		Destinations: []string{friend},
	}
	allow("transaction to the friend", paying, batch(operation(tezos.OpReveal), transactionTo(friend)))
	deny("transaction to a stranger", paying, batch(transactionTo(stranger)), "destinations")
	deny("second transaction to a stranger", paying, batch(transactionTo(friend), transactionTo(stranger)), "destinations")
	nobody := policy.Policy{Operations: []tezos.OperationKind{tezos.OpTransaction}, Destinations: []string{}}
	deny("empty destinations", nobody, batch(transactionTo(friend)), "destinations")
	allow("no destinations", policy.Policy{Operations: []tezos.OperationKind{tezos.OpTransaction}},
		batch(transactionTo(stranger)))

	// Chains and levels.
	onMainnet := policy.Policy{Baking: true, Chains: []tezos.ChainID{mainnet}}
	allow("chain in the list", onMainnet, consensus(tezos.Block, 1))
	deny("chain not in the list", onMainnet, tezos.Consensus{Kind: tezos.Attestation, ChainID: ghostnet}, "chains")
	window := policy.Policy{Baking: true, NotBeforeLevel: 100, NotAfterLevel: 200}
	deny("level 99 of 100 to 200", window, consensus(tezos.Attestation, 99), "not_before_level")
	allow("level 100 of 100 to 200", window, consensus(tezos.Attestation, 100))
	allow("level 200 of 100 to 200", window, consensus(tezos.Attestation, 200))
	deny("level 201 of 100 to 200", window, consensus(tezos.Attestation, 201), "not_after_level")

	// Only blocks have a liquidity-baking vote.
	pinned := policy.Policy{Baking: true, LiquidityBaking: &off}
	allow("pinned vote", pinned, block(tezos.LiquidityBakingOff))
	deny("other vote", pinned, block(tezos.LiquidityBakingOn), "liquidity_baking_vote")
	allow("attestation under a pinned vote", pinned, consensus(tezos.Attestation, 1))

	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			err := r.policy.Check(r.req)
			if r.line == "-" {
				if err != nil {
					t.Fatalf("Check(%+v) = %v, want nil", r.req, err)
				}
				return
			}
			var refusal *policy.DeniedError
			if !errors.As(err, &refusal) || !errors.Is(err, policy.ErrDenied) {
				t.Fatalf("Check(%+v) = %v, want a DeniedError", r.req, err)
			}
			if r.line != anyLine && refusal.Line != r.line {
				t.Errorf("refused by policy.%s, want policy.%s", refusal.Line, r.line)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error of more than one line: %q", err)
			}
		})
	}
}

// TestDeniedIsOnlyDenied: a refusal by the policy is no other error.
func TestDeniedIsOnlyDenied(t *testing.T) {
	t.Parallel()
	closed := policy.Policy{}
	err := closed.Check(tezos.Michelson{})
	if !errors.Is(err, policy.ErrDenied) || errors.Is(err, tezos.ErrMalformed) {
		t.Errorf("Check: %v, want %v and not %v", err, policy.ErrDenied, tezos.ErrMalformed)
	}
}
