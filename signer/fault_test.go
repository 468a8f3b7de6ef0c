package signer_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/hsm"
	"pawl/signer/signertest"
	"pawl/softcard"
	"pawl/tezos"
)

// held is a key whose signatures wait until they are let go.
type held struct {
	*grep11.Key
	called chan context.Context // has room for all calls
	letGo  chan struct{}        // closed to let all go
}

func (h *held) Sign(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	h.called <- ctx
	select {
	case <-h.letGo:
		return h.Key.Sign(ctx, m)
	case <-ctx.Done():
		return tezos.Signature{}, ctx.Err()
	}
}

func newHeld(t *testing.T, client *grep11.Client) *held {
	t.Helper()
	return &held{Key: newKey(t, client, tezos.Ed25519), called: make(chan context.Context, 1000), letGo: make(chan struct{})}
}

// heldSigner is a signer with a held key that may sign everything.
func heldSigner(t *testing.T) (*signer.Signer, *held) {
	t.Helper()
	c := newCard(t)
	client := c.Dial(t)
	key := newHeld(t, client)
	db, _ := newRatchet(t, key)
	s := newSigner(t, signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})
	return s, key
}

// answer is what Sign gives to one caller.
type answer struct {
	res signer.Result
	err error
}

func ask(ctx context.Context, s *signer.Signer, key hsm.Key, payload []byte) <-chan answer {
	got := make(chan answer, 1)
	go func() {
		res, err := s.Sign(ctx, key.PublicKey().Hash(), payload)
		got <- answer{res, err}
	}()
	return got
}

// TestNothingLeavesAfterAFailure: requests of other keys that are with the HSM
// when a ratchet fails get no signature either.
func TestNothingLeavesAfterAFailure(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	broken := newKey(t, client, tezos.Ed25519)
	brokenDB, path := newRatchet(t, broken)
	other := newHeld(t, client)
	otherDB, _ := newRatchet(t, other)
	s := newSigner(t,
		signer.Entry{Policy: allowAll, Ratchet: brokenDB.Ratchet, Replicas: []signer.Replica{{Key: broken, Server: client}}},
		signer.Entry{Policy: allowAll, Ratchet: otherDB.Ratchet, Replicas: []signer.Replica{{Key: other, Server: client}}})

	flying := []<-chan answer{ask(t.Context(), s, other, block(1, 0, 0)), ask(t.Context(), s, other, michelson(1))}
	<-other.called
	<-other.called
	if err := os.Rename(path, path+".gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(t.Context(), broken.PublicKey().Hash(), block(1, 0, 0)); !errors.Is(err, ratchet.ErrStopped) {
		t.Fatalf("Sign over a ratchet that was moved away: %v; want ErrStopped", err)
	}
	close(other.letGo)
	for i, f := range flying {
		if got := <-f; !errors.Is(got.err, ratchet.ErrStopped) || got.res.Signature != (tezos.Signature{}) {
			t.Errorf("request %d that was in flight: %v, %v; want ErrStopped and no signature", i, got.res.Signature, got.err)
		}
	}
}

// TestOperationsWaitInTurn: one operation of a key is with the HSM, eight wait,
// the next is sent away, and blocks do not wait behind them.
func TestOperationsWaitInTurn(t *testing.T) {
	t.Parallel()
	s, key := heldSigner(t)

	flying := []<-chan answer{ask(t.Context(), s, key, michelson(0))}
	<-key.called
	full := 0
	var sent sync.WaitGroup
	var mu sync.Mutex
	for n := range byte(30) {
		f := ask(t.Context(), s, key, michelson(1+n))
		sent.Go(func() {
			got := <-f
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(got.err, ratchet.ErrQueueFull) {
				full++
			} else if got.err != nil {
				t.Errorf("operation %d: %v", n, got.err)
			}
		})
	}
	baked := ask(t.Context(), s, key, block(1, 0, 0))
	<-key.called // the block is with the HSM while the operations wait
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		mu.Lock()
		done := full == 22
		mu.Unlock()
		if done {
			break
		}
		if time.Since(start) > 20*time.Second {
			t.Fatal("the queue of operations sends nobody away")
		}
	}
	if n := len(key.called); n != 0 {
		t.Errorf("%d more operations are with the HSM, want one at a time", n)
	}
	close(key.letGo)
	sent.Wait()
	for _, f := range append(flying, baked) {
		if got := <-f; got.err != nil {
			t.Errorf("%v; want a signature", got.err)
		}
	}
	if full != 22 {
		t.Errorf("%d of 30 were sent away, want 22", full)
	}
}

// TestLeavingIsNoFault: a client who hangs up during an operation is neither an
// HSM failure nor a reason for the key to be unready.
func TestLeavingIsNoFault(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := newHeld(t, client)
	db, _ := newRatchet(t, key)
	var tries atomic.Int32
	s, err := signer.New([]signer.Entry{{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}},
		signer.Options{OnSign: func(tezos.PublicKeyHash, time.Duration, error) { tries.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	before := s.Readiness()[key.PublicKey().Hash()]
	ctx, leave := context.WithCancel(t.Context())
	flying := ask(ctx, s, key, michelson(1))
	<-key.called
	leave()
	if got := <-flying; !errors.Is(got.err, context.Canceled) || errors.Is(got.err, signer.ErrHSM) {
		t.Errorf("the caller who left: %v; want its own error and not ErrHSM", got.err)
	}
	if after := s.Readiness()[key.PublicKey().Hash()]; tries.Load() != 0 || !errors.Is(after, before) {
		t.Errorf("%d tries counted, readiness %v; want none, and %v as before", tries.Load(), after, before)
	}
}

// TestTryHasTwoSeconds: a try has two seconds, and a flight or an operation five.
func TestTryHasTwoSeconds(t *testing.T) {
	t.Parallel()
	s, key := heldSigner(t)
	start := time.Now()
	for _, payload := range [][]byte{block(1, 0, 0), michelson(1)} {
		got := ask(t.Context(), s, key, payload)
		ctx := <-key.called
		if deadline, bounded := ctx.Deadline(); !bounded || deadline.After(time.Now().Add(2*time.Second)) {
			t.Errorf("payload %x: deadline %v, bounded %v; want two seconds for a try", payload, time.Until(deadline), bounded)
		}
		if answer := <-got; !errors.Is(answer.err, signer.ErrHSM) {
			t.Errorf("payload %x: %v; want ErrHSM", payload, answer.err)
		}
	}
	if elapsed := time.Since(start); elapsed < 2*time.Second {
		t.Errorf("both gave up after %v, before one try was over", elapsed)
	}
}

// TestPanicIsAnError: a panic ends one request, not the daemon, and the slot is
// free again.
func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := &spoiler{Key: newKey(t, client, tezos.P256)}
	var panics atomic.Bool
	panics.Store(true)
	key.spoil = func(_ int, sig tezos.Signature) (tezos.Signature, error) {
		if panics.Load() {
			var nothing *spoiler
			_ = nothing.calls.Load() // a nil pointer
		}
		return sig, nil
	}
	db, _ := newRatchet(t, key)
	s := newSigner(t, signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})
	for _, payload := range [][]byte{block(1, 0, 1), michelson(1)} {
		if res, err := s.Sign(t.Context(), key.PublicKey().Hash(), payload); !errors.Is(err, signer.ErrHSM) || res.Signature != (tezos.Signature{}) {
			t.Errorf("payload %x: %v, %v; want ErrHSM and no signature", payload, res.Signature, err)
		}
	}
	panics.Store(false)
	if _, err := s.Sign(t.Context(), key.PublicKey().Hash(), block(1, 0, 2)); err != nil {
		t.Errorf("after the panic: %v", err)
	}
}

// watch runs Watch for the test and returns a function that waits for a state.
func watch(t *testing.T, s *signer.Signer, key tezos.PublicKeyHash) (waitFor func(ready bool)) {
	t.Helper()
	signertest.Watch(t, s.Watch)
	return signertest.AwaitReady(t, s, key)
}

// TestBadProbeIsNotReady: a key whose probe signatures do not verify is not ready.
func TestBadProbeIsNotReady(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := &spoiler{Key: newKey(t, client, tezos.Ed25519)}
	key.spoil = func(_ int, sig tezos.Signature) (tezos.Signature, error) {
		return flipped(t, sig, tezos.Ed25519, 9), nil
	}
	db, _ := newRatchet(t, key)
	s := newSigner(t, signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})
	hash := key.PublicKey().Hash()
	watch(t, s, hash)
	for start := time.Now(); key.calls.Load() < 2; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("the key is not probed again")
		}
	}
	if err := s.Readiness()[hash]; !errors.Is(err, tezos.ErrBadSignature) {
		t.Errorf("readiness: %v; want ErrBadSignature", err)
	}
}

// TestMechanismListAlone: a server that tells no mechanisms and signs is ready.
func TestMechanismListAlone(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := newKey(t, client, tezos.Ed25519)
	db, _ := newRatchet(t, key)
	s := newSigner(t, signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})
	hash := key.PublicKey().Hash()
	watch(t, s, hash)(true)
	fault := &softcard.Fault{Call: "GetMechanismList", Err: softcard.Unavailable()}
	c.Card.SetFaults(fault)
	for start := time.Now(); fault.Hits() < 3; time.Sleep(time.Millisecond) {
		if err := s.Readiness()[hash]; err != nil {
			t.Fatalf("readiness: %v; every signature can be had", err)
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("the server was asked %d times, want 3", fault.Hits())
		}
	}
}

// TestOvertakenProbe: a good probe says nothing of a signature that failed after the
// probe had begun.
func TestOvertakenProbe(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := &spoiler{Key: newKey(t, client, tezos.Ed25519)}
	letGo, end := make(chan struct{}), make(chan struct{})
	failure := errors.New("the HSM is tired")
	key.spoil = func(n int, sig tezos.Signature) (tezos.Signature, error) {
		switch n {
		case 1: // the probe
			<-letGo
		case 2: // the signature
			return tezos.Signature{}, failure
		default: // the next probe
			<-end
		}
		return sig, nil
	}
	db, _ := newRatchet(t, key)
	s := newSigner(t, signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})
	hash := key.PublicKey().Hash()
	watch(t, s, hash)
	defer close(end)
	called := func(n int32) {
		t.Helper()
		for start := time.Now(); key.calls.Load() < n; time.Sleep(time.Millisecond) {
			if time.Since(start) > 20*time.Second {
				t.Fatalf("the key was asked %d times, want %d", key.calls.Load(), n)
			}
		}
	}
	called(1)
	if _, err := s.Sign(t.Context(), hash, block(1, 0, 0)); !errors.Is(err, failure) {
		t.Fatalf("Sign: %v, want %v", err, failure)
	}
	close(letGo)
	called(3)
	if err := s.Readiness()[hash]; !errors.Is(err, failure) {
		t.Errorf("readiness after the older probe: %v, want %v", err, failure)
	}
}

// TestFullDiskIsNotReady: a disk that takes no mark makes its keys unready, and
// they are ready again by themselves when it does.
func TestFullDiskIsNotReady(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := unix.Mount("pawl-test", folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=256k"); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(folder, unix.MNT_DETACH) })
	c := newCard(t)
	client := c.Dial(t)
	key := newKey(t, client, tezos.Ed25519)
	path := filepath.Join(folder, "ratchet.db")
	db := createRatchet(t, path, key)
	s := newSigner(t, signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})
	hash := key.PublicKey().Hash()
	waitFor := watch(t, s, hash)
	waitFor(true)

	filler := filepath.Join(folder, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	var err error
	for level := uint32(1); err == nil && level < 1000; level++ {
		_, err = s.Sign(t.Context(), hash, block(level, 0, 0))
	}
	if !errors.Is(err, ratchet.ErrCommit) {
		t.Fatalf("Sign on a full disk: %v; want ErrCommit", err)
	}
	waitFor(false)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	waitFor(true)
	if s.Err() != nil {
		t.Errorf("a full disk has ended the signer: %v", s.Err())
	}
}

// TestRestartedCardLosesNoSlot: a baker asks once, so a request that meets a card
// in mid-restart waits for it.
func TestRestartedCardLosesNoSlot(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := newKey(t, client, tezos.P256)
	db, _ := newRatchet(t, key)
	s := newSigner(t, signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})
	c.Stop()
	for _, payload := range [][]byte{block(1, 0, 0), michelson(1)} {
		flying := ask(t.Context(), s, key, payload)
		time.Sleep(200 * time.Millisecond) // the first try has failed meanwhile
		c.Start(t)
		if got := <-flying; got.err != nil {
			t.Errorf("payload %x while the card restarts: %v; want a signature", payload, got.err)
		}
		c.Stop()
	}
}

// TestOperationHasFiveSeconds: waiting for the turn counts. Behind two operations
// that hang for two seconds each, the third has one left.
func TestOperationHasFiveSeconds(t *testing.T) {
	t.Parallel()
	s, key := heldSigner(t)
	var flying []<-chan answer
	for n := range byte(3) {
		flying = append(flying, ask(t.Context(), s, key, michelson(n)))
	}
	<-key.called
	<-key.called
	ctx := <-key.called
	if deadline, bounded := ctx.Deadline(); !bounded || time.Until(deadline) > 1500*time.Millisecond {
		t.Errorf("the third operation has %v, bounded %v; want what is left of five seconds", time.Until(deadline), bounded)
	}
	for _, f := range flying {
		if got := <-f; got.err == nil {
			t.Error("an operation that hangs was signed")
		}
	}
}
