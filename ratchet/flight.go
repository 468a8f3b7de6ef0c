package ratchet

// The ratchet: one payload at a time for each slot key, in the order look, sign, place, release.

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"pawl/tezos"
)

// flightTime bounds the calls of the HSM in a flight: two tries of two seconds each.
const flightTime = 5 * time.Second

// maxWaiting bounds the payloads that wait for one slot key behind another. A baker asks for one or
// two at a time.
const maxWaiting = 8

// Options configure [New]. The zero value holds the defaults.
type Options struct {
	// MaxLevelGap is how many levels a request may be above the highest of the floor and the marks
	// of all kinds of its key and chain. 0 means [DefaultMaxLevelGap].
	MaxLevelGap int32
	// OnDecision is told of each mark that rose, with nil, and of each that was refused, with the
	// [*RefusedError]. It runs before the answer and must not wait. It may be nil.
	OnDecision func(m Mark, d tezos.Digest, refused error)
	// OnChange is told of what [Ratchet.Change] and first requests have changed, once it is durable. It must
	// not wait. It may be nil.
	OnChange func(done Changes)
}

// Ratchet releases the one signature of each slot. It is safe for use by many goroutines.
type Ratchet struct {
	store  Store
	maxGap int32
	told   Options

	dropped atomic.Uint64

	failed   chan struct{}
	failOnce sync.Once
	failure  error         // set before failed is closed
	ended    chan struct{} // closed by Close

	mu      sync.Mutex
	closed  bool
	queues  map[SlotKey]*queue
	flights sync.WaitGroup
}

// New returns a ratchet over a store. It owns the store from then on: Close closes both.
func New(store Store, opts Options) (*Ratchet, error) {
	if opts.MaxLevelGap < 0 {
		return nil, fmt.Errorf("max level gap %d: want a positive number of levels", opts.MaxLevelGap)
	}
	if opts.MaxLevelGap == 0 {
		opts.MaxLevelGap = DefaultMaxLevelGap
	}
	r := &Ratchet{
		store: store, maxGap: opts.MaxLevelGap, told: opts,
		failed: make(chan struct{}), ended: make(chan struct{}), queues: make(map[SlotKey]*queue),
	}
	go r.relayFailure()
	return r, nil
}

// queue is the flight of a slot key and the flights that wait behind it.
type queue struct {
	flying  *flight
	waiting []*flight
}

// flight carries one payload to its signature, for all who asked for it.
type flight struct {
	mark    Mark
	message tezos.Message
	sign    SignFunc
	ctx     context.Context // with the values of its first caller's, but not its end
	rise    int64           // of the release, known once it was looked at

	done    chan struct{} // closed when release and err are set
	release Release
	err     error
}

// Sign releases the one signature of a slot: the stored one when the same bytes were signed
// before, else a fresh one, which sign makes and verifies. It is durable when Sign returns.
//
// Per slot key one payload is signed at a time. At most eight others wait; one more gets
// [ErrQueueFull]. Callers with the same mark and payload share one call of sign. A caller whose
// context ends changes nothing for the others. It gets the error of its context if it only waits; the
// one that runs the flight stays until the outcome is known.
//
// A mark that may not be signed is a [*RefusedError]. sign is not called for it if that is known
// before. An error of sign is returned as it is, and nothing is written. [ErrCommit] means that
// nothing was stored, [ErrStopped] that nothing is released any more.
func (r *Ratchet) Sign(ctx context.Context, m Mark, message tezos.Message, sign SignFunc) (Release, error) {
	if err := m.check(); err != nil {
		return Release{}, err
	}
	if err := ctx.Err(); err != nil {
		return Release{}, err
	}
	f, first, err := r.join(ctx, m, message, sign)
	if err != nil {
		return Release{}, err
	}
	if first {
		r.fly(f)
		return f.release, f.err
	}
	select {
	case <-f.done:
		return f.release, f.err
	case <-ctx.Done():
		return Release{}, ctx.Err()
	}
}

// join returns the flight of the same bytes, or adds one. With first the slot key was free, and the
// caller must fly it.
func (r *Ratchet) join(
	ctx context.Context, m Mark, message tezos.Message, sign SignFunc,
) (f *flight, first bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, false, ErrStopped
	}
	q, busy := r.queues[m.SlotKey()]
	if busy {
		if f := q.find(m, message.Digest()); f != nil {
			return f, false, nil
		}
		if len(q.waiting) >= maxWaiting {
			return nil, false, ErrQueueFull
		}
	}
	f = &flight{mark: m, message: message, sign: sign, ctx: context.WithoutCancel(ctx), done: make(chan struct{})}
	if busy {
		q.waiting = append(q.waiting, f)
		return f, false, nil
	}
	r.queues[m.SlotKey()] = &queue{flying: f}
	r.flights.Add(1)
	return f, true, nil
}

// find returns the flight of the same mark and digest, or nil.
func (q *queue) find(m Mark, d tezos.Digest) *flight {
	for _, f := range append([]*flight{q.flying}, q.waiting...) {
		if f.mark == m && f.message.Digest() == d {
			return f
		}
	}
	return nil
}

// fly runs a flight to its end. The flight leaves the queue before its callers get the result, so that
// a later request is answered by the store. The next flight runs on a goroutine of its own.
func (r *Ratchet) fly(f *flight) {
	defer r.flights.Done()
	f.release, f.err = r.lookSignPlace(f)
	r.tell(f)
	if next := r.next(f.mark.SlotKey()); next != nil {
		r.flights.Add(1)
		go r.fly(next)
	}
	close(f.done)
}

// tell tells of a mark that rose or was refused.
func (r *Ratchet) tell(f *flight) {
	rose := f.err == nil && !f.release.Stored
	if r.told.OnDecision != nil && (rose || errors.Is(f.err, ErrRefused)) {
		r.told.OnDecision(f.mark, f.message.Digest(), f.err)
	}
}

// next returns the flight that has waited longest for the slot key, which it gets, or frees the key.
func (r *Ratchet) next(key SlotKey) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.queues[key]
	if len(q.waiting) == 0 {
		delete(r.queues, key)
		return nil
	}
	q.flying, q.waiting = q.waiting[0], q.waiting[1:]
	return q.flying
}

// lookSignPlace is the order of the invariant: look, have the payload signed, make the signature
// durable, release. Whatever happened on the way, nothing leaves after a failure.
func (r *Ratchet) lookSignPlace(f *flight) (release Release, err error) {
	defer func() {
		if value := recover(); value != nil {
			r.fail(fmt.Errorf("panic: %v\n%s", value, debug.Stack()))
		}
		if r.Err() != nil {
			release, err = Release{}, r.stopped()
		}
	}()
	if r.Err() != nil {
		return Release{}, r.stopped()
	}
	stored, err := r.look(f)
	if err != nil {
		return Release{}, err
	}
	if stored != nil {
		return Release{Signature: *stored, Stored: true}, nil
	}
	ctx, cancel := context.WithTimeout(f.ctx, flightTime)
	defer cancel()
	start := time.Now()
	fresh, err := f.sign(ctx, f.message)
	if err != nil {
		return Release{}, err
	}
	return r.place(f, fresh, time.Since(start))
}

// look judges a flight by what is known before the HSM is asked.
func (r *Ratchet) look(f *flight) (stored *tezos.Signature, err error) {
	standing, err := r.store.Look(f.ctx, f.mark)
	if err != nil {
		return nil, err
	}
	f.rise = max(0, standing.Rise(f.mark.Level))
	stored, err = standing.Judge(f.mark, f.message.Digest(), r.maxGap)
	if standing.meets(err) {
		return r.meet(f)
	}
	return stored, err
}

// meet has a flight set the fence that it meets, and judges it again.
func (r *Ratchet) meet(f *flight) (stored *tezos.Signature, err error) {
	_, err = r.Change(f.ctx, func(held Snapshot) (Changes, error) {
		return held.Meet(f.mark, f.message.Digest(), r.maxGap), nil
	})
	if err != nil {
		return nil, err
	}
	standing, err := r.store.Look(f.ctx, f.mark)
	if err != nil {
		return nil, err
	}
	return standing.Judge(f.mark, f.message.Digest(), r.maxGap)
}

// place makes a fresh signature durable, unless another flight has failed while the HSM worked.
func (r *Ratchet) place(f *flight, fresh tezos.Signature, signTime time.Duration) (Release, error) {
	if r.Err() != nil {
		r.dropped.Add(1)
		return Release{}, r.stopped()
	}
	release, err := r.store.Place(f.ctx, Proposal{f.mark, f.message.Digest(), fresh, r.maxGap})
	if errors.Is(err, ErrUnknown) && r.Err() == nil { // the store's own words are better
		r.fail(err)
	}
	if err != nil || release.Stored {
		r.dropped.Add(1)
		return release, err
	}
	release.SignTime, release.Rise = signTime, f.rise
	return release, nil
}

// Dropped returns how many signatures were made and verified and then dropped, because the store had
// one of the same bytes, refused, or failed.
func (r *Ratchet) Dropped() uint64 { return r.dropped.Load() }

// List returns all marks and registrations. After a failure it returns [ErrStopped].
func (r *Ratchet) List(ctx context.Context) (Snapshot, error) {
	if r.Err() != nil {
		return Snapshot{}, r.stopped()
	}
	return r.store.List(ctx)
}

// Change changes what the store holds: see [Store]. After a failure it returns [ErrStopped].
func (r *Ratchet) Change(ctx context.Context, plan Plan) (Changes, error) {
	if r.Err() != nil {
		return Changes{}, r.stopped()
	}
	done, err := r.store.Change(ctx, plan)
	if err == nil && !done.Empty() && r.told.OnChange != nil {
		r.told.OnChange(done)
	}
	return done, err
}

// MaxLevelGap is how many levels a request may be above all that is known.
func (r *Ratchet) MaxLevelGap() int32 { return r.maxGap }

// Trouble returns the reason why no mark can be made durable now, or nil.
func (r *Ratchet) Trouble() error { return r.store.Trouble() }

// Failed is closed when nothing more may be released: the process must exit.
func (r *Ratchet) Failed() <-chan struct{} { return r.failed }

// Err returns the reason why nothing more may be released, or nil. When it returns one, Failed is
// closed.
func (r *Ratchet) Err() error {
	select {
	case <-r.store.Failed():
		r.fail(r.store.Trouble())
	default:
	}
	select {
	case <-r.failed:
		return r.failure
	default:
		return nil
	}
}

// fail ends all releases. The first cause counts.
func (r *Ratchet) fail(cause error) {
	r.failOnce.Do(func() {
		r.failure = cause
		close(r.failed)
	})
}

// relayFailure closes Failed when the store fails while no request is running.
func (r *Ratchet) relayFailure() {
	select {
	case <-r.store.Failed():
		r.fail(r.store.Trouble())
	case <-r.ended:
	}
}

func (r *Ratchet) stopped() error { return fmt.Errorf("%w: %v", ErrStopped, r.Err()) }

// Close ends the ratchet: new requests get [ErrStopped], those in flight are finished (at most
// five seconds and a commit each), then the store is closed. After a failure Close returns its reason
// and leaves the store as it is, for the next process to recover.
func (r *Ratchet) Close() error {
	r.mu.Lock()
	again := r.closed
	r.closed = true
	r.mu.Unlock()
	if again {
		return nil
	}
	r.flights.Wait()
	close(r.ended)
	if r.Err() != nil {
		return r.stopped()
	}
	return r.store.Close()
}
