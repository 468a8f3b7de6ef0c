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

// scripted is a store that does what a test says. What a test does not say nobody may ask of it.
type scripted struct {
	ratchet.Store
	failed  chan struct{}
	trouble error

	standing ratchet.Standing
	look     error
	release  ratchet.Release
	place    error
	proposed []ratchet.Proposal
	register error
	list     error
	closing  error
	closed   int
}

var errStore = errors.New("the store says no")

// standingFrom is a key that is registered from a level on.
func standingFrom(level int32) ratchet.Standing {
	return ratchet.Standing{Registered: true, HasFloor: true, Floor: level, Confined: true, Chains: 1}
}

func newScripted() *scripted {
	return &scripted{failed: make(chan struct{}), standing: standingFrom(0)}
}

func (s *scripted) Failed() <-chan struct{} { return s.failed }
func (s *scripted) Trouble() error          { return s.trouble }
func (s *scripted) Close() error            { s.closed++; return s.closing }

func (s *scripted) Look(context.Context, ratchet.Mark) (ratchet.Standing, error) {
	return s.standing, s.look
}

func (s *scripted) Place(_ context.Context, p ratchet.Proposal) (ratchet.Release, error) {
	s.proposed = append(s.proposed, p)
	if s.place == nil && !s.release.Stored {
		return ratchet.Release{Signature: p.Signature}, nil
	}
	return s.release, s.place
}

func (s *scripted) Change(context.Context, ratchet.Plan) (ratchet.Changes, error) {
	return ratchet.Changes{}, s.register
}

func (s *scripted) List(context.Context) (ratchet.Snapshot, error) {
	return ratchet.Snapshot{Marks: make([]ratchet.StoredMark, 1)}, s.list
}

func over(t *testing.T, store ratchet.Store, opts ratchet.Options) *ratchet.Ratchet {
	t.Helper()
	r, err := ratchet.New(store, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestMaxLevelGap: what is not set is the default, what is negative is refused, and what is set
// is what the look judges with and what the store is told.
func TestMaxLevelGap(t *testing.T) {
	t.Parallel()
	if ratchet.DefaultMaxLevelGap != 57_600 || ratchet.MaxChains != 8 || ratchet.MaxWaiting != 8 {
		t.Errorf("gap %d, chains %d, waiting %d; want four days of levels, 8 and 8", ratchet.DefaultMaxLevelGap, ratchet.MaxChains, ratchet.MaxWaiting)
	}
	if _, err := ratchet.New(newScripted(), ratchet.Options{MaxLevelGap: -1}); err == nil {
		t.Error("a negative gap is taken")
	}
	for set, want := range map[int32]int32{0: ratchet.DefaultMaxLevelGap, 1: 1, 100: 100} {
		store := newScripted()
		r := over(t, store, ratchet.Options{MaxLevelGap: set})
		var c card
		if _, err := r.Sign(t.Context(), block(want+1, 0), bytesNumber(0), c.Sign(bytesNumber(0))); !errors.Is(err, ratchet.ErrRefused) || c.Calls.Load() != 0 {
			t.Errorf("gap %d: %v after %d calls, want level %d refused and no call", set, err, c.Calls.Load(), want+1)
		}
		if _, err := r.Sign(t.Context(), block(want, 0), bytesNumber(0), c.Sign(bytesNumber(0))); err != nil {
			t.Errorf("gap %d, level %d: %v", set, want, err)
		}
		if len(store.proposed) != 1 || store.proposed[0].MaxGap != want {
			t.Errorf("gap %d: the store was told %+v, want %d", set, store.proposed, want)
		}
	}
}

// TestImpossibleMarks are refused before anything else.
func TestImpossibleMarks(t *testing.T) {
	t.Parallel()
	r := over(t, newScripted(), ratchet.Options{})
	kind := block(1, 0)
	kind.Kind = 0x14
	for name, m := range map[string]ratchet.Mark{
		"level": block(-1, 0), "round": block(1, -1), "kind": kind, "no kind": {Key: baker, ChainID: mainnet},
	} {
		var c card
		release, err := r.Sign(t.Context(), m, bytesNumber(0), c.Sign(bytesNumber(0)))
		if err == nil || errors.Is(err, ratchet.ErrRefused) || release != (ratchet.Release{}) || c.Calls.Load() != 0 {
			t.Errorf("%s: %+v, %v after %d calls; want an error and no call", name, release, err, c.Calls.Load())
		}
	}
	if _, err := r.Sign(t.Context(), block(0, 0), bytesNumber(0), new(card).Sign(bytesNumber(0))); err != nil {
		t.Errorf("level 0 and round 0: %v", err)
	}
}

// TestStepsOfAFlight: what each step says is what the caller gets, and an error is never a release.
func TestStepsOfAFlight(t *testing.T) {
	t.Parallel()
	d := bytesNumber(0)
	stored := signatureOf(t, d, 99)
	errCard := errors.New("no card")
	refusal := &ratchet.RefusedError{Reason: ratchet.BelowWatermark, Mark: block(5, 0), Level: 6}
	for name, test := range map[string]struct {
		store   scripted
		card    error
		want    error
		calls   int64
		dropped uint64
		stored  bool
	}{
		"all is well":            {calls: 1},
		"the look fails":         {store: scripted{look: errStore}, want: errStore},
		"the card fails":         {card: errCard, want: errCard, calls: 1},
		"the store has stored":   {store: scripted{release: ratchet.Release{Signature: stored, Stored: true}}, calls: 1, dropped: 1, stored: true},
		"the store refuses":      {store: scripted{place: refusal}, want: ratchet.ErrRefused, calls: 1, dropped: 1},
		"the store stores not":   {store: scripted{place: ratchet.ErrCommit}, want: ratchet.ErrCommit, calls: 1, dropped: 1},
		"the store fails oddly":  {store: scripted{place: errStore}, want: errStore, calls: 1, dropped: 1},
		"the outcome is unknown": {store: scripted{place: ratchet.ErrUnknown}, want: ratchet.ErrStopped, calls: 1, dropped: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &test.store
			store.failed, store.standing = make(chan struct{}), standingFrom(0)
			r := over(t, store, ratchet.Options{})
			var c card
			release, err := r.Sign(t.Context(), block(5, 1), d, func(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
				time.Sleep(time.Millisecond)
				signature, err := c.Sign(d)(ctx, m)
				return signature, errors.Join(err, test.card)
			})
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if calls := c.Calls.Load(); calls != test.calls {
				t.Errorf("%d calls of the card, want %d", calls, test.calls)
			}
			if n := r.Dropped(); n != test.dropped {
				t.Errorf("%d signatures dropped, want %d", n, test.dropped)
			}
			want := ratchet.Release{}
			switch {
			case test.stored:
				want = ratchet.Release{Signature: stored, Stored: true}
			case test.want == nil:
				want = ratchet.Release{Signature: signatureOf(t, d, 1), SignTime: release.SignTime, Rise: 5}
			}
			if release != want {
				t.Errorf("released %+v, want %+v", release, want)
			}
			if fresh := test.want == nil && !test.stored; fresh != (release.SignTime >= time.Millisecond) {
				t.Errorf("sign time %v", release.SignTime)
			}
			wantFailed := errors.Is(test.want, ratchet.ErrStopped)
			select {
			case <-r.Failed():
				if !wantFailed {
					t.Error("Failed is closed")
				}
			default:
				if wantFailed {
					t.Error("Failed is open after an unknown outcome")
				}
			}
			if (r.Err() != nil) != wantFailed {
				t.Errorf("Err: %v, want one: %v", r.Err(), wantFailed)
			}
			if len(store.proposed) > 0 {
				p := store.proposed[0]
				if p.Mark != block(5, 1) || p.Digest != d.Digest() || p.Signature != signatureOf(t, d, 1) {
					t.Errorf("proposed %+v, want the mark, the digest and the signature of the request", p)
				}
			}
		})
	}
}

// TestTheStoresOwnWords: a store that has failed by the time says why better than the error of one
// commit.
func TestTheStoresOwnWords(t *testing.T) {
	t.Parallel()
	store := newScripted()
	store.trouble, store.place = errStore, ratchet.ErrUnknown
	r := over(t, store, ratchet.Options{})
	_, err := r.Sign(t.Context(), block(1, 0), bytesNumber(0), func(context.Context, tezos.Message) (tezos.Signature, error) {
		return signatureOf(t, bytesNumber(0), 0), nil
	})
	if !errors.Is(err, ratchet.ErrStopped) || !errors.Is(r.Err(), ratchet.ErrUnknown) {
		t.Errorf("%v, reason %v; want the error of the commit: the store has not failed", err, r.Err())
	}
	store = newScripted()
	store.trouble, store.place = errStore, ratchet.ErrUnknown
	r = over(t, placing{store, func() { close(store.failed) }}, ratchet.Options{})
	if _, err = r.Sign(t.Context(), block(1, 0), bytesNumber(0), new(card).Sign(bytesNumber(0))); !errors.Is(err, ratchet.ErrStopped) || !errors.Is(r.Err(), errStore) {
		t.Errorf("%v, reason %v; want that of the store", err, r.Err())
	}
}

// placing is a store that does something when a mark is placed.
type placing struct {
	*scripted
	before func()
}

func (p placing) Place(ctx context.Context, proposal ratchet.Proposal) (ratchet.Release, error) {
	p.before()
	return p.scripted.Place(ctx, proposal)
}

// TestFailedStoreIsAskedNothing: nor does the card sign for it, and Failed is closed without a request.
func TestFailedStoreIsAskedNothing(t *testing.T) {
	t.Parallel()
	for range 200 {
		store := newScripted()
		store.trouble = errStore
		r := over(t, store, ratchet.Options{})
		reason := make(chan error, 1)
		go func() { // without a pause: whoever sees Failed closed finds the reason
			for start := time.Now(); time.Since(start) < 20*time.Second; {
				select {
				case <-r.Failed():
					reason <- r.Err()
					return
				default:
				}
			}
			reason <- errors.New("Failed is open")
		}()
		close(store.failed)
		if err := <-reason; !errors.Is(err, errStore) {
			t.Fatalf("the reason when Failed is closed: %v, want %v", err, errStore)
		}
		var c card
		if _, err := r.Sign(t.Context(), block(1, 0), bytesNumber(0), c.Sign(bytesNumber(0))); !errors.Is(err, ratchet.ErrStopped) {
			t.Errorf("Sign: %v, want %v", err, ratchet.ErrStopped)
		}
		if held, err := r.List(t.Context()); !errors.Is(err, ratchet.ErrStopped) || held.Marks != nil {
			t.Errorf("List: %v, %v, want %v", held, err, ratchet.ErrStopped)
		}
		if _, err := r.Change(t.Context(), ratchet.Registering(ratchet.Registration{Key: baker})); !errors.Is(err, ratchet.ErrStopped) {
			t.Errorf("Register: %v, want %v", err, ratchet.ErrStopped)
		}
		if err := r.Close(); !errors.Is(err, ratchet.ErrStopped) || store.closed != 0 {
			t.Errorf("Close: %v, and the store was closed %d times; want %v and never", err, store.closed, ratchet.ErrStopped)
		}
		if c.Calls.Load() != 0 || len(store.proposed) != 0 {
			t.Errorf("%d calls of the card and %d proposals after a failure", c.Calls.Load(), len(store.proposed))
		}
	}
}

// TestErrorsOfTheStore are those of the ratchet.
func TestErrorsOfTheStore(t *testing.T) {
	t.Parallel()
	store := newScripted()
	r := over(t, store, ratchet.Options{})
	if held, err := r.List(t.Context()); err != nil || len(held.Marks) != 1 {
		t.Errorf("List: %v, %v, want what the store holds", held, err)
	}
	if _, err := r.Change(t.Context(), ratchet.Registering(ratchet.Registration{})); errors.Join(err, r.Trouble()) != nil {
		t.Errorf("Register and Trouble: %v", err)
	}
	store.list, store.register, store.trouble, store.closing = errStore, errStore, errStore, errStore
	if _, err := r.List(t.Context()); !errors.Is(err, errStore) {
		t.Errorf("List: %v, want %v", err, errStore)
	}
	if _, err := r.Change(t.Context(), ratchet.Registering(ratchet.Registration{})); !errors.Is(err, errStore) {
		t.Errorf("Register: %v, want %v", err, errStore)
	}
	if err := r.Trouble(); !errors.Is(err, errStore) {
		t.Errorf("Trouble: %v, want %v", err, errStore)
	}
	if err := r.Close(); !errors.Is(err, errStore) {
		t.Errorf("Close: %v, want %v", err, errStore)
	}
	if err := r.Close(); err != nil || store.closed != 1 {
		t.Errorf("Close again: %v, and the store was closed %d times; want nothing, and once", err, store.closed)
	}
	if _, err := r.Sign(t.Context(), block(1, 0), bytesNumber(0), new(card).Sign(bytesNumber(0))); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("Sign after Close: %v, want %v", err, ratchet.ErrStopped)
	}
}

// TestWhoWaitsGetsTheOutcome: callers that joined a flight get its error, and one that leaves gets
// that of its context, never a release without a signature.
func TestWhoWaitsGetsTheOutcome(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	c := newHeldCard()
	m, d := block(100, 0), bytesNumber(0)
	errHSM := errors.New("CKR_DEVICE_ERROR")
	first := ask(t.Context(), db, m, d, c.Sign(d))
	c.Await(t)
	leaver, leave := context.WithCancel(t.Context())
	var joined, leaving []<-chan answer
	for range 20 {
		joined = append(joined, ask(t.Context(), db, m, d, c.Sign(d)))
		leaving = append(leaving, ask(leaver, db, m, d, c.Sign(d)))
	}
	time.Sleep(200 * time.Millisecond) // they wait
	leave()
	for _, asked := range leaving {
		if got := wait(t, asked); !errors.Is(got.Err, context.Canceled) || got.Release != (ratchet.Release{}) {
			t.Errorf("a caller that left while it waited: %+v, want %v", got, context.Canceled)
		}
	}
	for range 1 + len(joined) { // enough for all, if they had to ask by themselves
		c.Answers <- errHSM
	}
	for _, asked := range append(joined, first) {
		if got := wait(t, asked); !errors.Is(got.Err, errHSM) || got.Release != (ratchet.Release{}) {
			t.Errorf("a caller that waited: %+v, want %v", got, errHSM)
		}
	}
	if n := c.Calls.Load(); n != 0 {
		t.Errorf("%d signatures were made", n)
	}
}

// TestStoredSignatureIsNotMadeAgain: bytes that were signed get their signature from the store alone.
func TestStoredSignatureIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	store, d := newScripted(), bytesNumber(0)
	signature := signatureOf(t, d, 1)
	store.standing.Mark = &ratchet.StoredMark{Mark: block(5, 0), Digest: d.Digest(), Signature: &signature}
	var c card
	got, err := over(t, store, ratchet.Options{}).Sign(t.Context(), block(5, 0), d, c.Sign(d))
	if err != nil || !got.Stored || got.Signature != signature {
		t.Errorf("got %+v, %v, want the stored %s", got, err, signature)
	}
	if calls := c.Calls.Load(); calls != 0 || store.proposed != nil {
		t.Errorf("%d sign calls, proposed %+v, want none", calls, store.proposed)
	}
}

// TestOtherSlotOfTheSameBytes: a flight is joined for the same mark only, even if the bytes are the
// same.
func TestOtherSlotOfTheSameBytes(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	c := newHeldCard()
	d := bytesNumber(0)
	var all sync.WaitGroup
	flying := ask(t.Context(), db, block(100, 0), d, c.Sign(d))
	c.Await(t)
	for _, m := range []ratchet.Mark{block(101, 0), block(101, 1)} {
		asked := join(t, db, m, d, c.Sign(d))
		all.Go(func() {
			if got := wait(t, asked); got.Err != nil {
				t.Errorf("level %d and round %d: %v", m.Level, m.Round, got.Err)
			}
		})
	}
	for range 3 {
		c.Answers <- nil
	}
	if got := wait(t, flying); got.Err != nil {
		t.Error(got.Err)
	}
	all.Wait()
	marks, err := db.Marks(t.Context())
	if err != nil || len(marks) != 1 || marks[0].Mark != block(101, 1) || c.Calls.Load() != 3 {
		t.Errorf("marks %+v, %v after %d calls; want level 101 and round 1 after 3", marks, err, c.Calls.Load())
	}
}

// TestRefusedIsOnlyRefused, and a refusal for the level says so.
func TestRefusedIsOnlyRefused(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*ratchet.RefusedError{
		"block level 33 below high watermark 34":                     {Reason: ratchet.BelowWatermark, Mark: block(33, 7), Level: 34, Round: 4},
		"block level 34 and round 3 not above high watermark (34,4)": {Reason: ratchet.BelowWatermark, Mark: block(34, 3), Level: 34, Round: 4},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err.Error(), want)
		}
		if !errors.Is(err, ratchet.ErrRefused) || errors.Is(err, ratchet.ErrStopped) || errors.Is(err, ratchet.ErrCommit) {
			t.Errorf("%v is another error than %v", err, ratchet.ErrRefused)
		}
	}
}

// TestAdmits: only a chain that is not open can be opened, and only for a key that was made here.
func TestAdmits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		standing ratchet.Standing
		want     bool
	}{
		"a new key":                  {ratchet.Standing{NeverUsed: true}, true},
		"a new key with seven":       {ratchet.Standing{NeverUsed: true, Chains: 7}, true},
		"a new key with eight":       {ratchet.Standing{NeverUsed: true, Chains: 8}, false},
		"the chain is open":          {ratchet.Standing{NeverUsed: true, Registered: true, Chains: 1}, false},
		"an operator's registration": {ratchet.Standing{NeverUsed: true, Confined: true, Chains: 1}, false},
		"nobody knows the key":       {ratchet.Standing{}, false},
	} {
		if got := test.standing.Admits(); got != test.want {
			t.Errorf("%s: admits %v, want %v", name, got, test.want)
		}
	}
}

// TestRise counts from the base, and is 0 where there is none.
func TestRise(t *testing.T) {
	t.Parallel()
	signed := ratchet.Standing{Registered: true, NeverUsed: true, Chains: 1}
	signed.AddMark(ratchet.StoredMark{Mark: block(70, 0)}, tezos.Attestation)
	for name, test := range map[string]struct {
		standing ratchet.Standing
		want     int64
	}{
		"nothing known": {ratchet.Standing{}, 0},
		"a floor":       {standingFrom(40), 60},
		"a mark":        {signed, 30},
		"a floor above": {standingFrom(150), -50},
	} {
		if got := test.standing.Rise(100); got != test.want {
			t.Errorf("%s: level 100 is a rise of %d, want %d", name, got, test.want)
		}
	}
}
