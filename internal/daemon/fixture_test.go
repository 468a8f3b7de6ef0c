package daemon_test

import (
	"pawl/signer/signertest"
)

type card = signertest.Card

var (
	newCard   = signertest.NewCard
	foreign   = signertest.Foreign
	block     = signertest.Block
	vote      = signertest.Vote
	michelson = signertest.Michelson
)
