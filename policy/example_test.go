package policy_test

import (
	"errors"
	"fmt"

	"pawl/policy"
	"pawl/tezos"
)

// The key may bake and cast one ballot, and nothing else.
func Example() {
	baker := policy.Policy{Baking: true, Voting: []tezos.Ballot{tezos.Yay}}
	for _, request := range []tezos.Request{
		tezos.Consensus{Kind: tezos.Block, Level: 34},
		tezos.Operation{Contents: []tezos.Content{{Kind: tezos.OpBallot, Ballot: tezos.Yay}}},
		tezos.Operation{Contents: []tezos.Content{{Kind: tezos.OpBallot, Ballot: tezos.Nay}}},
		tezos.Operation{Contents: []tezos.Content{{Kind: tezos.OpDrainDelegate}}},
	} {
		fmt.Println(baker.Check(request))
	}
	// Output:
	// <nil>
	// <nil>
	// refused by policy: ballot nay is not allowed (policy.voting)
	// refused by policy: drain_delegate is not allowed (policy.operations)
}

// A refusal names the line of keys.json that decided.
func ExampleDeniedError() {
	var closed policy.Policy
	err := closed.Check(tezos.Consensus{Kind: tezos.Attestation})
	if denied, ok := errors.AsType[*policy.DeniedError](err); ok {
		fmt.Println(denied.Line)
		fmt.Println(errors.Is(err, policy.ErrDenied))
	}
	// Output:
	// baking
	// true
}
