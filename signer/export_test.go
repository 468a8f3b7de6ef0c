package signer

import (
	"context"
	"errors"
	"slices"

	"pawl/tezos"
)

// ChooseAfter is at which server of a key a second try would be, after one at before.
func (s *Signer) ChooseAfter(hash tezos.PublicKeyHash, before int) int {
	k := s.keys[hash]
	return slices.Index(k.places, k.choose(k.places[before]))
}

// TakeUpBlobs is what Watch does each second about a keys.json that changed.
func (s *Signer) TakeUpBlobs() { s.lookAtConfig(context.Background(), true) }

// ProbeServers has each server probed once, and gives what Servers then tells of them.
func (s *Signer) ProbeServers(ctx context.Context) error {
	var errs []error
	for _, server := range s.servers {
		server.probe(ctx)
		_, err := server.trouble()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
