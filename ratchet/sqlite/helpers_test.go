package sqlite_test

import (
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
)

type (
	DB      = ratchettest.DB
	options = ratchettest.Options
	card    = ratchettest.Card
)

var (
	mainnet  = ratchettest.Mainnet
	ghostnet = ratchettest.Ghostnet
	baker    = ratchettest.Baker

	keyNumber     = ratchettest.KeyNumber
	block         = ratchettest.Block
	bytesNumber   = ratchettest.BytesNumber
	signatureOf   = ratchettest.SignatureOf
	signatureFrom = ratchettest.SignatureFrom

	newFile        = ratchettest.NewFile
	openDB         = ratchettest.OpenDB
	open           = ratchettest.Open
	openRegistered = ratchettest.OpenRegistered
	register       = ratchettest.Register
	closeDB        = ratchettest.CloseDB
	mustSign       = ratchettest.MustSign
	wantRefused    = ratchettest.WantRefused
	present        = ratchettest.Present
	canceled       = ratchettest.Canceled

	ask = ratchettest.Ask
)

// abandon ends a ratchet as a kill would.
func abandon(tb testing.TB, db *DB) {
	tb.Helper()
	if err := db.Abandon(); err != nil {
		tb.Fatalf("Abandon: %v", err)
	}
}

// merging is the plan of Snapshot.Merge.
func merging(other ratchet.Snapshot) ratchet.Plan {
	return func(held ratchet.Snapshot) (ratchet.Changes, error) { return held.Merge(other) }
}
