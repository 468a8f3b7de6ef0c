package signer

// What ends all releases: the failure of one ratchet is that of the signer.

import (
	"fmt"

	"pawl/ratchet"
)

// relayFailure makes the failure of one ratchet that of the signer: after an unknown commit
// outcome nothing more is released for any key.
func (s *Signer) relayFailure(r *ratchet.Ratchet) {
	select {
	case <-r.Failed():
		s.failOnce.Do(func() { s.failure = r.Err(); close(s.failed) })
	case <-s.closed:
	}
}

// Failed is closed when a ratchet has failed: nothing more is released and the process must
// exit, for only a restart can tell what is durable.
func (s *Signer) Failed() <-chan struct{} { return s.failed }

// Err returns why the signer has failed, or nil.
func (s *Signer) Err() error {
	select {
	case <-s.failed: // of a ratchet that was swapped away since, perhaps
		return s.failure
	default:
	}
	for _, r := range s.ring.Load().ratchets {
		if err := r.Err(); err != nil {
			return err
		}
	}
	return nil
}

// stopped is ratchet.ErrStopped, with the reason, once a ratchet has failed.
func (s *Signer) stopped() error {
	if err := s.Err(); err != nil {
		return fmt.Errorf("%w: %w", ratchet.ErrStopped, err)
	}
	return nil
}
