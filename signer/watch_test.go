package signer_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"pawl/signer"
	"pawl/signer/hsm"
	"pawl/signer/signertest"
	"pawl/tezos"
)

// watched is a signer with keys at one server of the test's.
func watched(t *testing.T, at *place, keys ...*troubled) *signer.Signer {
	t.Helper()
	var all []hsm.Key
	var entries []signer.Entry
	for _, key := range keys {
		all = append(all, key)
		entries = append(entries, signer.Entry{Policy: allowAll, Replicas: []signer.Replica{{Key: key, Server: at}}})
	}
	db, _ := newRatchet(t, all...)
	for i := range entries {
		entries[i].Ratchet = db.Ratchet
	}
	return newSigner(t, entries...)
}

// rounds waits until the server was refreshed some times more.
func (p *place) rounds(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-p.refreshed:
		case <-time.After(20 * time.Second):
			t.Fatal("the server is not refreshed")
		}
	}
}

// TestGoodKeysAreNotProbed: a key that has signed costs the HSM nothing until somebody asks.
func TestGoodKeysAreNotProbed(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	var asked atomic.Int32
	whole := newKey(t, c.Dial(t), tezos.P256)
	key := &troubled{Key: whole, sign: func(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
		asked.Add(1)
		return whole.Sign(ctx, m)
	}}
	at := newPlace("a server", hsm.Up)
	s := watched(t, at, key)
	signertest.Watch(t, s.Watch)
	signertest.AwaitReady(t, s, whole.PublicKey().Hash())(true)
	probes := asked.Load()
	at.rounds(t, 4)
	if n := asked.Load() - probes; n != 0 || s.Readiness()[whole.PublicKey().Hash()] != nil {
		t.Errorf("%d probes in three rounds, readiness %v; want none, and ready", n, s.Readiness())
	}
}

// TestKeysInTroubleAreNotProbed: the server itself finds out when that is over.
func TestKeysInTroubleAreNotProbed(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	var asked atomic.Int32
	key := &troubled{Key: newKey(t, c.Dial(t), tezos.P256), sign: func(context.Context, tezos.Message) (tezos.Signature, error) {
		asked.Add(1)
		return tezos.Signature{}, faulty(hsm.Unfit)
	}}
	key.trouble.Store(faulty(hsm.Unfit))
	at := newPlace("a server", hsm.Up)
	signertest.Watch(t, watched(t, at, key).Watch)
	at.rounds(t, 3)
	if n := asked.Load(); n != 0 {
		t.Errorf("%d probes, want none", n)
	}
}

// TestFourProbesAtOnce leave room for signatures.
func TestFourProbesAtOnce(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	var under, most atomic.Int32
	letGo := make(chan struct{})
	var keys []*troubled
	for range 7 {
		whole := newKey(t, client, tezos.P256)
		keys = append(keys, &troubled{Key: whole, sign: func(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
			n := under.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			<-letGo
			under.Add(-1)
			return whole.Sign(ctx, m)
		}})
	}
	at := newPlace("a server", hsm.Up)
	s := watched(t, at, keys...)
	stop := signertest.Watch(t, s.Watch)
	for start := time.Now(); under.Load() < 4; time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%d probes at once, want four", under.Load())
		}
	}
	time.Sleep(100 * time.Millisecond)
	close(letGo)
	for _, key := range keys {
		signertest.AwaitReady(t, s, key.PublicKey().Hash())(true)
	}
	stop()
	if n := most.Load(); n != 4 {
		t.Errorf("%d probes at once, want four", n)
	}
}

// TestRefreshThatFails marks the keys of a server on which no good key signs any more, and no others.
func TestRefreshThatFails(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	down := errors.New("no answer")
	for name, test := range map[string]struct {
		signs [2]bool // whether the keys sign, after both have
		ready [2]bool
	}{
		"both sign":      {[2]bool{true, true}, [2]bool{true, true}},
		"neither signs":  {[2]bool{false, false}, [2]bool{false, false}},
		"the second one": {[2]bool{false, true}, [2]bool{false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := newPlace("a server", hsm.Up)
			var refuses atomic.Bool
			var keys []*troubled
			for i := range 2 {
				whole := newKey(t, client, tezos.P256)
				keys = append(keys, &troubled{Key: whole, sign: func(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
					if refuses.Load() && !test.signs[i] {
						return tezos.Signature{}, errors.New("no signature")
					}
					return whole.Sign(ctx, m)
				}})
			}
			at.refresh = func(context.Context) error {
				if refuses.Load() {
					return down
				}
				return nil
			}
			s := watched(t, at, keys...)
			for _, key := range keys {
				if _, err := s.Sign(t.Context(), key.PublicKey().Hash(), block(1, 0, 0)); err != nil {
					t.Fatal(err)
				}
			}
			refuses.Store(true)
			if !test.signs[0] && test.signs[1] { // somebody has met it
				if _, err := s.Sign(t.Context(), keys[0].PublicKey().Hash(), block(2, 0, 0)); err == nil {
					t.Fatal("signed")
				}
			}
			stop := signertest.Watch(t, s.Watch)
			at.rounds(t, 3)
			stop()
			for i, key := range keys {
				err := s.Readiness()[key.PublicKey().Hash()]
				if (err == nil) != test.ready[i] {
					t.Errorf("key %d: readiness %v, want ready: %v", i, err, test.ready[i])
				}
			}
		})
	}
}

// TestRefreshOfNewKeysThatFails: keys that have signed nothing yet are not blamed, and nothing breaks.
func TestRefreshOfNewKeysThatFails(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	key := &troubled{Key: newKey(t, c.Dial(t), tezos.P256)}
	key.trouble.Store(faulty(hsm.Unfit)) // so that it is not probed
	at := newPlace("a server", hsm.Up)
	at.refresh = func(context.Context) error { return errors.New("no answer") }
	s := watched(t, at, key)
	stop := signertest.Watch(t, s.Watch)
	at.rounds(t, 2)
	stop()
	key.trouble.Store(nil)
	if err := s.Readiness()[key.PublicKey().Hash()]; err == nil || err.Error() != "no probe signature yet" {
		t.Errorf("readiness %v, want that it was not probed yet", err)
	}
}

// TestEndOfTheWatchSaysNothing of a server: neither the refresh nor the probe that it cuts off.
func TestEndOfTheWatchSaysNothing(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	good := &troubled{Key: newKey(t, client, tezos.P256)}
	fresh := &troubled{Key: newKey(t, client, tezos.P256)}
	probing := make(chan struct{}, 100)
	fresh.sign = func(ctx context.Context, _ tezos.Message) (tezos.Signature, error) {
		probing <- struct{}{}
		<-ctx.Done()
		return tezos.Signature{}, ctx.Err()
	}
	at := newPlace("a server", hsm.Up)
	at.refresh = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	s := watched(t, at, good, fresh)
	if _, err := s.Sign(t.Context(), good.PublicKey().Hash(), block(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	stop := signertest.Watch(t, s.Watch)
	<-probing
	at.rounds(t, 1)
	stop()
	if err := s.Readiness()[good.PublicKey().Hash()]; err != nil {
		t.Errorf("the key that signs: readiness %v, want ready", err)
	}
	if err := s.Readiness()[fresh.PublicKey().Hash()]; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the key whose probe was cut off: readiness %v, want nothing of that", err)
	}
}
