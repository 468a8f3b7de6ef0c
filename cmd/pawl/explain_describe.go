package main

import (
	"fmt"
	"strings"

	"pawl/tezos"
)

// describe prints the kind of the request and what it holds.
func describe(lines *table, req tezos.Request) {
	switch req := req.(type) {
	case tezos.Consensus:
		lines.row("kind", "%v", req.Kind)
		lines.row("chain", "%v", req.ChainID)
		lines.row("level", "%d", req.Level)
		lines.row("round", "%d", req.Round)
		if req.Kind == tezos.Attestation {
			lines.row("dal", "%v", req.DAL)
		}
		if req.Kind == tezos.Block {
			lines.row("liquidity baking", "%v", req.LiquidityBaking)
		}
	case tezos.Operation:
		lines.row("kind", "operation")
		for i, content := range req.Contents {
			lines.row(fmt.Sprintf("content %d", i+1), "%s", describeContent(content))
		}
	case tezos.Michelson:
		lines.row("kind", "packed Michelson data")
	}
}

// describeContent prints one content on a line. What a kind has is printed also when it is 0.
func describeContent(c tezos.Content) string {
	parts := []string{string(c.Kind)}
	if c.Source != (tezos.PublicKeyHash{}) {
		parts[0] += " from " + c.Source.String()
	}
	if c.Destination != "" {
		parts[0] += " to " + c.Destination
	}
	if c.Amount != 0 || hasAmount(c.Kind) {
		parts = append(parts, tez(c.Amount))
	}
	if c.Entrypoint != "" {
		parts = append(parts, call(c))
	}
	switch c.Kind { //nolint:exhaustive // all others are manager operations
	case tezos.OpBallot:
		parts = append(parts, fmt.Sprintf("period %d", c.Period), c.Ballot.String())
	case tezos.OpProposals:
		parts = append(parts, fmt.Sprintf("period %d", c.Period))
	case tezos.OpDrainDelegate, tezos.OpFailingNoop:
	default:
		parts = append(parts, "fee "+tez(c.Fee))
	}
	return strings.Join(parts, ", ")
}

// hasAmount reports whether contents of the kind move tez.
func hasAmount(kind tezos.OperationKind) bool {
	switch kind { //nolint:exhaustive // the others move none
	case tezos.OpTransaction, tezos.OpStake, tezos.OpUnstake, tezos.OpFinalizeUnstake, tezos.OpSetDelegateParameters,
		tezos.OpOrigination:
		return true
	}
	return false
}

// call names the entrypoint of a transaction or of a ticket's destination. Its name is the
// payload's, which may hold anything.
func call(c tezos.Content) string {
	text := fmt.Sprintf("entrypoint %s", strings.Trim(fmt.Sprintf("%q", c.Entrypoint), `"`))
	if c.Kind == tezos.OpTransferTicket {
		return text
	}
	return fmt.Sprintf("%s with %s of parameters", text, counted(c.Parameters, "byte"))
}

// tez prints an amount in mutez, millionths of a tez, as tez: 1.5 tez.
func tez(mutez uint64) string {
	const perTez = 1_000_000
	text := fmt.Sprintf("%d.%06d", mutez/perTez, mutez%perTez)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".") + " tez"
}
