package signer

import (
	"slices"

	"pawl/tezos"
)

// ChooseAfter is at which server of a key a second try would be, after one at before.
func (s *Signer) ChooseAfter(hash tezos.PublicKeyHash, before int) int {
	k := s.keys[hash]
	return slices.Index(k.places, k.choose(k.places[before]))
}

// TakeUpBlobs is what Watch does each second about a keys.json that changed.
func (s *Signer) TakeUpBlobs() { s.takeUpBlobs() }
