package signer_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"pawl/policy"
	"pawl/ratchet"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/hsm"
	"pawl/tezos"
)

func TestSignBakes(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			s, key := baker(t, kind)
			hash := key.PublicKey().Hash()
			for _, payload := range [][]byte{block(100, 1, 0), vote(tezos.Preattestation, 100, 1, 0), vote(tezos.Attestation, 100, 1, 0)} {
				res, err := s.Sign(t.Context(), hash, payload)
				if err != nil {
					t.Fatalf("Sign(%x): %v", payload, err)
				}
				if err := key.PublicKey().Verify(tezos.NewMessage(payload), res.Signature); err != nil || res.Stored {
					t.Errorf("Sign(%x): stored %v, %v; want a fresh signature that verifies", payload, res.Stored, err)
				}
				again, err := s.Sign(t.Context(), hash, payload)
				if err != nil || !again.Stored || again.Signature != res.Signature {
					t.Errorf("the same bytes again: %v, stored %v, %v; want the stored %v", again.Signature, again.Stored, err, res.Signature)
				}
				other := append([]byte(nil), payload...)
				other[125%len(other)] ^= 1 // context or branch
				if kind := payload[0]; kind != 0x11 {
					other = append([]byte(nil), payload...)
					other[79] ^= 1
				}
				if res, err := s.Sign(t.Context(), hash, other); !errors.Is(err, ratchet.ErrRefused) || res.Signature != (tezos.Signature{}) {
					t.Errorf("other bytes for the slot: %v, %v; want ErrRefused and no signature", res.Signature, err)
				}
			}
		})
	}
}

// TestSignIsLowS: the card makes about half of its ECDSA signatures with a high S.
func TestSignIsLowS(t *testing.T) {
	t.Parallel()
	for _, kind := range []tezos.KeyKind{tezos.Secp256k1, tezos.P256} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			s, key := baker(t, kind)
			for level := range uint32(64) {
				res, err := s.Sign(t.Context(), key.PublicKey().Hash(), vote(tezos.Attestation, 1+level, 0, 0))
				if err != nil {
					t.Fatal(err)
				}
				if res.Signature != res.Signature.LowS() {
					t.Fatalf("signature %d has a high S: %v", level, res.Signature)
				}
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := newKey(t, client, tezos.Ed25519)
	db, _ := newRatchet(t) // key is not registered
	hash := key.PublicKey().Hash()
	s := newSigner(t, signer.Entry{Policy: policy.Policy{Baking: true}, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})
	var signed atomic.Int32
	c.Card.OnSign = func(_, _ []byte) { signed.Add(1) }

	for name, test := range map[string]struct {
		hash    tezos.PublicKeyHash
		payload []byte
		want    error
	}{
		"unknown key":        {tezos.PublicKeyHash{1}, block(1, 0, 0), signer.ErrUnknownKey},
		"empty payload":      {hash, nil, tezos.ErrMalformed},
		"payload cut short":  {hash, block(1, 0, 0)[:197], tezos.ErrMalformed},
		"policy":             {hash, reveal(key.PublicKey()), policy.ErrDenied},
		"not registered":     {hash, block(1, 0, 0), ratchet.ErrRefused},
		"malformed, unknown": {tezos.PublicKeyHash{1}, nil, signer.ErrUnknownKey},
	} {
		if res, err := s.Sign(t.Context(), test.hash, test.payload); !errors.Is(err, test.want) || res.Signature != (tezos.Signature{}) {
			t.Errorf("%s: %v, %v; want %v and no signature", name, res.Signature, err, test.want)
		}
	}
	if n := signed.Load(); n != 0 {
		t.Errorf("the card made %d signatures for refused requests", n)
	}
}

// TestSignOperation: operations have no level, so nothing holds a second one back.
func TestSignOperation(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := newKey(t, client, tezos.P256)
	db, _ := newRatchet(t)
	hash := key.PublicKey().Hash()
	s := newSigner(t, signer.Entry{
		Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}},
		Policy: policy.Policy{Operations: []tezos.OperationKind{tezos.OpReveal}, Michelson: true},
	})
	for _, payload := range [][]byte{reveal(key.PublicKey()), reveal(key.PublicKey()), {5, 0, 1}} {
		res, err := s.Sign(t.Context(), hash, payload)
		if err == nil {
			err = key.PublicKey().Verify(tezos.NewMessage(payload), res.Signature)
		}
		if err != nil || res.Signature != res.Signature.LowS() {
			t.Errorf("Sign(%x): %v, %v", payload, res.Signature, err)
		}
	}
	if held, err := s.Ratchets(t.Context()); err != nil || len(held.Marks) != 0 {
		t.Errorf("marks of operations: %v, %v", held.Marks, err)
	}
}

// spoiler is a key whose first signatures or calls go wrong: a fault that the
// software card has no switch for.
type spoiler struct {
	*grep11.Key
	spoil func(call int, sig tezos.Signature) (tezos.Signature, error)
	calls atomic.Int32
}

func (s *spoiler) Sign(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	sig, err := s.Key.Sign(ctx, m)
	if err != nil {
		return sig, err
	}
	return s.spoil(int(s.calls.Add(1)), sig)
}

func flipped(t *testing.T, sig tezos.Signature, kind tezos.KeyKind, bit int) tezos.Signature {
	t.Helper()
	raw := append([]byte(nil), sig.Bytes()...)
	raw[bit/8] ^= 1 << (bit % 8)
	bad, err := tezos.NewSignature(kind, raw)
	if err != nil {
		t.Fatal(err)
	}
	return bad
}

// TestBadSignatureIsNotReleased: a signature that does not verify is asked for
// once more, never stored, never released, and leaves the slot free.
func TestBadSignatureIsNotReleased(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			c := newCard(t)
			client := c.Dial(t)
			key := &spoiler{Key: newKey(t, client, kind)}
			db, _ := newRatchet(t, key)
			hash := key.PublicKey().Hash()
			s := newSigner(t, signer.Entry{Policy: policy.Policy{Baking: true, Operations: []tezos.OperationKind{tezos.OpReveal}}, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})

			key.spoil = func(_ int, sig tezos.Signature) (tezos.Signature, error) { return flipped(t, sig, kind, 300), nil }
			for _, payload := range [][]byte{block(10, 0, 1), reveal(key.PublicKey())} {
				res, err := s.Sign(t.Context(), hash, payload)
				if !errors.Is(err, signer.ErrHSM) || !errors.Is(err, tezos.ErrBadSignature) || res.Signature != (tezos.Signature{}) {
					t.Errorf("always bad: %v, %v; want ErrHSM and no signature", res.Signature, err)
				}
				if n := key.calls.Swap(0); n != 2 {
					t.Errorf("%d calls, want 2: one more try", n)
				}
			}
			if held, err := s.Ratchets(t.Context()); err != nil || len(held.Marks) != 0 {
				t.Errorf("a bad signature left marks %v, %v", held.Marks, err)
			}

			key.spoil = func(call int, sig tezos.Signature) (tezos.Signature, error) {
				if call == 1 {
					return flipped(t, sig, kind, 17), nil
				}
				return sig, nil
			}
			payload := block(10, 0, 2) // other bytes: the failed request burnt nothing
			res, err := s.Sign(t.Context(), hash, payload)
			if err == nil {
				err = key.PublicKey().Verify(tezos.NewMessage(payload), res.Signature)
			}
			if err != nil {
				t.Errorf("bad once: %v; want a good signature from the second try", err)
			}
		})
	}
}

func TestTransientFaultIsTriedAgain(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	transient := &hsm.FaultError{Fault: hsm.Transient, Err: errors.New("no connection")}
	fatal := &hsm.FaultError{Fault: hsm.Rejected, Err: errors.New("no such key")}
	for name, test := range map[string]struct {
		faults []error // of the calls in their order
		calls  int32
		good   bool
	}{
		"transient once":  {[]error{transient}, 2, true},
		"transient twice": {[]error{transient, transient, nil}, 2, false},
		"fatal":           {[]error{fatal}, 1, false},
	} {
		key := &spoiler{Key: newKey(t, client, tezos.Ed25519)}
		key.spoil = func(call int, sig tezos.Signature) (tezos.Signature, error) {
			if call <= len(test.faults) && test.faults[call-1] != nil {
				return tezos.Signature{}, test.faults[call-1]
			}
			return sig, nil
		}
		db, _ := newRatchet(t, key)
		s := newSigner(t, signer.Entry{Policy: policy.Policy{Baking: true}, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key}}})
		_, err := s.Sign(t.Context(), key.PublicKey().Hash(), block(10, 0, 1))
		if (err == nil) != test.good || key.calls.Load() != test.calls {
			t.Errorf("%s: %v after %d calls; want good %v after %d", name, err, key.calls.Load(), test.good, test.calls)
		}
		if err != nil && !errors.Is(err, signer.ErrHSM) {
			t.Errorf("%s: %v; want ErrHSM", name, err)
		}
	}
}

// TestFailedRatchetStopsEveryKey: once the outcome of a commit is unknown,
// nothing is released for any key, whichever ratchet it has.
func TestFailedRatchetStopsEveryKey(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	entry := func() (signer.Entry, string) {
		key := newKey(t, client, tezos.Ed25519)
		db, path := newRatchet(t, key)
		return signer.Entry{Policy: policy.Policy{Baking: true, Michelson: true}, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}, path
	}
	broken, path := entry()
	whole, _ := entry()
	s := newSigner(t, broken, whole)
	if err := os.Rename(path, path+".gone"); err != nil {
		t.Fatal(err)
	}
	if res, err := s.Sign(t.Context(), broken.Replicas[0].Key.PublicKey().Hash(), block(1, 0, 0)); !errors.Is(err, ratchet.ErrStopped) || res.Signature != (tezos.Signature{}) {
		t.Fatalf("Sign over a ratchet that was moved away: %v, %v; want ErrStopped", res.Signature, err)
	}
	awaitFailed(t, s)
	if s.Err() == nil {
		t.Error("Failed is closed and Err is nil")
	}
	for _, payload := range [][]byte{block(1, 0, 0), {5, 0, 1}} {
		if _, err := s.Sign(t.Context(), whole.Replicas[0].Key.PublicKey().Hash(), payload); !errors.Is(err, ratchet.ErrStopped) {
			t.Errorf("Sign of another key after a failure: %v; want ErrStopped", err)
		}
	}
	for hash, err := range s.Readiness() {
		if err == nil {
			t.Errorf("key %v is ready after a failure", hash)
		}
	}
}
