package signer

import (
	"context"
	"errors"
	"slices"

	"pawl/tezos"
)

// ChooseAfter is at which server of a key a second try would be, after one at before.
func (s *Signer) ChooseAfter(hash tezos.PublicKeyHash, before int) int {
	k := s.ring.Load().keys[hash]
	return slices.Index(k.replicas, k.choose(k.replicas[before]))
}

// ProbeServers has each server probed once, and gives what Servers then tells of them.
func (s *Signer) ProbeServers(ctx context.Context) error {
	for _, server := range s.ring.Load().servers {
		server.probe(ctx)
	}
	var errs []error
	for _, state := range s.Servers() {
		errs = append(errs, state.Err)
	}
	return errors.Join(errs...)
}

// Again is at which server of a key the second try would be, after one at first that failed with
// err: -1 for none.
func (s *Signer) Again(ctx context.Context, hash tezos.PublicKeyHash, first int, err error) int {
	k := s.ring.Load().keys[hash]
	return slices.Index(k.replicas, k.again(ctx, k.replicas[first], err))
}
