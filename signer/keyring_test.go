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
	"pawl/signer/hsm"
	"pawl/signer/signertest"
	"pawl/tezos"
)

// refusedKey is a key that its server refuses until it is renewed.
type refusedKey struct {
	hsm.Key
	calls atomic.Int32
}

func (k *refusedKey) Sign(context.Context, tezos.Message) (tezos.Signature, error) {
	k.calls.Add(1)
	return tezos.Signature{}, &hsm.FaultError{Fault: hsm.Unfit, Err: errors.New("another master key")}
}

// TestSwapDuringATry: a key that was refused is asked for in its newer form within the same try, so
// that the caller notices nothing. Its state and its queue stay.
func TestSwapDuringATry(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	whole := newKey(t, client, tezos.P256)
	refused := &refusedKey{Key: whole}
	db, _ := newRatchet(t, whole)
	entry := func(key hsm.Key) []signer.Entry {
		return []signer.Entry{{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}}
	}
	var s *signer.Signer
	var renewed atomic.Int32
	s, err := signer.New(entry(refused), signer.Options{Renew: func(context.Context) {
		renewed.Add(1)
		if err := s.Swap(entry(whole)); err != nil {
			t.Error(err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for level := range uint32(2) {
		if _, err := s.Sign(t.Context(), whole.PublicKey().Hash(), block(level+1, 0, 0)); err != nil {
			t.Errorf("level %d: %v", level+1, err)
		}
	}
	if refused.calls.Load() != 1 || renewed.Load() != 1 {
		t.Errorf("the refused key was asked %d times and renewed %d times, want once each", refused.calls.Load(), renewed.Load())
	}
	if state := s.Servers()[0]; state.Signed != 2 || state.Failed != 0 {
		t.Errorf("%d tries signed and %d failed, want 2 and none", state.Signed, state.Failed)
	}
	if err := s.Swap(entry(refused)); err != nil { // what was learned of the key at the server stays
		t.Fatal(err)
	}
	if err := s.Readiness()[whole.PublicKey().Hash()]; err != nil {
		t.Errorf("readiness after a swap: %v, want what was known before", err)
	}
}

// TestSwapReplacesKeysAndPolicies: what is not in the new keyring is gone.
func TestSwapReplacesKeysAndPolicies(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	stays, goes := newKey(t, client, tezos.Ed25519), newKey(t, client, tezos.P256)
	db, _ := newRatchet(t, stays, goes)
	entry := func(key hsm.Key, allowed policy.Policy) signer.Entry {
		return signer.Entry{Policy: allowed, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}
	}
	s := newSigner(t, entry(stays, allowAll), entry(goes, allowAll))
	signertest.Prove(t, s, 1)
	if err := s.Swap([]signer.Entry{entry(stays, policy.Policy{})}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(t.Context(), goes.PublicKey().Hash(), block(1, 0, 0)); !errors.Is(err, signer.ErrUnknownKey) {
		t.Errorf("the key that is gone: %v, want %v", err, signer.ErrUnknownKey)
	}
	if _, err := s.Sign(t.Context(), stays.PublicKey().Hash(), block(1, 0, 0)); !errors.Is(err, policy.ErrDenied) {
		t.Errorf("the key with another policy: %v, want %v", err, policy.ErrDenied)
	}
	for name, entries := range map[string][]signer.Entry{
		"a key twice":            {entry(stays, allowAll), entry(stays, allowAll)},
		"a key without a server": {{Policy: allowAll, Ratchet: db.Ratchet}},
	} {
		if err := s.Swap(entries); err == nil || len(s.Keys()) != 1 {
			t.Errorf("%s: %v, %d keys; want an error and the keyring as it was", name, err, len(s.Keys()))
		}
	}
}

// TestSwapKeepsAFailure: a ratchet that has failed ends all, also when it was swapped away since.
func TestSwapKeepsAFailure(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	goes, stays := newKey(t, client, tezos.P256), newKey(t, client, tezos.P256)
	fails, path := newRatchet(t, goes)
	well, _ := newRatchet(t, stays)
	entry := func(key hsm.Key, r *ratchet.Ratchet) signer.Entry {
		return signer.Entry{Policy: allowAll, Ratchet: r, Replicas: []signer.Replica{{Key: key, Server: client}}}
	}
	s := newSigner(t, entry(goes, fails.Ratchet), entry(stays, well.Ratchet))
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(t.Context(), goes.PublicKey().Hash(), block(1, 0, 0)); err == nil {
		t.Fatal("signed with a ratchet whose file is gone")
	}
	awaitFailed(t, s)
	if err := s.Swap([]signer.Entry{entry(stays, well.Ratchet)}); err != nil {
		t.Fatal(err)
	}
	if s.Err() == nil {
		t.Error("Failed is closed, and Err is nil")
	}
	if _, err := s.Sign(t.Context(), stays.PublicKey().Hash(), block(1, 0, 0)); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("after the failure: %v, want %v", err, ratchet.ErrStopped)
	}
}
