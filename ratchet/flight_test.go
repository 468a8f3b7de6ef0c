package ratchet_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"pawl/ratchet"
	"pawl/tezos"
)

// heldCard signs when it is told to.
type heldCard struct {
	card
	called chan struct{} // one message for each call
	answer chan error    // one for each call to return
}

func newHeldCard() *heldCard {
	return &heldCard{called: make(chan struct{}, 100), answer: make(chan error, 100)}
}

func (c *heldCard) sign(d tezos.Digest) ratchet.SignFunc {
	return func(ctx context.Context) (tezos.Signature, error) {
		c.called <- struct{}{}
		select {
		case err := <-c.answer:
			if err != nil {
				return tezos.Signature{}, err
			}
		case <-ctx.Done():
		}
		if err := ctx.Err(); err != nil {
			return tezos.Signature{}, err
		}
		return c.card.sign(d)(ctx)
	}
}

type answer struct {
	ratchet.Release
	err error
}

// ask signs on a goroutine of its own.
func ask(ctx context.Context, db *ratchet.DB, m ratchet.Mark, d tezos.Digest, sign ratchet.SignFunc) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		release, err := db.Sign(ctx, m, d, sign)
		answers <- answer{release, err}
	}()
	return answers
}

// TestTenThousandConflicts has 10,000 different payloads ask for one slot.
func TestTenThousandConflicts(t *testing.T) {
	t.Parallel()
	const payloads = 10_000
	path := newFile(t)
	db := open(t, path, ratchet.Options{})
	register(t, db, baker, mainnet, 0)
	var c card
	winners := conflict(t, db, payloads, &c)
	if len(winners) != 1 {
		t.Fatalf("%d payloads of one slot were signed: %v", len(winners), winners)
	}
	if calls := c.calls.Load(); calls != 1 {
		t.Errorf("%d sign calls, want 1", calls)
	}
	abandon(t, db)

	db = open(t, path, ratchet.Options{})
	var later card
	for payload, first := range winners {
		release, err := db.Sign(t.Context(), block(100, 0), bytesNumber(payload), later.sign(bytesNumber(payload)))
		if err != nil || release.Signature != first {
			t.Errorf("after a kill payload %d got %+v, %v, want %s", payload, release, err, first)
		}
	}
	for payload, second := range conflict(t, db, payloads, &later) {
		if first, won := winners[payload]; !won || second != first {
			t.Errorf("after a kill payload %d got %s, before it %s", payload, second, first)
		}
	}
	if calls := later.calls.Load(); calls != 0 {
		t.Errorf("%d sign calls after a kill, want none", calls)
	}
}

// conflict asks for all payloads at once and returns those that were signed.
func conflict(t *testing.T, db *ratchet.DB, payloads int, c *card) map[int]tezos.Signature {
	t.Helper()
	var (
		mu      sync.Mutex
		winners = make(map[int]tezos.Signature)
		all     sync.WaitGroup
		start   = make(chan struct{})
	)
	for payload := range payloads {
		all.Go(func() {
			<-start
			d := bytesNumber(payload)
			release, err := db.Sign(t.Context(), block(100, 0), d, c.sign(d))
			switch {
			case err == nil:
				mu.Lock()
				defer mu.Unlock()
				winners[payload] = release.Signature
			case !errors.Is(err, ratchet.ErrRefused) && !errors.Is(err, ratchet.ErrQueueFull):
				t.Errorf("payload %d: %v", payload, err)
			}
		})
	}
	close(start)
	all.Wait()
	return winners
}

func TestThousandIdenticalShareOneSignature(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, ratchet.Options{})
	c := newHeldCard()
	m, d := block(100, 0), bytesNumber(0)
	answers := make([]<-chan answer, 1000)
	for i := range answers {
		answers[i] = ask(t.Context(), db, m, d, c.sign(d))
	}
	<-c.called
	c.answer <- nil
	var first tezos.Signature
	for i, pending := range answers {
		got := <-pending
		if i == 0 {
			first = got.Signature
		}
		if got.err != nil || got.Signature != first {
			t.Fatalf("caller %d: got %s, %v, want %s", i, got.Signature, got.err, first)
		}
	}
	if calls := c.calls.Load(); calls != 1 {
		t.Errorf("%d sign calls for the same bytes, want 1", calls)
	}
}

func TestFailedFlightFailsAllOnBoard(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, ratchet.Options{})
	c := newHeldCard()
	m, d := block(100, 0), bytesNumber(0)
	first := ask(t.Context(), db, m, d, c.sign(d))
	<-c.called
	joined := board(t, db, m, d, func(context.Context) (tezos.Signature, error) {
		return tezos.Signature{}, errors.New("the second caller signed by itself")
	})
	errHSM := errors.New("CKR_SESSION_HANDLE_INVALID")
	c.answer <- errHSM
	for i, got := range []answer{<-first, <-joined} {
		if !errors.Is(got.err, errHSM) {
			t.Errorf("caller %d: got %v, want %v", i, got.err, errHSM)
		}
	}
}

// board joins or queues a flight before it returns, and waits on a goroutine.
func board(t *testing.T, db *ratchet.DB, m ratchet.Mark, d tezos.Digest, sign ratchet.SignFunc) <-chan answer {
	t.Helper()
	wait, err := db.Board(t.Context(), m, d, sign)
	if err != nil {
		t.Fatalf("boarding %+v: %v", m, err)
	}
	answers := make(chan answer, 1)
	go func() {
		release, err := wait()
		answers <- answer{release, err}
	}()
	return answers
}

func TestQueueHoldsEightOtherPayloads(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, ratchet.Options{})
	c := newHeldCard()
	flying := ask(t.Context(), db, block(100, 0), bytesNumber(0), c.sign(bytesNumber(0)))
	<-c.called
	var waiting []<-chan answer
	for i := range ratchet.MaxWaiting {
		d := bytesNumber(i + 1)
		waiting = append(waiting, board(t, db, block(101+int32(i), 0), d, c.sign(d)))
	}
	var late card
	if _, err := db.Sign(t.Context(), block(200, 0), bytesNumber(200), late.sign(bytesNumber(200))); !errors.Is(err, ratchet.ErrQueueFull) {
		t.Errorf("the ninth payload in the queue: got %v, want %v", err, ratchet.ErrQueueFull)
	}
	joined := board(t, db, block(101, 0), bytesNumber(1), late.sign(bytesNumber(1)))
	for _, kind := range []tezos.Kind{tezos.Preattestation, tezos.Attestation} {
		m := block(100, 0)
		m.Kind = kind
		mustSign(t, db, m, bytesNumber(300)) // not held up by a slow block
	}
	for range 1 + len(waiting) {
		c.answer <- nil
	}
	if got := <-flying; got.err != nil {
		t.Errorf("the first payload: %v", got.err)
	}
	for i, pending := range waiting {
		if got := <-pending; got.err != nil {
			t.Errorf("waiting payload %d: %v", i, got.err)
		}
	}
	if got := <-joined; got.err != nil {
		t.Errorf("a caller with the bytes of a waiting payload: %v", got.err)
	}
	if late.calls.Load() != 0 {
		t.Error("a caller with the bytes of a waiting payload signed by itself")
	}
	mustSign(t, db, block(201, 0), bytesNumber(201))
	if db.Lines() != 0 {
		t.Errorf("%d slot keys are still taken, want none", db.Lines())
	}
}

// TestCallerWhoLeavesChangesNothing: who joined a flight is free at once; who flies
// it brings it to its end, the signature is stored, and those who joined get it.
func TestCallerWhoLeavesChangesNothing(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, ratchet.Options{})
	c := newHeldCard()
	m, d := block(100, 0), bytesNumber(0)
	ctx, leave := context.WithCancel(t.Context())
	first := ask(ctx, db, m, d, c.sign(d))
	<-c.called
	joined := board(t, db, m, d, c.sign(d))
	leaving := ask(ctx, db, m, d, c.sign(d))
	other := board(t, db, m, bytesNumber(1), c.sign(bytesNumber(1)))
	leave()
	if got := <-leaving; !errors.Is(got.err, context.Canceled) || got.Signature != (tezos.Signature{}) {
		t.Errorf("the caller that joined and left got %+v, want %v", got, context.Canceled)
	}
	c.answer <- nil
	got := <-joined
	if got.err != nil || c.calls.Load() != 1 {
		t.Fatalf("the caller that joined got %v after %d sign calls, want a signature after 1", got.err, c.calls.Load())
	}
	if flew := <-first; flew.err != nil || flew.Signature != got.Signature {
		t.Errorf("the caller that left in flight got %+v, want %s", flew, got.Signature)
	}
	wantRefused(t, (<-other).err, ratchet.OtherBytes, "block level 100 and round 0 already signed with different data")
	if again := mustSign(t, db, m, d); !again.Stored || again.Signature != got.Signature {
		t.Errorf("asked again: got %+v, want the stored %s", again, got.Signature)
	}
}

func TestCallerWhoHasLeftAsksNothing(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, ratchet.Options{})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	var c card
	if _, err := db.Sign(ctx, block(1, 0), bytesNumber(0), c.sign(bytesNumber(0))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if db.Lines() != 0 || c.calls.Load() != 0 {
		t.Errorf("%d flights and %d sign calls, want none", db.Lines(), c.calls.Load())
	}
}

// TestFlightHasItsOwnDeadline: five seconds, whatever the caller's context says.
func TestFlightHasItsOwnDeadline(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, ratchet.Options{})
	type traceKey struct{}
	callers, cancel := context.WithTimeout(context.WithValue(t.Context(), traceKey{}, "request 7"), time.Hour)
	defer cancel()
	before := time.Now()
	_, err := db.Sign(callers, block(1, 0), bytesNumber(0), func(ctx context.Context) (tezos.Signature, error) {
		deadline, ok := ctx.Deadline()
		if !ok || deadline.Before(before.Add(5*time.Second)) || deadline.After(time.Now().Add(5*time.Second)) {
			t.Errorf("the flight ends at %v, %t, want five seconds after %v", deadline, ok, before)
		}
		if ctx.Value(traceKey{}) != "request 7" {
			t.Error("the flight has lost the values of its caller's context")
		}
		return signatureOf(t, bytesNumber(0), 0), nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCloseFinishesFlights(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, ratchet.Options{})
	register(t, db, baker, mainnet, 0)
	c := newHeldCard()
	m, d := block(100, 0), bytesNumber(0)
	flying := ask(t.Context(), db, m, d, c.sign(d))
	<-c.called
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	for start := time.Now(); ; { // until Close has begun
		if time.Since(start) > 20*time.Second {
			t.Fatal("Close has begun and requests are still taken")
		}
		var late card
		later := block(50, 0)
		later.Kind = tezos.Attestation
		if _, err := db.Sign(t.Context(), later, d, late.sign(d)); errors.Is(err, ratchet.ErrStopped) {
			break
		}
	}
	c.answer <- nil
	got := <-flying
	if err := <-closed; err != nil || got.err != nil {
		t.Fatalf("Close: %v; the flight: %v", err, got.err)
	}
	if _, err := db.Marks(t.Context()); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("Marks after Close: %v, want %v", err, ratchet.ErrStopped)
	}
	db = open(t, path, ratchet.Options{})
	if again := mustSign(t, db, m, d); !again.Stored || again.Signature != got.Signature {
		t.Errorf("after Close and Open: got %+v, want the stored %s", again, got.Signature)
	}
}

// TestLandedFlightIsNotJoined: a caller who asks again at once meets the stored
// signature, not the flight that made it.
func TestLandedFlightIsNotJoined(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, ratchet.Options{})
	for level := range int32(500) {
		fresh := mustSign(t, db, block(level, 0), bytesNumber(0))
		if again := mustSign(t, db, block(level, 0), bytesNumber(0)); !again.Stored || again.Signature != fresh.Signature {
			t.Fatalf("level %d again: got %+v, want the stored %s", level, again, fresh.Signature)
		}
	}
}
