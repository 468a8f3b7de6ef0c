package signer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pawl/internal/logtest"
	"pawl/policy"
	"pawl/ratchet"
	"pawl/signer"
	"pawl/signer/hsm"
	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// TestEachKeyHasItsPolicy: what one key may sign another one may not.
func TestEachKeyHasItsPolicy(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	bakes, reveals, closed := newKey(t, client, tezos.P256), newKey(t, client, tezos.P256), newKey(t, client, tezos.P256)
	db, _ := newRatchet(t, bakes, reveals, closed)
	entry := func(key hsm.Key, allowed policy.Policy) signer.Entry {
		return signer.Entry{Policy: allowed, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}
	}
	s := newSigner(t, entry(closed, policy.Policy{}),
		entry(bakes, policy.Policy{Baking: true}),
		entry(reveals, policy.Policy{Operations: []tezos.OperationKind{tezos.OpReveal}}))
	for _, test := range []struct {
		name    string
		key     hsm.Key
		payload []byte
		want    error
	}{
		{"block of the key that bakes", bakes, block(1, 0, 0), nil},
		{"reveal of the key that bakes", bakes, reveal(bakes.PublicKey()), policy.ErrDenied},
		{"block of the key that reveals", reveals, block(1, 0, 0), policy.ErrDenied},
		{"reveal of the key that reveals", reveals, reveal(reveals.PublicKey()), nil},
		{"block of the closed key", closed, block(1, 0, 0), policy.ErrDenied},
		{"reveal of the closed key", closed, reveal(closed.PublicKey()), policy.ErrDenied},
	} {
		res, err := s.Sign(t.Context(), test.key.PublicKey().Hash(), test.payload)
		if !errors.Is(err, test.want) || (res.Signature == tezos.Signature{}) != (test.want != nil) {
			t.Errorf("%s: %v, %v; want %v", test.name, res.Signature, err, test.want)
		}
		if want := tezos.NewMessage(test.payload).Digest(); res.Digest != want || res.Request == nil {
			t.Errorf("%s: digest %v and request %v are told, want %v", test.name, res.Digest, res.Request, want)
		}
	}
	all, err := s.Ratchets(t.Context())
	if err != nil || len(all.Marks) != 1 || all.Marks[0].Key != bakes.PublicKey().Hash() {
		t.Errorf("marks %+v, %v; want one of the key that bakes", all.Marks, err)
	}
}

// TestMarkIsThatOfTheRequest: what is stored has the key, chain, kind, level and round of the
// payload, in the ratchet of the key.
func TestMarkIsThatOfTheRequest(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	keys := []hsm.Key{newKey(t, client, tezos.P256), newKey(t, client, tezos.Ed25519)}
	chains := []tezos.ChainID{tezostest.Mainnet, {1, 2, 3, 4}}
	var entries []signer.Entry
	for _, key := range keys {
		db, _ := newRatchet(t, key)
		entries = append(entries, signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}})
	}
	s := newSigner(t, entries...)
	for i, key := range keys {
		var want []ratchet.Mark
		for j, chain := range chains {
			for k, kind := range []tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation} {
				n := int32(6*i + 3*j + k)
				m := ratchet.Mark{Key: key.PublicKey().Hash(), ChainID: chain, Kind: kind, Level: 100 + n, Round: 1 + n}
				payload := tezostest.Consensus(chain, kind, m.Level, m.Round, tezostest.PayloadHash(1))
				res, err := s.Sign(t.Context(), m.Key, payload)
				if err != nil {
					t.Fatalf("%+v: %v", m, err)
				}
				if want := tezos.NewMessage(payload).Digest(); res.Digest != want || res.Stored {
					t.Errorf("%+v: digest %v, stored %v; want %v and a fresh signature", m, res.Digest, res.Stored, want)
				}
				want = append(want, m)
			}
		}
		held, err := entries[i].Ratchet.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range want {
			if !slices.ContainsFunc(held.Marks, func(s ratchet.StoredMark) bool { return s.Mark == m }) {
				t.Errorf("key %d: no mark %+v in %+v", i, m, held.Marks)
			}
		}
		if len(held.Marks) != len(want) {
			t.Errorf("key %d: %d marks in its ratchet, want %d", i, len(held.Marks), len(want))
		}
	}
}

// TestKeysOfOneRatchet: each mark is listed once and each dropped signature counted once, however
// many keys share a ratchet, and one ratchet more than once.
func TestKeysOfOneRatchet(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	a, b, alone := newKey(t, client, tezos.P256), newKey(t, client, tezos.P256), newKey(t, client, tezos.P256)
	shared, _ := newRatchet(t, a, b)
	own, _ := newRatchet(t, alone)
	lost := &losing{Key: alone, before: func() {
		m := ratchet.Mark{Key: alone.PublicKey().Hash(), ChainID: tezostest.Mainnet, Kind: tezos.Block, Level: 2}
		if _, err := own.Place(m, tezos.NewMessage([]byte("other bytes")), tezos.Signature{}); err != nil {
			t.Error(err)
		}
	}}
	s := newSigner(t,
		signer.Entry{Policy: allowAll, Ratchet: shared.Ratchet, Replicas: []signer.Replica{{Key: a, Server: client}}},
		signer.Entry{Policy: allowAll, Ratchet: shared.Ratchet, Replicas: []signer.Replica{{Key: b, Server: client}}},
		signer.Entry{Policy: allowAll, Ratchet: own.Ratchet, Replicas: []signer.Replica{{Key: lost, Server: client}}})
	for _, key := range []hsm.Key{a, b} {
		if _, err := s.Sign(t.Context(), key.PublicKey().Hash(), block(1, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Sign(t.Context(), alone.PublicKey().Hash(), block(2, 0, 0)); !errors.Is(err, ratchet.ErrRefused) {
		t.Errorf("the slot was taken while the HSM signed: %v, want %v", err, ratchet.ErrRefused)
	}
	if n := s.Dropped(); n != 1 {
		t.Errorf("%d signatures dropped, want 1", n)
	}
	all, err := s.Ratchets(t.Context())
	var keys []string
	for _, m := range all.Marks {
		keys = append(keys, m.Key.String())
	}
	slices.Sort(keys)
	if want := 3; err != nil || len(keys) != want || len(slices.Compact(keys)) != want {
		t.Errorf("marks of %v, %v; want one of each of %d keys", keys, err, want)
	}
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
}

// losing is a key that does something before it signs.
type losing struct {
	hsm.Key
	before func()
}

func (l *losing) Sign(ctx context.Context, m tezos.Message) (tezos.Signature, error) {
	l.before()
	return l.Key.Sign(ctx, m)
}

// TestPublicKey: each key by its own hash, and no other.
func TestPublicKey(t *testing.T) {
	t.Parallel()
	s, key := baker(t, tezos.P256)
	if got, err := s.PublicKey(key.PublicKey().Hash()); err != nil || got != key.PublicKey() {
		t.Errorf("PublicKey: %v, %v; want %v", got, err, key.PublicKey())
	}
	if got, err := s.PublicKey(tezos.PublicKeyHash{1}); !errors.Is(err, signer.ErrUnknownKey) || got != (tezos.PublicKey{}) {
		t.Errorf("PublicKey of an unknown hash: %v, %v; want %v", got, err, signer.ErrUnknownKey)
	}
}

// failedStore has failed, and its ratchet may not have noticed yet.
type failedStore struct {
	ratchet.Store
	failed chan struct{}
	held   ratchet.Snapshot
}

var errLost = errors.New("the disk is gone")

func (f *failedStore) Failed() <-chan struct{} { return f.failed }
func (f *failedStore) Trouble() error          { return errLost }
func (f *failedStore) Close() error            { return nil }
func (f *failedStore) List(context.Context) (ratchet.Snapshot, error) {
	return f.held, errLost
}

func newFailedStore(t *testing.T) (*failedStore, *ratchet.Ratchet) {
	t.Helper()
	store := &failedStore{failed: make(chan struct{})}
	r, err := ratchet.New(store, ratchet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store, r
}

// TestFailureIsSeenAtOnce: from the moment on in which a ratchet fails nothing is signed for any
// key, whatever goroutine has heard of it.
func TestFailureIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key, other := newKey(t, client, tezos.Ed25519), newKey(t, client, tezos.Ed25519)
	db, _ := newRatchet(t, other)
	var asked atomic.Int32
	c.Card.OnSign = func(_, _ []byte) { asked.Add(1) }
	for range 50 {
		store, r := newFailedStore(t)
		s, err := signer.New([]signer.Entry{
			{Policy: allowAll, Ratchet: r, Replicas: []signer.Replica{{Key: key, Server: client}}},
			{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: other, Server: client}}},
		}, signer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Err(); err != nil {
			t.Fatalf("Err before any failure: %v", err)
		}
		reason := reasonOnceFailed(s)
		close(store.failed)
		if err := s.Err(); !errors.Is(err, errLost) {
			t.Fatalf("Err right after the failure: %v, want %v", err, errLost)
		}
		for _, payload := range [][]byte{block(1, 0, 0), michelson(1)} {
			res, err := s.Sign(t.Context(), other.PublicKey().Hash(), payload)
			if !errors.Is(err, ratchet.ErrStopped) || res.Signature != (tezos.Signature{}) {
				t.Fatalf("payload %x right after the failure: %v, %v; want %v", payload, res.Signature, err, ratchet.ErrStopped)
			}
		}
		awaitFailed(t, s)
		if err := <-reason; !errors.Is(err, errLost) {
			t.Fatalf("Err in the moment in which Failed is closed: %v, want %v", err, errLost)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the HSM was asked %d times after a failure", n)
	}
}

// reasonOnceFailed looks at Failed without a pause, and gives what Err says when it is closed.
func reasonOnceFailed(s *signer.Signer) <-chan error {
	reason := make(chan error, 1)
	go func() {
		for start := time.Now(); time.Since(start) < 20*time.Second; {
			select {
			case <-s.Failed():
				reason <- s.Err()
				return
			default:
			}
		}
		reason <- errors.New("not failed")
	}()
	return reason
}

// awaitFailed waits until the signer says that it has failed.
func awaitFailed(t *testing.T, s *signer.Signer) {
	t.Helper()
	select {
	case <-s.Failed():
	case <-time.After(20 * time.Second):
		t.Fatal("Failed is not closed")
	}
	if s.Err() == nil {
		t.Error("Failed is closed, and Err is nil")
	}
}

// TestMarksOfAFailingStore: a list that could not be read is an error, not a short list.
func TestMarksOfAFailingStore(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := newKey(t, client, tezos.Ed25519)
	store, r := newFailedStore(t)
	store.held = ratchet.Snapshot{Marks: make([]ratchet.StoredMark, 1)}
	s := newSigner(t, signer.Entry{Policy: allowAll, Ratchet: r, Replicas: []signer.Replica{{Key: key, Server: client}}})
	if all, err := s.Ratchets(t.Context()); !errors.Is(err, errLost) || all.Marks != nil {
		t.Errorf("Ratchets: %v, %v; want none and %v", all, err, errLost)
	}
}

// TestPlacesOfOperationsComeBack: whoever was served and whoever left the queue gives a place to
// the next.
func TestPlacesOfOperationsComeBack(t *testing.T) {
	t.Parallel()
	s, key := heldSigner(t)
	for range 3 {
		ctx, leave := context.WithCancel(t.Context())
		flying := ask(t.Context(), s, key, michelson(0))
		select {
		case <-key.called:
		case got := <-flying:
			t.Fatalf("an operation with nothing before it: %v, %v; want it at the HSM", got.res.Signature, got.err)
		}
		var waiting []<-chan answer
		for n := range byte(8) {
			waiting = append(waiting, ask(ctx, s, key, michelson(1+n)))
		}
		for start := time.Now(); ; time.Sleep(time.Millisecond) { // until the queue is full
			if _, err := s.Sign(canceled(t), key.PublicKey().Hash(), michelson(9)); errors.Is(err, ratchet.ErrQueueFull) {
				break
			} else if time.Since(start) > 20*time.Second {
				t.Fatalf("with nine operations in hand the next gets %v, want %v", err, ratchet.ErrQueueFull)
			}
		}
		leave()
		for _, f := range waiting {
			if got := answered(t, f); !errors.Is(got.err, context.Canceled) {
				t.Errorf("an operation whose caller left: %v, want %v", got.err, context.Canceled)
			}
		}
		select {
		case key.letGo <- struct{}{}:
		case <-time.After(20 * time.Second):
			t.Fatal("the operation is not with the HSM any more")
		}
		if got := answered(t, flying); got.err != nil {
			t.Fatalf("the operation that was with the HSM: %v", got.err)
		}
	}
	close(key.letGo)
	for n := range byte(20) { // more than there are places
		if got := answered(t, ask(t.Context(), s, key, michelson(n))); got.err != nil {
			t.Fatalf("operation %d after all others: %v", n, got.err)
		}
	}
}

// answered waits for an answer.
func answered(t *testing.T, asked <-chan answer) answer {
	t.Helper()
	select {
	case got := <-asked:
		return got
	case <-time.After(20 * time.Second):
		t.Fatal("a request is not answered")
		return answer{}
	}
}

func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestSwapKeepsTheQueue: an operation that is with the HSM holds back those that come after a swap
// of the keyring.
func TestSwapKeepsTheQueue(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := newHeld(t, client)
	db, _ := newRatchet(t, key)
	entries := []signer.Entry{{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}}
	s := newSigner(t, entries...)
	first := ask(t.Context(), s, key, michelson(0))
	<-key.called
	if err := s.Swap(entries); err != nil {
		t.Fatal(err)
	}
	second := ask(t.Context(), s, key, michelson(1))
	select {
	case <-key.called:
		t.Error("two operations of a key are with the HSM at once")
	case <-time.After(200 * time.Millisecond):
	}
	close(key.letGo)
	for i, f := range []<-chan answer{first, second} {
		if got := <-f; got.err != nil {
			t.Errorf("operation %d: %v", i, got.err)
		}
	}
}

// TestEachTryIsTold: OnSign hears of each try with its outcome, and the log of each bad signature.
func TestEachTryIsTold(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := &spoiler{Key: newKey(t, client, tezos.P256)}
	transient := &hsm.FaultError{Fault: hsm.Transient, Err: errors.New("no connection")}
	key.spoil = func(call int, sig tezos.Signature) (tezos.Signature, error) {
		switch call {
		case 1:
			return flipped(t, sig, tezos.P256, 300), nil
		case 3:
			return tezos.Signature{}, transient
		}
		return sig, nil
	}
	db, _ := newRatchet(t, key)
	var mu sync.Mutex
	var told []error
	var log logtest.Buffer
	s, err := signer.New([]signer.Entry{{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}},
		signer.Options{
			Log: slog.New(slog.NewJSONHandler(&log, nil)),
			OnSign: func(hash tezos.PublicKeyHash, elapsed time.Duration, err error) {
				mu.Lock()
				defer mu.Unlock()
				if told = append(told, err); hash != key.PublicKey().Hash() || elapsed <= 0 {
					t.Errorf("told of %v after %v, want %v and a time", hash, elapsed, key.PublicKey().Hash())
				}
			},
		})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	payloads := [][]byte{block(1, 0, 0), michelson(1)}
	for _, payload := range payloads {
		if _, err := s.Sign(t.Context(), key.PublicKey().Hash(), payload); err != nil {
			t.Errorf("payload %x: %v", payload, err)
		}
	}
	for i, want := range []error{tezos.ErrBadSignature, nil, transient, nil} {
		if len(told) != 4 || !errors.Is(told[i], want) {
			t.Fatalf("told of %v; want a bad signature, a good one, a fault, a good one", told)
		}
	}
	lines := log.Lines()
	if len(lines) != 1 {
		t.Fatalf("log %q, want one line", lines)
	}
	var line struct{ Level, Msg, Pkh, Server, Digest string }
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil {
		t.Fatal(err)
	}
	want := struct{ Level, Msg, Pkh, Server, Digest string }{
		"ERROR", "bad signature from HSM", key.PublicKey().Hash().String(), c.Address, tezos.NewMessage(payloads[0]).Digest().String(),
	}
	if line != want {
		t.Errorf("log %+v, want %+v", line, want)
	}
	if state := s.Servers()[0]; state.Signed != 2 || state.Failed != 2 {
		t.Errorf("%d signed and %d failed, want 2 and 2", state.Signed, state.Failed)
	}
}

// TestKeyWithoutAServer: a key that needs no connection signs, fails and is told of like others.
func TestKeyWithoutAServer(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	key := &spoiler{Key: newKey(t, client, tezos.P256)}
	key.spoil = func(call int, sig tezos.Signature) (tezos.Signature, error) {
		if call <= 2 {
			return flipped(t, sig, tezos.P256, 300), nil
		}
		return sig, nil
	}
	db, _ := newRatchet(t, key)
	s := newSigner(t, signer.Entry{Policy: allowAll, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key}}})
	hash := key.PublicKey().Hash()
	if _, err := s.Sign(t.Context(), hash, block(1, 0, 0)); !errors.Is(err, tezos.ErrBadSignature) {
		t.Errorf("bad twice: %v, want %v", err, tezos.ErrBadSignature)
	}
	if err := s.Readiness()[hash]; !errors.Is(err, tezos.ErrBadSignature) {
		t.Errorf("readiness after bad signatures: %v", err)
	}
	if _, err := s.Sign(t.Context(), hash, block(1, 0, 0)); err != nil {
		t.Error(err)
	}
	if err := s.Readiness()[hash]; err != nil {
		t.Errorf("readiness after a good signature: %v", err)
	}
	if n := len(s.Servers()); n != 0 {
		t.Errorf("%d servers, want none", n)
	}
}

// TestKeys lists each key once, in the order of the hashes' bytes.
func TestKeys(t *testing.T) {
	t.Parallel()
	c := newCard(t)
	client := c.Dial(t)
	db, _ := newRatchet(t)
	var entries []signer.Entry
	for range 5 {
		entries = append(entries, signer.Entry{Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: newKey(t, client, tezos.P256), Server: client}}})
	}
	keys := newSigner(t, entries...).Keys()
	if len(keys) != 5 || !slices.IsSortedFunc(keys, func(a, b tezos.PublicKeyHash) int { return bytes.Compare(a[:], b[:]) }) {
		t.Errorf("Keys: %v, want five in order", keys)
	}
}
