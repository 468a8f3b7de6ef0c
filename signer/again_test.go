package signer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pawl/internal/logtest"
	"pawl/ratchet"
	"pawl/signer"
	"pawl/signer/hsm"
	"pawl/signer/signertest"
	"pawl/tezos"
)

// place is a server of which tests say how it is.
type place struct {
	address   string
	state     hsm.State
	refreshed chan struct{}               // has room
	refresh   func(context.Context) error // what comes of it; nil is nothing
}

func newPlace(address string, state hsm.State) *place {
	return &place{address: address, state: state, refreshed: make(chan struct{}, 100)}
}

func (p *place) Address() string  { return p.address }
func (p *place) State() hsm.State { return p.state }
func (p *place) Close() error     { return nil }
func (p *place) Refresh(ctx context.Context) error {
	p.refreshed <- struct{}{}
	if p.refresh != nil {
		return p.refresh(ctx)
	}
	return nil
}

// troubled is a key with a trouble, which may change.
type troubled struct {
	hsm.Key
	trouble atomic.Pointer[hsm.FaultError]
	sign    func(context.Context, tezos.Message) (tezos.Signature, error) // if it is not to sign
}

func (k *troubled) Trouble() error {
	if fault := k.trouble.Load(); fault != nil {
		return fault
	}
	return nil
}

func (k *troubled) Sign(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	if k.sign != nil {
		return k.sign(ctx, m)
	}
	return k.Key.Sign(ctx, m)
}

func faulty(fault hsm.Fault) *hsm.FaultError {
	return &hsm.FaultError{Fault: fault, Err: fmt.Errorf("fault %d", fault)}
}

// TestAgain: where the second try is made, and whether it waits for a second.
func TestAgain(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	whole := newKey(t, c.Dial(t), tezos.P256)
	hash := whole.PublicKey().Hash()
	bad := fmt.Errorf("wrapped: %w", tezos.ErrBadSignature)
	type server struct {
		state hsm.State
		fault hsm.Fault // that the key has there
	}
	up, down, full := server{}, server{state: hsm.Down}, server{state: hsm.Full}
	unfit, rejected := server{fault: hsm.Unfit}, server{fault: hsm.Rejected}
	const gone = 0 // the caller has left, whose time had no end
	for _, test := range []struct {
		name   string
		others []server      // besides the first, which is up
		left   time.Duration // of the caller's time
		err    error
		want   int
		waits  bool
	}{
		{"bad signature, the caller has left", []server{up}, gone, bad, -1, false},
		{"bad signature, alone", nil, time.Hour, bad, 0, false},
		{"bad signature, one of two", []server{up}, time.Hour, bad, 1, false},
		{"bad signature, the other not connected", []server{down}, time.Hour, bad, 0, false},
		{"bad signature, no time", []server{up}, 15 * time.Millisecond, bad, -1, false},
		{"bad signature, hardly time", []server{up}, 200 * time.Millisecond, bad, 1, false},
		{"bad signature, the time is over", []server{up}, -time.Second, bad, -1, false},
		{"rejected, alone", nil, time.Hour, faulty(hsm.Rejected), -1, false},
		{"rejected, one of two", []server{up}, time.Hour, faulty(hsm.Rejected), -1, false},
		{"rejected, the other not connected", []server{down}, time.Hour, faulty(hsm.Rejected), -1, false},
		{"unfit, alone", nil, time.Hour, faulty(hsm.Unfit), -1, false},
		{"unfit, one of two", []server{up}, time.Hour, faulty(hsm.Unfit), 1, false},
		{"unfit, the other full", []server{full}, time.Hour, faulty(hsm.Unfit), 1, false},
		{"unfit, the other unfit too", []server{unfit}, time.Hour, faulty(hsm.Unfit), -1, false},
		{"unknown, alone", nil, time.Hour, faulty(hsm.Unknown), -1, false},
		{"unknown, no fault at all", nil, time.Hour, errors.New("plain"), -1, false},
		{"unknown, one of two", []server{up}, time.Hour, faulty(hsm.Unknown), 1, false},
		{"unknown, the other refuses the key", []server{rejected}, time.Hour, faulty(hsm.Unknown), -1, false},
		{"transient, one of two", []server{up}, time.Hour, faulty(hsm.Transient), 1, false},
		{"transient, the second of three", []server{down, up}, time.Hour, faulty(hsm.Transient), 2, false},
		{"transient, no time", []server{up}, 15 * time.Millisecond, faulty(hsm.Transient), -1, false},
		{"transient, alone", nil, time.Hour, faulty(hsm.Transient), 0, true},
		{"transient, the other unfit", []server{unfit}, time.Hour, faulty(hsm.Transient), 0, true},
		{"transient, alone, time for no pause", nil, 500 * time.Millisecond, faulty(hsm.Transient), -1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, _ := newRatchet(t)
			entry := signer.Entry{Ratchet: db.Ratchet}
			for i, s := range append([]server{up}, test.others...) {
				key := &troubled{Key: whole}
				if s.fault != hsm.Unknown {
					key.trouble.Store(faulty(s.fault))
				}
				entry.Replicas = append(entry.Replicas, signer.Replica{Key: key, Server: newPlace(fmt.Sprint("server ", i), s.state)})
			}
			s := newSigner(t, entry)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.left == gone {
				cancel()
			} else {
				ctx, cancel = context.WithTimeout(ctx, test.left)
				defer cancel()
			}
			start := time.Now()
			got := s.Again(ctx, hash, 0, test.err)
			took := time.Since(start)
			if got != test.want {
				t.Errorf("the second try is at %d, want %d", got, test.want)
			}
			if test.waits != (took > 900*time.Millisecond) {
				t.Errorf("chosen after %v, want a pause: %v", took, test.waits)
			}
		})
	}
}

// TestAgainWithAllOut: where no server is one for the key there is nothing to wait for.
func TestAgainWithAllOut(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	key := &troubled{Key: newKey(t, c.Dial(t), tezos.P256)}
	key.trouble.Store(faulty(hsm.Unfit))
	db, _ := newRatchet(t)
	s := newSigner(t, signer.Entry{Ratchet: db.Ratchet, Replicas: []signer.Replica{
		{Key: key, Server: newPlace("a", hsm.Up)}, {Key: key, Server: newPlace("b", hsm.Up)},
	}})
	for _, fault := range []hsm.Fault{hsm.Unfit, hsm.Unknown} {
		if got := s.Again(t.Context(), key.PublicKey().Hash(), 0, faulty(fault)); got != -1 {
			t.Errorf("fault %d: the second try is at %d, want none", fault, got)
		}
	}
}

// TestAgainReconnects: while a request waits for its second try the servers that are not connected
// are looked for, and no others.
func TestAgainReconnects(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	whole := newKey(t, c.Dial(t), tezos.P256)
	db, _ := newRatchet(t)
	up, down := newPlace("up", hsm.Up), newPlace("down", hsm.Down)
	s := newSigner(t, signer.Entry{Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: whole, Server: up}, {Key: whole, Server: down}}})
	start := time.Now()
	if got := s.Again(t.Context(), whole.PublicKey().Hash(), 0, faulty(hsm.Transient)); got != 0 {
		t.Errorf("the second try is at %d, want where there is a connection", got)
	}
	if took := time.Since(start); took < 900*time.Millisecond || len(down.refreshed) != 1 || len(up.refreshed) != 0 {
		t.Errorf("after %v the server that is down was looked for %d times, the other %d times; want once and never, and a pause",
			took, len(down.refreshed), len(up.refreshed))
	}
}

// TestRenewal: a refused key is asked for in its newer form, if there is one. Nobody looks for one
// after any other fault, and none that is the same is asked again.
func TestRenewal(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	for _, test := range []struct {
		name  string
		err   error
		swaps string // who brings the newer form
		calls int32  // of the key
		looks int32  // for a newer form
		good  bool
	}{
		{"unfit, nothing newer", faulty(hsm.Unfit), "", 1, 1, false},
		{"rejected, nothing newer", faulty(hsm.Rejected), "", 1, 1, false},
		{"unknown", faulty(hsm.Unknown), "look", 1, 0, false},
		{"transient", faulty(hsm.Transient), "look", 2, 0, false},
		{"rejected, renewed", faulty(hsm.Rejected), "look", 1, 1, true},
		{"unfit, renewed by another request", faulty(hsm.Unfit), "another", 1, 0, true},
		{"unfit, nobody looks", faulty(hsm.Unfit), "nobody looks", 1, 0, false},
		{"unfit, another request has looked", faulty(hsm.Unfit), "another, and nobody looks", 1, 0, true},
		{"unfit, the key is gone after a look", faulty(hsm.Unfit), "look: gone", 1, 1, false},
		{"unfit, another request has seen the key go", faulty(hsm.Unfit), "another: gone", 1, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := c.Dial(t)
			whole := newKey(t, client, tezos.P256)
			db, _ := newRatchet(t, whole)
			var s *signer.Signer
			entry := func(key hsm.Key) []signer.Entry {
				return []signer.Entry{{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}}
			}
			var calls, looks atomic.Int32
			bring := func(who string) {
				entries := entry(whole)
				switch {
				case test.swaps == who+": gone":
					entries = nil
				case !strings.HasPrefix(test.swaps, who):
					return
				}
				if err := s.Swap(entries); err != nil {
					t.Error(err)
				}
			}
			refused := &troubled{Key: whole, sign: func(context.Context, tezos.Message) (tezos.Signature, error) {
				if calls.Add(1) > 20 {
					return tezos.Signature{}, errors.New("asked for ever")
				}
				bring("another")
				return tezos.Signature{}, test.err
			}}
			options := signer.Options{Renew: func(context.Context) { looks.Add(1); bring("look") }}
			if strings.HasSuffix(test.swaps, "nobody looks") {
				options.Renew = nil
			}
			s, err := signer.New(entry(refused), options)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			_, err = s.Sign(t.Context(), whole.PublicKey().Hash(), block(1, 0, 0))
			if (err == nil) != test.good || !test.good && !errors.Is(err, test.err) {
				t.Errorf("Sign: %v, want a signature: %v", err, test.good)
			}
			if calls.Load() != test.calls || looks.Load() != test.looks {
				t.Errorf("asked %d times and looked %d times, want %d and %d", calls.Load(), looks.Load(), test.calls, test.looks)
			}
		})
	}
}

// TestMadeSignatureIsGiven: a caller who leaves in the moment in which the signature is there gets it.
func TestMadeSignatureIsGiven(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	ctx, leave := context.WithCancel(t.Context())
	key := &spoiler{Key: newKey(t, client, tezos.P256)}
	key.spoil = func(_ int, sig tezos.Signature) (tezos.Signature, error) {
		leave()
		return sig, nil
	}
	db, _ := newRatchet(t, key)
	s := newSigner(t, signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})
	if res, err := s.Sign(ctx, key.PublicKey().Hash(), michelson(1)); err != nil || key.PublicKey().Verify(tezos.NewMessage(michelson(1)), res.Signature) != nil {
		t.Errorf("got %v, %v; want the signature", res.Signature, err)
	}
}

// TestWorstTroubleOfAServerIsTold: of several keys that cannot sign there, the one that says most.
func TestWorstTroubleOfAServerIsTold(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	for name, test := range map[string]struct {
		faults []hsm.Fault // Unknown: none
		state  hsm.State
		want   string
	}{
		"the unfit one first":     {[]hsm.Fault{hsm.Unfit, hsm.Transient}, hsm.Up, "2 of 2 keys cannot sign there: fault 2"},
		"the unfit one last":      {[]hsm.Fault{hsm.Transient, hsm.Unfit}, hsm.Up, "2 of 2 keys cannot sign there: fault 2"},
		"one that signs":          {[]hsm.Fault{hsm.Unknown, hsm.Transient}, hsm.Up, "1 of 2 keys cannot sign there: fault 1"},
		"not connected either":    {[]hsm.Fault{hsm.Unfit, hsm.Transient}, hsm.Down, "2 of 2 keys cannot sign there: fault 2"},
		"all sign, not connected": {[]hsm.Fault{hsm.Unknown, hsm.Unknown}, hsm.Down, "not connected"},
		"all sign":                {[]hsm.Fault{hsm.Unknown, hsm.Unknown}, hsm.Up, "<nil>"},
	} {
		at := newPlace("a server", test.state)
		client := c.Dial(t)
		var entries []signer.Entry
		var keys []hsm.Key
		for _, fault := range test.faults {
			key := &troubled{Key: newKey(t, client, tezos.P256)}
			if fault != hsm.Unknown {
				key.trouble.Store(faulty(fault))
			}
			keys = append(keys, key)
			entries = append(entries, signer.Entry{Policy: allowAll, Replicas: []signer.Replica{{Key: key, Server: at}}})
		}
		db, _ := newRatchet(t, keys...)
		for i := range entries {
			entries[i].Ratchet = db.Ratchet
		}
		s := newSigner(t, entries...)
		for _, key := range keys { // which proves the good ones
			if _, err := s.Sign(t.Context(), key.PublicKey().Hash(), block(1, 0, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Servers()[0].Err; fmt.Sprint(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// TestOtherCauseIsLoggedAgain: a server that is left out is told of once for each cause, and once
// more when it is in use again.
func TestOtherCauseIsLoggedAgain(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := &troubled{Key: newKey(t, client, tezos.P256)}
	key.trouble.Store(faulty(hsm.Unfit))
	db, _ := newRatchet(t)
	var log record
	s, err := signer.New([]signer.Entry{{Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}},
		signer.Options{Log: slog.New(slog.NewJSONHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	watch(t, s, key.PublicKey().Hash())
	out, in := "HSM server left out "+c.Address, "HSM server in use "+c.Address
	var want []string
	for _, step := range []struct {
		trouble *hsm.FaultError
		line    string
	}{{faulty(hsm.Unfit), out}, {faulty(hsm.Transient), out}, {nil, in}} {
		key.trouble.Store(step.trouble)
		want = append(want, step.line)
		for start := time.Now(); !slices.Equal(log.lines(t), want); time.Sleep(10 * time.Millisecond) {
			if time.Since(start) > 20*time.Second {
				t.Fatalf("log %q, want %q", log.lines(t), want)
			}
		}
	}
}

// TestReadinessNamesEachServer with its fault, and the fault alone if there is one server.
func TestReadinessNamesEachServer(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	key := &troubled{Key: newKey(t, c.Dial(t), tezos.P256)}
	key.trouble.Store(faulty(hsm.Unfit))
	db, _ := newRatchet(t)
	var replicas []signer.Replica
	for i, want := range []string{"fault 2", "A: fault 2; B: fault 2", "A: fault 2; B: fault 2; C: fault 2"} {
		replicas = append(replicas, signer.Replica{Key: key, Server: newPlace(string(rune('A'+i)), hsm.Up)})
		s := newSigner(t, signer.Entry{Ratchet: db.Ratchet, Replicas: slices.Clone(replicas)})
		if err := s.Readiness()[key.PublicKey().Hash()]; err == nil || err.Error() != want {
			t.Errorf("%d servers: %v, want %s", i+1, err, want)
		}
	}
}

// TestWatchEndsWithItsProbes: what it has begun is over when it returns, and one probe of a key is
// under way at a time.
func TestWatchEndsWithItsProbes(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	var under, most, done atomic.Int32
	letGo := make(chan struct{})
	key := &troubled{Key: newKey(t, c.Dial(t), tezos.P256)}
	key.sign = func(context.Context, tezos.Message) (tezos.Signature, error) {
		most.Store(max(most.Load(), under.Add(1)))
		<-letGo
		under.Add(-1)
		time.Sleep(100 * time.Millisecond)
		done.Add(1)
		return tezos.Signature{}, errors.New("no signature")
	}
	db, _ := newRatchet(t)
	s := newSigner(t, signer.Entry{Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: newPlace("a server", hsm.Up)}}})
	stop := signertest.Watch(t, s.Watch)
	time.Sleep(2500 * time.Millisecond) // three rounds
	time.AfterFunc(100*time.Millisecond, func() { close(letGo) })
	stop()
	if done.Load() == 0 || under.Load() != 0 {
		t.Errorf("Watch has returned with %d probes under way and %d done", under.Load(), done.Load())
	}
	if n := most.Load(); n != 1 {
		t.Errorf("%d probes of a key at once, want 1", n)
	}
}

// TestWhoLeavesDuringTheSecondTry gets the error of its own context.
func TestWhoLeavesDuringTheSecondTry(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	ctx, leave := context.WithCancel(t.Context())
	key := &spoiler{Key: newKey(t, client, tezos.P256)}
	key.spoil = func(call int, sig tezos.Signature) (tezos.Signature, error) {
		if call == 1 {
			return flipped(t, sig, tezos.P256, 300), nil
		}
		leave()
		return tezos.Signature{}, ctx.Err()
	}
	db, _ := newRatchet(t)
	s := newSigner(t, signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})
	if _, err := s.Sign(ctx, key.PublicKey().Hash(), michelson(1)); !errors.Is(err, context.Canceled) || errors.Is(err, signer.ErrHSM) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	if n := key.calls.Load(); n != 2 {
		t.Errorf("%d tries, want 2", n)
	}
}

// TestPanicIsLogged with its key and its place.
func TestPanicIsLogged(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	key := &troubled{Key: newKey(t, c.Dial(t), tezos.P256)}
	key.sign = func(context.Context, tezos.Message) (tezos.Signature, error) {
		var nothing *spoiler
		return tezos.Signature{}, fmt.Errorf("calls: %d", nothing.calls.Load())
	}
	db, _ := newRatchet(t)
	var log logtest.Buffer
	s, err := signer.New([]signer.Entry{{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key}}}},
		signer.Options{Log: slog.New(slog.NewJSONHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, err := s.Sign(t.Context(), key.PublicKey().Hash(), michelson(1)); !errors.Is(err, signer.ErrHSM) {
		t.Errorf("%v, want %v", err, signer.ErrHSM)
	}
	if text := log.String(); !strings.Contains(text, key.PublicKey().Hash().String()) || !strings.Contains(text, "again_test.go") {
		t.Errorf("log %q, want the key and the place", text)
	}
}

// TestNewRefuses what cannot be a keyring, and Close ends what New has taken over.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := newKey(t, client, tezos.P256)
	db, _ := newRatchet(t, key)
	entry := signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}
	if s, err := signer.New([]signer.Entry{entry, entry}, signer.Options{}); err == nil || s != nil {
		t.Errorf("a key twice: %v, %v; want an error and no signer", s, err)
	}
	s := newSigner(t, entry)
	if _, err := s.Sign(t.Context(), key.PublicKey().Hash(), block(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := db.Marks(t.Context()); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("the ratchet after Close: %v, want %v", err, ratchet.ErrStopped)
	}
	if _, err := key.Sign(t.Context(), tezos.NewMessage([]byte("m"))); err == nil {
		t.Error("the connection stands after Close")
	}
	store, failed := newFailedStore(t)
	s = newSigner(t, signer.Entry{Ratchet: failed, Replicas: []signer.Replica{{Key: key}}})
	close(store.failed)
	if err := s.Close(); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("Close after a failure: %v, want %v", err, ratchet.ErrStopped)
	}
}
