// Package ratchettest has what the tests of package ratchet and of its stores share: keys, payloads,
// cards in software, and a ratchet over a real file.
package ratchettest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// Mainnet's chain id and that of Ghostnet.
var (
	Mainnet  = tezos.ChainID{0x7a, 0x06, 0xa7, 0x70}
	Ghostnet = tezos.ChainID{0xb3, 0xd7, 0x9f, 0x99}
)

// patience is how long tests wait for what comes at all.
const patience = 20 * time.Second

// KeyNumber returns the hash of no real key.
func KeyNumber(n int) tezos.PublicKeyHash {
	k := tezos.PublicKeyHash{byte(tezos.P256)}
	binary.BigEndian.PutUint64(k[1:], uint64(n)) //nolint:gosec // a small number
	return k
}

// Baker is the key of most tests.
var Baker = KeyNumber(1)

// Block is a mark of the baker on mainnet.
func Block(level, round int32) ratchet.Mark {
	return ratchet.Mark{Key: Baker, ChainID: Mainnet, Kind: tezos.Block, Level: level, Round: round}
}

// BytesNumber is the n-th payload of a test.
func BytesNumber(n int) tezos.Message {
	return tezos.NewMessage(binary.BigEndian.AppendUint64(nil, uint64(n))) //nolint:gosec // a small number
}

// SignatureOf is a signature of some bytes; try tells those of one payload apart,
// as a card's ECDSA makes another each time.
func SignatureOf(tb testing.TB, d tezos.Message, try int) tezos.Signature {
	tb.Helper()
	return SignatureFrom(d, try)
}

// SignatureFrom is SignatureOf for goroutines without a testing.TB.
func SignatureFrom(d tezos.Message, try int) tezos.Signature {
	digest := d.Digest()
	r := sha256.Sum256(binary.BigEndian.AppendUint64(digest[:], uint64(try))) //nolint:gosec // a small number
	raw := append(r[:], digest[:]...)
	s, err := tezos.NewSignature(tezos.P256, raw)
	if err != nil {
		panic(err) //nolint:forbidigo // 64 bytes are always one; there is no testing.TB on a card's goroutine
	}
	return s
}

// Card signs with another signature at each call, and counts the calls.
type Card struct{ Calls atomic.Int64 }

// Sign returns the SignFunc for a payload.
func (c *Card) Sign(d tezos.Message) ratchet.SignFunc {
	return func(context.Context, tezos.Message) (tezos.Signature, error) {
		return SignatureFrom(d, int(c.Calls.Add(1))), nil
	}
}

// NewFile makes an empty ratchet.
func NewFile(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "ratchet.db")
	if err := sqlite.Create(tb.Context(), path); err != nil {
		tb.Fatalf("Create: %v", err)
	}
	return path
}

// Options are those of the store and of the ratchet.
type Options struct {
	MaxLevelGap int32
	OnCommit    func(elapsed time.Duration, marks int)
	// Witness is the folder of the witness; by default it lies beside that of the ratchet, [NoWitness] is none.
	Witness string
}

// NoWitness has a ratchet opened without a witness.
const NoWitness = "none"

func (o Options) ofStore(path string) sqlite.Options {
	of := sqlite.Options{OnCommit: o.OnCommit, Witness: o.Witness}
	switch o.Witness {
	case "":
		of.Witness = WitnessOf(path)
	case NoWitness:
		of.Witness = ""
	}
	_ = os.Mkdir(of.Witness, 0o700) // without it there is no witness
	return of
}

// WitnessOf is the folder of the witness of a ratchet in a test.
func WitnessOf(path string) string { return filepath.Dir(path) + "-witness" }

// DB is a ratchet over a file, with the seams of the store.
type DB struct {
	*ratchet.Ratchet
	*sqlite.Store
	gap int32
}

// OpenDB opens the store and the ratchet over it.
func OpenDB(ctx context.Context, path string, opts Options) (*DB, error) {
	store, err := sqlite.Open(ctx, path, opts.ofStore(path))
	if err != nil {
		return nil, err
	}
	r, err := ratchet.New(store, ratchet.Options{MaxLevelGap: opts.MaxLevelGap})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	gap := opts.MaxLevelGap
	if gap == 0 {
		gap = ratchet.DefaultMaxLevelGap
	}
	return &DB{r, store, gap}, nil
}

// Close closes the ratchet and its store.
func (db *DB) Close() error { return db.Ratchet.Close() }

// Trouble is the ratchet's.
func (db *DB) Trouble() error { return db.Ratchet.Trouble() }

// Failed is the ratchet's.
func (db *DB) Failed() <-chan struct{} { return db.Ratchet.Failed() }

// Place commits a signature without the look that comes before it in Sign: only the transaction
// decides.
func (db *DB) Place(m ratchet.Mark, d tezos.Message, fresh tezos.Signature) (ratchet.Release, error) {
	placed := make(chan Answer, 1)
	go func() {
		release, err := db.Store.Place(context.Background(), db.Proposal(m, d, fresh))
		placed <- Answer{release, err}
	}()
	select {
	case got := <-placed:
		return got.Release, got.Err
	case <-time.After(patience):
		return ratchet.Release{}, errors.New("a proposal is not answered")
	}
}

// Proposal is what Place proposes.
func (db *DB) Proposal(m ratchet.Mark, d tezos.Message, fresh tezos.Signature) ratchet.Proposal {
	return ratchet.Proposal{Mark: m, Digest: d.Digest(), Signature: fresh, MaxGap: db.gap}
}

// Change changes what the store holds.
func (db *DB) Change(ctx context.Context, plan ratchet.Plan) (ratchet.Changes, error) {
	return db.Ratchet.Change(ctx, plan)
}

func (db *DB) change(ctx context.Context, plan ratchet.Plan) error {
	_, err := db.Change(ctx, plan)
	return err
}

// Register registers a key on a chain from a level on.
func (db *DB) Register(ctx context.Context, key tezos.PublicKeyHash, chain tezos.ChainID, from int32) error {
	return db.change(ctx, ratchet.Registering(ratchet.Registration{Key: key, ChainID: chain, FromLevel: from}))
}

// RegisterNew registers a key as never used.
func (db *DB) RegisterNew(ctx context.Context, key tezos.PublicKeyHash) error {
	return db.change(ctx, ratchet.Registering(ratchet.Registration{Key: key, AnyChain: true}))
}

// Marks lists the stored marks.
func (db *DB) Marks(ctx context.Context) ([]ratchet.StoredMark, error) {
	all, err := db.Ratchet.List(ctx)
	return all.Marks, err
}

// Registrations lists the registrations.
func (db *DB) Registrations(ctx context.Context) ([]ratchet.Registration, error) {
	all, err := db.Ratchet.List(ctx)
	return all.Registrations, err
}

// Open opens a ratchet that is closed with the test, if it is still open then.
func Open(tb testing.TB, path string, opts Options) *DB {
	tb.Helper()
	db, err := OpenDB(tb.Context(), path, opts)
	if err != nil {
		tb.Fatalf("Open(%s): %v", filepath.Base(path), err)
	}
	tb.Cleanup(func() {
		closed := make(chan error, 1)
		go func() { closed <- db.Close() }()
		select {
		case err := <-closed:
			if err != nil && !errors.Is(err, ratchet.ErrStopped) {
				tb.Errorf("Close: %v", err)
			}
		case <-time.After(patience):
			tb.Error("Close does not end")
		}
	})
	return db
}

// OpenRegistered opens a new ratchet that allows the Baker to sign on Mainnet
// from level 0.
func OpenRegistered(tb testing.TB, opts Options) *DB {
	tb.Helper()
	db := Open(tb, NewFile(tb), opts)
	Register(tb, db, Baker, Mainnet, 0)
	return db
}

// Register registers a key, or ends the test.
func Register(tb testing.TB, db *DB, key tezos.PublicKeyHash, chain tezos.ChainID, from int32) {
	tb.Helper()
	if err := db.Register(tb.Context(), key, chain, from); err != nil {
		tb.Fatalf("Register(%s, %s, %d): %v", key, chain, from, err)
	}
}

// CloseDB closes a ratchet, or ends the test.
func CloseDB(tb testing.TB, db *DB) {
	tb.Helper()
	if err := db.Close(); err != nil {
		tb.Fatalf("Close: %v", err)
	}
}

// MustSign signs a payload of the mark and returns what was released.
func MustSign(tb testing.TB, db *DB, m ratchet.Mark, d tezos.Message) ratchet.Release {
	tb.Helper()
	var c Card
	got := Wait(tb, Ask(tb.Context(), db, m, d, c.Sign(d)))
	if got.Err != nil {
		tb.Fatalf("Sign(%s %d/%d): %v", m.Kind, m.Level, m.Round, got.Err)
	}
	return got.Release
}

// WantRefused checks the kind of a refusal, and its text unless that is "".
func WantRefused(tb testing.TB, err error, reason ratchet.Reason, text string) {
	tb.Helper()
	var refused *ratchet.RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, ratchet.ErrRefused) {
		tb.Fatalf("got error %v, want a refusal for %s", err, reason)
	}
	if refused.Reason != reason {
		tb.Errorf("refused for %s (%v), want %s", refused.Reason, err, reason)
	}
	if text != "" && err.Error() != text {
		tb.Errorf("refused with\n\t%s\nwant\n\t%s", err, text)
	}
}

// Present reports whether there is such a file.
func Present(tb testing.TB, path string) bool {
	tb.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		tb.Fatal(err)
	}
	return err == nil
}

// Canceled returns a context that is done.
func Canceled(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	return ctx
}

// HeldCard signs when it is told to.
type HeldCard struct {
	Card
	Called  chan struct{} // one message for each call
	Answers chan error    // one for each call to return
}

// NewHeldCard returns a card that waits.
func NewHeldCard() *HeldCard {
	return &HeldCard{Called: make(chan struct{}, 100), Answers: make(chan error, 100)}
}

// Await waits for a call.
func (c *HeldCard) Await(tb testing.TB) {
	tb.Helper()
	select {
	case <-c.Called:
	case <-time.After(patience):
		tb.Fatal("the card is not asked")
	}
}

// Sign returns the SignFunc for a payload.
func (c *HeldCard) Sign(d tezos.Message) ratchet.SignFunc {
	return func(ctx context.Context, _ tezos.Message) (tezos.Signature, error) {
		c.Called <- struct{}{}
		select {
		case err := <-c.Answers:
			if err != nil {
				return tezos.Signature{}, err
			}
		case <-ctx.Done():
		}
		if err := ctx.Err(); err != nil {
			return tezos.Signature{}, err
		}
		return c.Card.Sign(d)(ctx, d)
	}
}

// Answer is what Ask got.
type Answer struct {
	ratchet.Release
	Err error
}

// Wait returns the answer of an Ask.
func Wait(tb testing.TB, asked <-chan Answer) Answer {
	tb.Helper()
	select {
	case got := <-asked:
		return got
	case <-time.After(patience):
		tb.Fatal("a request is not answered")
		return Answer{}
	}
}

// Ask signs on a goroutine of its own.
func Ask(ctx context.Context, db *DB, m ratchet.Mark, d tezos.Message, sign ratchet.SignFunc) <-chan Answer {
	answers := make(chan Answer, 1)
	go func() {
		release, err := db.Sign(ctx, m, d, sign)
		answers <- Answer{Release: release, Err: err}
	}()
	return answers
}
