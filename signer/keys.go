package signer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pawl/policy"
	"pawl/ratchet"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// Key is a signing key, wherever it lives. Sign has one try at a signature of
// m within ctx; it neither retries nor verifies. It is safe for
// concurrent use.
type Key interface {
	PublicKey() tezos.PublicKey
	Sign(ctx context.Context, m tezos.Message) (tezos.Signature, error)
}

// Entry is one key with what it may sign and where its marks are.
type Entry struct {
	Key     Key
	Policy  policy.Policy
	Ratchet *ratchet.DB
	// Server is the HSM server behind Key, watched for readiness.
	Server *grep11.Client
	// Others are the same key at further servers. A try goes to one of all of
	// them in turn, and to a good one if there is any.
	Others []Place
}

// Place is a key at one HSM server.
type Place struct {
	Key    Key
	Server *grep11.Client
}

// Options say who is told what. Both may be left out.
type Options struct {
	// Log gets an error for each bad signature of the HSM, a line when a server is left
	// out or in use again, and what becomes of a keys.json that changes.
	Log *slog.Logger
	// OnSign is told of each try of an HSM signature. It must be quick.
	OnSign func(key tezos.PublicKeyHash, elapsed time.Duration, err error)
}

// Signer signs for its keys. It is safe for concurrent use.
type Signer struct {
	keys    map[tezos.PublicKeyHash]*key
	dbs     []*ratchet.DB
	servers []*server
	turn    atomic.Uint64 // of the servers, for the next try
	locks   []*ratchet.KeyLock
	log     *slog.Logger

	certificates map[string]string // name in keys.json to path
	config       configFile        // of which new blobs are taken up

	failed   chan struct{} // closed when a ratchet has failed
	failOnce sync.Once
	closed   chan struct{}
	close    sync.Once
}

// key is an Entry with what the signer knows of it.
type key struct {
	Entry
	hash       tezos.PublicKeyHash
	options    Options
	places     []*place
	signer     *Signer
	operations queue
}

// New returns a signer for entries and takes over what they hold: Close ends it.
func New(entries []Entry, options Options) (*Signer, error) {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	s := &Signer{
		log:    options.Log,
		keys:   make(map[tezos.PublicKeyHash]*key, len(entries)),
		failed: make(chan struct{}),
		closed: make(chan struct{}),
	}
	for _, e := range entries {
		hash := e.Key.PublicKey().Hash()
		if _, double := s.keys[hash]; double {
			return nil, fmt.Errorf("key %v is configured twice", hash)
		}
		k := &key{Entry: e, hash: hash, options: options, signer: s, operations: newQueue()}
		for _, p := range append([]Place{{e.Key, e.Server}}, e.Others...) {
			s.settle(k, p)
		}
		s.keys[hash] = k
		s.dbs = appendNew(s.dbs, e.Ratchet)
	}
	for _, db := range s.dbs {
		go s.relayFailure(db)
	}
	return s, nil
}

// appendNew appends p unless it is nil or there already.
func appendNew[T any](list []*T, p *T) []*T {
	if p == nil || slices.Contains(list, p) {
		return list
	}
	return append(list, p)
}

// relayFailure makes the failure of one ratchet that of the signer: after an
// unknown commit outcome nothing more is released for any key.
func (s *Signer) relayFailure(db *ratchet.DB) {
	select {
	case <-db.Failed():
		s.failOnce.Do(func() { close(s.failed) })
	case <-s.closed:
	}
}

// Failed is closed when a ratchet has failed: nothing more is released and the
// process must exit, for only a restart can tell what is durable.
func (s *Signer) Failed() <-chan struct{} { return s.failed }

// Err returns why the signer has failed, or nil.
func (s *Signer) Err() error {
	for _, db := range s.dbs {
		if err := db.Err(); err != nil {
			return err
		}
	}
	return nil
}

// stopped is ratchet.ErrStopped, with the reason, once a ratchet has failed.
func (s *Signer) stopped() error {
	if err := s.Err(); err != nil {
		return fmt.Errorf("%w: %w", ratchet.ErrStopped, err)
	}
	return nil
}

// Close ends the ratchets (cleanly, after what is in flight), the HSM connections
// and the key locks. Sign is not to be called any more.
func (s *Signer) Close() error {
	var errs []error
	s.close.Do(func() {
		close(s.closed)
		for _, db := range s.dbs {
			errs = append(errs, db.Close())
		}
		for _, server := range s.servers {
			errs = append(errs, server.client.Close())
		}
		for _, lock := range s.locks {
			errs = append(errs, lock.Close())
		}
	})
	return errors.Join(errs...)
}

// key returns the key that hashes to hash, as long as anything may be released.
func (s *Signer) key(hash tezos.PublicKeyHash) (*key, error) {
	if err := s.stopped(); err != nil {
		return nil, err
	}
	key, ok := s.keys[hash]
	if !ok {
		return nil, fmt.Errorf("%w %v", ErrUnknownKey, hash)
	}
	return key, nil
}

// PublicKey returns the public key that hashes to hash, or ErrUnknownKey.
func (s *Signer) PublicKey(hash tezos.PublicKeyHash) (tezos.PublicKey, error) {
	key, ok := s.keys[hash]
	if !ok {
		return tezos.PublicKey{}, fmt.Errorf("%w %v", ErrUnknownKey, hash)
	}
	return key.Key.PublicKey(), nil
}

// Keys returns the hashes of all keys in the order of their bytes.
func (s *Signer) Keys() []tezos.PublicKeyHash {
	return slices.SortedFunc(maps.Keys(s.keys), func(a, b tezos.PublicKeyHash) int { return slices.Compare(a[:], b[:]) })
}

// Dropped is how many signatures the HSM made and nobody got: the ratchet had
// one of the same bytes, or refused, or failed.
func (s *Signer) Dropped() (n uint64) {
	for _, db := range s.dbs {
		n += db.Dropped()
	}
	return n
}

// Marks returns the high watermarks of all ratchets in use.
func (s *Signer) Marks(ctx context.Context) ([]ratchet.Entry, error) {
	var all []ratchet.Entry
	for _, db := range s.dbs {
		marks, err := db.Marks(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, marks...)
	}
	return all, nil
}
