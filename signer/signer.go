// Package signer is the sign path: from a payload to a signature that may leave. It keeps the
// invariant of the program: at most one signature per (chain, key, kind, level, round) is ever
// returned, and only once it is durable. It knows neither HTTP nor any HSM: keys are behind
// package hsm, marks behind package ratchet.
//
// Read Sign first, then signVerified in try.go.
package signer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"pawl/ratchet"
	"pawl/tezos"
)

// ErrUnknownKey is returned for a hash that no key in the keyring has.
var ErrUnknownKey = errors.New("unknown key")

// ErrHSM is what every failure to get a good signature from the HSM Is.
var ErrHSM = errors.New("HSM failed")

// Result is what is known of one sign request, filled as far as Sign came, also when it failed.
// The signature is set only when the error is nil.
type Result struct {
	Request tezos.Request
	Digest  tezos.Digest
	ratchet.Release
}

// Options are hooks of a signer. Each may be left out.
type Options struct {
	// Log gets an error for each bad signature of an HSM, and a line when a server is left out
	// or in use again. It must not block: signatures would wait for it.
	Log *slog.Logger
	// OnSign is told of each attempt at an HSM signature. It must be quick.
	OnSign func(key tezos.PublicKeyHash, elapsed time.Duration, err error)
	// Renew is called when a server refuses a key: its configuration may be newer than the
	// keyring. It returns when the configuration was looked at and the keyring swapped if need
	// be, or when ctx is done.
	Renew func(ctx context.Context)
}

// Signer signs for the keys of its keyring. It is safe for concurrent use.
type Signer struct {
	options Options
	ring    atomic.Pointer[keyring]
	turn    atomic.Uint64 // of the servers, for the next try

	failed   chan struct{} // closed when a ratchet has failed
	failOnce sync.Once
	failure  error // set before failed is closed
	closed   chan struct{}
	close    sync.Once
	swapping sync.Mutex
}

// New returns a signer for entries and takes over what they hold: Close ends it.
func New(entries []Entry, options Options) (*Signer, error) {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	s := &Signer{options: options, failed: make(chan struct{}), closed: make(chan struct{})}
	s.ring.Store(&keyring{})
	if err := s.Swap(entries); err != nil {
		return nil, err
	}
	return s, nil
}

// Sign parses payload, checks the key's policy and, for a consensus request, the ratchet, and
// returns the one signature of its slot. Its errors are ErrUnknownKey, tezos.ErrMalformed,
// policy.ErrDenied, those of ratchet.Ratchet.Sign, ErrHSM, or that of ctx: a caller that leaves
// changes nothing.
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
	if err = key.policy.Check(res.Request); err != nil {
		return res, err
	}
	switch req := res.Request.(type) {
	case tezos.Consensus:
		mark := ratchet.Mark{Key: hash, ChainID: req.ChainID, Kind: req.Kind, Level: req.Level, Round: req.Round}
		res.Release, err = key.ratchet.Sign(ctx, mark, message, key.signVerified)
	case tezos.Operation, tezos.Michelson: // no level, nothing to ratchet
		res.Release, err = key.signOperation(ctx, message)
	}
	if stopped := s.stopped(); stopped != nil { // meanwhile, by another key
		res.Release, err = ratchet.Release{}, stopped
	}
	return res, err
}

// Close ends the ratchets (cleanly, after what is in flight) and the connections to servers.
// Sign is not to be called any more.
func (s *Signer) Close() error {
	var errs []error
	s.close.Do(func() {
		close(s.closed)
		ring := s.ring.Load()
		for _, r := range ring.ratchets {
			errs = append(errs, r.Close())
		}
		for _, server := range ring.servers {
			errs = append(errs, server.hsm.Close())
		}
	})
	return errors.Join(errs...)
}
