package ratchet_test

import (
	"pawl/ratchet/ratchettest"
)

type (
	DB      = ratchettest.DB
	options = ratchettest.Options
	card    = ratchettest.Card
	answer  = ratchettest.Answer
)

var (
	mainnet = ratchettest.Mainnet
	baker   = ratchettest.Baker

	keyNumber   = ratchettest.KeyNumber
	block       = ratchettest.Block
	bytesNumber = ratchettest.BytesNumber
	signatureOf = ratchettest.SignatureOf

	newFile        = ratchettest.NewFile
	open           = ratchettest.Open
	openRegistered = ratchettest.OpenRegistered
	register       = ratchettest.Register
	mustSign       = ratchettest.MustSign
	wantRefused    = ratchettest.WantRefused

	newHeldCard = ratchettest.NewHeldCard
	ask         = ratchettest.Ask
	wait        = ratchettest.Wait
)
