package ratchet_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"pawl/ratchet"
	"pawl/tezos"
)

// Mainnet's chain id and that of Ghostnet.
var (
	mainnet  = tezos.ChainID{0x7a, 0x06, 0xa7, 0x70}
	ghostnet = tezos.ChainID{0xb3, 0xd7, 0x9f, 0x99}
)

func keyNumber(n int) tezos.PublicKeyHash {
	k := tezos.PublicKeyHash{byte(tezos.P256)}
	binary.BigEndian.PutUint64(k[1:], uint64(n))
	return k
}

var baker = keyNumber(1)

func block(level, round int32) ratchet.Mark {
	return ratchet.Mark{Key: baker, ChainID: mainnet, Kind: tezos.Block, Level: level, Round: round}
}

// bytesNumber is the digest of the n-th payload of a test.
func bytesNumber(n int) tezos.Digest {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// signatureOf is a signature of some bytes; try tells those of one payload apart,
// as a card's ECDSA makes another each time.
func signatureOf(tb testing.TB, d tezos.Digest, try int) tezos.Signature {
	tb.Helper()
	return signatureFrom(d, try)
}

func signatureFrom(d tezos.Digest, try int) tezos.Signature {
	r := sha256.Sum256(binary.BigEndian.AppendUint64(d[:], uint64(try)))
	raw := append(r[:], d[:]...)
	s, err := tezos.NewSignature(tezos.P256, raw)
	if err != nil {
		panic(err) // 64 bytes are always one; there is no testing.TB on a card's goroutine
	}
	return s
}

// card signs with another signature at each call, and counts the calls.
type card struct{ calls atomic.Int64 }

func (c *card) sign(d tezos.Digest) ratchet.SignFunc {
	return func(context.Context) (tezos.Signature, error) {
		return signatureFrom(d, int(c.calls.Add(1))), nil
	}
}

// newFile makes an empty ratchet.
func newFile(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "ratchet.db")
	if err := ratchet.Create(tb.Context(), path); err != nil {
		tb.Fatalf("Create: %v", err)
	}
	return path
}

// open opens a ratchet that is closed with the test, if it is still open then.
func open(tb testing.TB, path string, opts ratchet.Options) *ratchet.DB {
	tb.Helper()
	db, err := ratchet.Open(tb.Context(), path, opts)
	if err != nil {
		tb.Fatalf("Open(%s): %v", filepath.Base(path), err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil && !errors.Is(err, ratchet.ErrStopped) {
			tb.Errorf("Close: %v", err)
		}
	})
	return db
}

// openRegistered opens a new ratchet that allows the baker to sign on mainnet
// from level 0.
func openRegistered(tb testing.TB, opts ratchet.Options) *ratchet.DB {
	tb.Helper()
	db := open(tb, newFile(tb), opts)
	register(tb, db, baker, mainnet, 0)
	return db
}

func register(tb testing.TB, db *ratchet.DB, key tezos.PublicKeyHash, chain tezos.ChainID, from int32) {
	tb.Helper()
	if err := db.Register(tb.Context(), key, chain, from); err != nil {
		tb.Fatalf("Register(%s, %s, %d): %v", key, chain, from, err)
	}
}

// abandon ends a ratchet as a kill would.
func abandon(tb testing.TB, db *ratchet.DB) {
	tb.Helper()
	if err := db.Abandon(); err != nil {
		tb.Fatalf("Abandon: %v", err)
	}
}

func closeDB(tb testing.TB, db *ratchet.DB) {
	tb.Helper()
	if err := db.Close(); err != nil {
		tb.Fatalf("Close: %v", err)
	}
}

// mustSign signs a payload of the mark and returns what was released.
func mustSign(tb testing.TB, db *ratchet.DB, m ratchet.Mark, d tezos.Digest) ratchet.Release {
	tb.Helper()
	var c card
	release, err := db.Sign(tb.Context(), m, d, c.sign(d))
	if err != nil {
		tb.Fatalf("Sign(%s %d/%d): %v", m.Kind, m.Level, m.Round, err)
	}
	return release
}

// wantRefused checks the kind of a refusal, and its text unless that is "".
func wantRefused(tb testing.TB, err error, reason ratchet.Reason, text string) {
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

func present(tb testing.TB, path string) bool {
	tb.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		tb.Fatal(err)
	}
	return err == nil
}

func canceled(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	return ctx
}
