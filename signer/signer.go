// Package signer is the sign path: from a payload to a signature that may
// leave. It keeps the invariant of the program: at most one signature per
// (chain, key, kind, level, round) is ever returned, and only once it is
// durable. It reads keys.json and holds the keys; it knows nothing of HTTP.
package signer

import (
	"context"
	"errors"

	"pawl/ratchet"
	"pawl/tezos"
)

// ErrUnknownKey is returned for a hash that no configured key has.
var ErrUnknownKey = errors.New("unknown key")

// ErrHSM is what every failure to get a good signature from the HSM Is.
var ErrHSM = errors.New("HSM failed")

// Result is what is known of one sign request, filled as far as Sign came,
// also when it failed. The signature is set only when the error is nil.
type Result struct {
	Request tezos.Request
	Digest  tezos.Digest
	ratchet.Release
}

// Sign parses payload, checks the key's policy and, for a consensus request,
// the ratchet, and returns the one signature of its slot. Its errors are
// ErrUnknownKey, tezos.ErrMalformed, policy.ErrDenied, those of
// ratchet.DB.Sign, ErrHSM, or that of ctx: a caller that leaves changes nothing.
func (s *Signer) Sign(ctx context.Context, hash tezos.PublicKeyHash, payload []byte) (res Result, err error) {
	key, err := s.key(hash)
	if err != nil {
		return res, err
	}
	if res.Request, err = tezos.ParseRequest(payload, hash); err != nil {
		return res, err
	}
	message := tezos.NewMessage(payload)
	res.Digest = message.Digest()
	if err = key.Policy.Check(res.Request); err != nil {
		return res, err
	}
	switch req := res.Request.(type) {
	case tezos.Consensus:
		mark := ratchet.Mark{Key: hash, ChainID: req.ChainID, Kind: req.Kind, Level: req.Level, Round: req.Round}
		res.Release, err = key.Ratchet.Sign(ctx, mark, res.Digest, func(ctx context.Context) (tezos.Signature, error) {
			return key.signVerified(ctx, message)
		})
	case tezos.Operation, tezos.Michelson: // no level, nothing to ratchet
		res.Release, err = key.signOperation(ctx, message)
	}
	if stopped := s.stopped(); stopped != nil { // meanwhile, by another key
		res.Release, err = ratchet.Release{}, stopped
	}
	return res, err
}
