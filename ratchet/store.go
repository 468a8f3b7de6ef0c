package ratchet

// The contract with whatever keeps the marks.

import (
	"context"

	"pawl/tezos"
)

// A Store keeps the marks and the registrations. It is serializable per slot key: of two proposals
// the second sees the result of the first. It is safe for concurrent use.
type Store interface {
	// Look returns what is known of m's slot key. It is the early look before the HSM is asked and
	// must be quick: no disk, no network. Its marks may lack those of a Place that has not returned,
	// its registrations may lack nothing. It never allows anything: Place decides.
	Look(ctx context.Context, m Mark) (Standing, error)

	// Place raises the mark of p's slot key to p and keeps the signature, if Standing.Judge allows
	// it at that moment. When it returns nil the released signature is durable: the proposed one,
	// or, with Stored, the one that was there for the same bytes. After an error nothing may leave:
	// a *RefusedError is a refusal, and ErrCommit means that nothing was stored. After ErrUnknown,
	// when nobody knows, the ratchet releases nothing more. Once begun the outcome does not depend
	// on ctx.
	Place(ctx context.Context, p Proposal) (Release, error)

	// Change has plan say what is to change in all that the store holds, and changes it, in one
	// transaction. plan may be called twice and must do nothing else. An error of plan changes nothing
	// and is returned as it is; other errors are those of Place. When it returns nil the changes that it
	// returns are durable.
	Change(ctx context.Context, plan Plan) (Changes, error)

	// List returns all that the store holds and has committed. Nobody who asks for a signature waits
	// for it: of a Place that has not returned the mark may be missing.
	List(ctx context.Context) (Snapshot, error)

	// Trouble returns the reason why no mark can be made durable now, such as a full disk, or nil.
	// The store finds out by itself when its trouble is over.
	Trouble() error

	// Failed is closed when nothing more may be released, because the outcome of a commit is
	// unknown. Trouble then returns the reason. The error of Place is not enough: a checkpoint of
	// SQLite can fail like this between two requests, and the process must exit at once.
	Failed() <-chan struct{}

	// Close ends the store. No other method may be running, or be called later, except Trouble and
	// Failed.
	Close() error
}

// Proposal is a mark with the signature that was just made for it.
type Proposal struct {
	Mark
	Digest    tezos.Digest
	Signature tezos.Signature
	MaxGap    int32 // for Standing.Judge
}
