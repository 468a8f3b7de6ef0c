package ratchet_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"pawl/ratchet"
	"pawl/tezos"
)

func TestThousandIdenticalShareOneSignature(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	c := newHeldCard()
	m, d := block(100, 0), bytesNumber(0)
	answers := make([]<-chan answer, 1000)
	for i := range answers {
		answers[i] = ask(t.Context(), db, m, d, c.Sign(d))
	}
	c.Await(t)
	c.Answers <- nil
	var first tezos.Signature
	for i, pending := range answers {
		got := wait(t, pending)
		if i == 0 {
			first = got.Signature
		}
		if got.Err != nil || got.Signature != first {
			t.Fatalf("caller %d: got %s, %v, want %s", i, got.Signature, got.Err, first)
		}
	}
	if calls := c.Calls.Load(); calls != 1 {
		t.Errorf("%d sign calls for the same bytes, want 1", calls)
	}
}

func TestFailedFlightFailsAllWhoJoined(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	c := newHeldCard()
	m, d := block(100, 0), bytesNumber(0)
	first := ask(t.Context(), db, m, d, c.Sign(d))
	c.Await(t)
	joined := join(t, db, m, d, func(context.Context, tezos.Message) (tezos.Signature, error) {
		return tezos.Signature{}, errors.New("the second caller signed by itself")
	})
	errHSM := errors.New("CKR_SESSION_HANDLE_INVALID")
	c.Answers <- errHSM
	for i, got := range []answer{wait(t, first), wait(t, joined)} {
		if !errors.Is(got.Err, errHSM) {
			t.Errorf("caller %d: got %v, want %v", i, got.Err, errHSM)
		}
	}
}

// join joins or queues a flight before it returns, and waits for it on a goroutine.
func join(t *testing.T, db *DB, m ratchet.Mark, d tezos.Message, sign ratchet.SignFunc) <-chan answer {
	t.Helper()
	wait, err := db.Join(t.Context(), m, d, sign)
	if err != nil {
		t.Fatalf("joining %+v: %v", m, err)
	}
	answers := make(chan answer, 1)
	go func() {
		release, err := wait()
		answers <- answer{Release: release, Err: err}
	}()
	return answers
}

func TestQueueHoldsEightOtherPayloads(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	c := newHeldCard()
	flying := ask(t.Context(), db, block(100, 0), bytesNumber(0), c.Sign(bytesNumber(0)))
	c.Await(t)
	var waiting []<-chan answer
	for i := range ratchet.MaxWaiting {
		d := bytesNumber(i + 1)
		waiting = append(waiting, join(t, db, block(101+int32(i), 0), d, c.Sign(d)))
	}
	var late card
	if _, err := db.Sign(t.Context(), block(200, 0), bytesNumber(200), late.Sign(bytesNumber(200))); !errors.Is(err, ratchet.ErrQueueFull) {
		t.Errorf("the ninth payload in the queue: got %v, want %v", err, ratchet.ErrQueueFull)
	}
	joined := join(t, db, block(101, 0), bytesNumber(1), late.Sign(bytesNumber(1)))
	for _, kind := range []tezos.Kind{tezos.Preattestation, tezos.Attestation} {
		m := block(100, 0)
		m.Kind = kind
		mustSign(t, db, m, bytesNumber(300)) // not held up by a slow block
	}
	for range 1 + len(waiting) {
		c.Answers <- nil
	}
	if got := wait(t, flying); got.Err != nil {
		t.Errorf("the first payload: %v", got.Err)
	}
	for i, pending := range waiting {
		if got := wait(t, pending); got.Err != nil {
			t.Errorf("waiting payload %d: %v", i, got.Err)
		}
	}
	if got := wait(t, joined); got.Err != nil {
		t.Errorf("a caller with the bytes of a waiting payload: %v", got.Err)
	}
	if late.Calls.Load() != 0 {
		t.Error("a caller with the bytes of a waiting payload signed by itself")
	}
	mustSign(t, db, block(201, 0), bytesNumber(201))
	if db.Queues() != 0 {
		t.Errorf("%d slot keys are still taken, want none", db.Queues())
	}
}

// TestCallerWhoLeavesChangesNothing: a caller that joined a flight returns as soon as its context ends. The one
// that runs the flight finishes it, the signature is stored, and the others get it.
func TestCallerWhoLeavesChangesNothing(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	c := newHeldCard()
	m, d := block(100, 0), bytesNumber(0)
	ctx, leave := context.WithCancel(t.Context())
	first := ask(ctx, db, m, d, c.Sign(d))
	c.Await(t)
	joined := join(t, db, m, d, c.Sign(d))
	leaving := ask(ctx, db, m, d, c.Sign(d))
	other := join(t, db, m, bytesNumber(1), c.Sign(bytesNumber(1)))
	leave()
	if got := wait(t, leaving); !errors.Is(got.Err, context.Canceled) || got.Signature != (tezos.Signature{}) {
		t.Errorf("the caller that joined and left got %+v, want %v", got, context.Canceled)
	}
	c.Answers <- nil
	got := wait(t, joined)
	if got.Err != nil || c.Calls.Load() != 1 {
		t.Fatalf("the caller that joined got %v after %d sign calls, want a signature after 1", got.Err, c.Calls.Load())
	}
	if flew := wait(t, first); flew.Err != nil || flew.Signature != got.Signature {
		t.Errorf("the caller that left in flight got %+v, want %s", flew, got.Signature)
	}
	wantRefused(t, wait(t, other).Err, ratchet.OtherBytes, "block level 100 and round 0 already signed with different data")
	if again := mustSign(t, db, m, d); !again.Stored || again.Signature != got.Signature {
		t.Errorf("asked again: got %+v, want the stored %s", again, got.Signature)
	}
}

func TestCallerWhoHasLeftAsksNothing(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	var c card
	if _, err := db.Sign(ctx, block(1, 0), bytesNumber(0), c.Sign(bytesNumber(0))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if db.Queues() != 0 || c.Calls.Load() != 0 {
		t.Errorf("%d flights and %d sign calls, want none", db.Queues(), c.Calls.Load())
	}
}

// TestFlightHasItsOwnDeadline: it ends after five seconds, whatever the caller's context says.
func TestFlightHasItsOwnDeadline(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	type traceKey struct{}
	callers, cancel := context.WithTimeout(context.WithValue(t.Context(), traceKey{}, "request 7"), time.Hour)
	defer cancel()
	before := time.Now()
	_, err := db.Sign(callers, block(1, 0), bytesNumber(0), func(ctx context.Context, _ tezos.Message) (tezos.Signature, error) {
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
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 0)
	c := newHeldCard()
	m, d := block(100, 0), bytesNumber(0)
	flying := ask(t.Context(), db, m, d, c.Sign(d))
	c.Await(t)
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	for start := time.Now(); ; { // until Close has begun
		if time.Since(start) > 20*time.Second {
			t.Fatal("Close has begun and requests are still taken")
		}
		var late card
		later := block(50, 0)
		later.Kind = tezos.Attestation
		if _, err := db.Sign(t.Context(), later, d, late.Sign(d)); errors.Is(err, ratchet.ErrStopped) {
			break
		}
	}
	c.Answers <- nil
	got := wait(t, flying)
	if err := <-closed; err != nil || got.Err != nil {
		t.Fatalf("Close: %v; the flight: %v", err, got.Err)
	}
	if _, err := db.Marks(t.Context()); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("Marks after Close: %v, want %v", err, ratchet.ErrStopped)
	}
	db = open(t, path, options{})
	if again := mustSign(t, db, m, d); !again.Stored || again.Signature != got.Signature {
		t.Errorf("after Close and Open: got %+v, want the stored %s", again, got.Signature)
	}
}

// TestLandedFlightIsNotJoined: a request right after a flight gets the signature from the store, and does not
// join the flight.
func TestLandedFlightIsNotJoined(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	for level := range int32(500) {
		fresh := mustSign(t, db, block(level, 0), bytesNumber(0))
		if again := mustSign(t, db, block(level, 0), bytesNumber(0)); !again.Stored || again.Signature != fresh.Signature {
			t.Fatalf("level %d again: got %+v, want the stored %s", level, again, fresh.Signature)
		}
	}
}

// doubtful is a store whose next Place is of unknown outcome, and that has not closed Failed yet.
type doubtful struct{ ratchet.Store }

func (d doubtful) Place(context.Context, ratchet.Proposal) (ratchet.Release, error) {
	return ratchet.Release{}, ratchet.ErrUnknown
}

// TestUnknownOutcomeEndsAll: after a commit of unknown outcome nothing leaves, for no key, whatever
// the store says of itself by then.
func TestUnknownOutcomeEndsAll(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	r, err := ratchet.New(doubtful{db.Store}, ratchet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := bytesNumber(0)
	if _, err := r.Sign(t.Context(), block(100, 0), d, new(card).Sign(d)); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("got %v, want %v", err, ratchet.ErrStopped)
	}
	select {
	case <-r.Failed():
	default:
		t.Error("Failed is open after a commit of unknown outcome")
	}
	var other card
	if _, err := r.Sign(t.Context(), block(200, 0), d, other.Sign(d)); !errors.Is(err, ratchet.ErrStopped) || other.Calls.Load() != 0 {
		t.Errorf("the next request: %v after %d calls of the card, want %v and none", err, other.Calls.Load(), ratchet.ErrStopped)
	}
}

// TestNothingIsPlacedAfterAFailure: a signature that the HSM was making when the ratchet failed is
// neither stored nor released.
func TestNothingIsPlacedAfterAFailure(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 0)
	register(t, db, keyNumber(2), mainnet, 0)
	c := newHeldCard()
	flying := ask(t.Context(), db, block(1, 0), bytesNumber(0), c.Sign(bytesNumber(0)))
	c.Await(t)
	other := block(1, 0)
	other.Key = keyNumber(2)
	_, err := db.Sign(t.Context(), other, bytesNumber(1), func(context.Context, tezos.Message) (tezos.Signature, error) {
		panic("broken")
	})
	if !errors.Is(err, ratchet.ErrStopped) {
		t.Fatalf("after a panic: %v, want %v", err, ratchet.ErrStopped)
	}
	select {
	case <-db.Failed():
	default:
		t.Error("Failed is not closed when the caller knows of the failure")
	}
	c.Answers <- nil
	if got := wait(t, flying); !errors.Is(got.Err, ratchet.ErrStopped) || got.Release != (ratchet.Release{}) {
		t.Errorf("the flight of before got %+v, want %v", got, ratchet.ErrStopped)
	}
	if n := db.Dropped(); n != 1 {
		t.Errorf("%d signatures dropped, want that of the flight", n)
	}
	stored, err := db.Store.List(t.Context())
	if err != nil || len(stored.Marks) != 0 {
		t.Errorf("stored after a failure: %+v, %v, want no mark", stored.Marks, err)
	}
}

// TestFailureOfTheStoreIsThatOfTheRatchet: whoever learns of it finds Failed closed.
func TestFailureOfTheStoreIsThatOfTheRatchet(t *testing.T) {
	t.Parallel()
	for range 100 {
		store := &failingStore{failed: make(chan struct{})}
		r, err := ratchet.New(store, ratchet.Options{})
		if err != nil {
			t.Fatal(err)
		}
		close(store.failed)
		if err := r.Close(); !errors.Is(err, ratchet.ErrStopped) {
			t.Errorf("Close: %v, want %v", err, ratchet.ErrStopped)
		}
		select {
		case <-r.Failed():
		default:
			t.Fatal("Close says that the store has failed, and Failed is not closed")
		}
	}
}

// failingStore has failed and says so; the ratchet must call nothing else of it.
type failingStore struct {
	ratchet.Store
	failed chan struct{}
}

func (s *failingStore) Failed() <-chan struct{} { return s.failed }
func (s *failingStore) Trouble() error          { return ratchet.ErrUnknown }
