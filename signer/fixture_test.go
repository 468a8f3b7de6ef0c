package signer_test

import (
	"testing"

	"pawl/policy"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/signertest"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

var kinds = []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256}

type card = signertest.Card

var (
	newCard       = signertest.NewCard
	foreign       = signertest.Foreign
	newKey        = signertest.NewKey
	block         = signertest.Block
	vote          = signertest.Vote
	michelson     = signertest.Michelson
	newRatchet    = signertest.NewRatchet
	createRatchet = signertest.CreateRatchet
	allowAll      = signertest.AllowAll
	reveal        = tezostest.Reveal
)

func newSigner(t *testing.T, entries ...signer.Entry) *signer.Signer {
	t.Helper()
	s, err := signer.New(entries, signer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// baker is a signer with one baking key of the kind.
func baker(t *testing.T, kind tezos.KeyKind) (*signer.Signer, *grep11.Key) {
	t.Helper()
	c := newCard(t)
	client := c.Dial(t)
	key := newKey(t, client, kind)
	db, _ := newRatchet(t, key)
	return newSigner(t, signer.Entry{Policy: policy.Policy{Baking: true}, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}), key
}
