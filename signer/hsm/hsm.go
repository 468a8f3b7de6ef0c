// Package hsm is the contract between the sign path and whatever holds a key: a GREP11 server
// today, any other home of a key tomorrow. The sign path decides from a Fault and a State
// alone; blobs, master keys and return codes stay behind this contract.
package hsm

import (
	"context"
	"errors"
	"time"

	"pawl/tezos"
)

// A Key signs, wherever its secret lives. It is safe for concurrent use.
type Key interface {
	PublicKey() tezos.PublicKey
	// Sign makes one attempt at a signature of m within ctx. The sign path retries, and verifies
	// every signature; a Key verifies only to learn which of its secrets is the right one. Its
	// errors carry a Fault. A tz2 or tz3 signature has low s.
	Sign(ctx context.Context, m tezos.Message) (tezos.Signature, error)
	// Trouble says why the key cannot sign here, as far as that is known without a call, or
	// returns nil. Its errors carry a Fault.
	Trouble() error
}

// A Server is what several keys share: a connection, capabilities, a state. It is safe for
// concurrent use.
type Server interface {
	// Address is what operators know the server by. It never changes.
	Address() string
	// State tells without a call whether a signature could start now.
	State() State
	// Refresh reconnects if the connection is lost, takes up renewed certificates, and asks what
	// the server can do. It is called every second and by a request that waits for the server.
	// Its error says that the server did not answer; keys may sign there all the same.
	Refresh(ctx context.Context) error
	// Close ends the connection. Calls in flight fail.
	Close() error
}

// RetryPause is between two tries at the only server that could sign: time in which one that was
// restarted is connected again.
const RetryPause = time.Second

// Probe has a key sign a random message, which is of no use to anybody, and verifies the signature.
// The error of a signature that does not verify Is tezos.ErrBadSignature.
func Probe(ctx context.Context, key Key) error {
	message, err := tezos.NewProbe()
	if err != nil {
		return err
	}
	signature, err := key.Sign(ctx, message)
	if err != nil {
		return err
	}
	return key.PublicKey().Verify(message, signature)
}

// State says whether a server takes a call now.
type State uint8

// The states.
const (
	Up   State = iota
	Full       // as many calls as it may have are in flight: the next one waits
	Down       // not connected
)

// Fault is what an error of a Key tells of.
type Fault uint8

// The faults. The sign path reacts to each in its own way.
const (
	Unknown   Fault = iota // of this server, for all that is known: another one may sign
	Transient              // may pass: the connection, the time, a card in trouble. Try again, here or elsewhere
	Unfit                  // this server is not one for this key: another master key, no such mechanism
	Rejected               // the key itself: no server will sign with it
)

// FaultError is an error with its Fault. The text is that of Err.
type FaultError struct {
	Fault Fault
	Err   error
}

func (e *FaultError) Error() string { return e.Err.Error() }

// Unwrap returns the error without the Fault.
func (e *FaultError) Unwrap() error { return e.Err }

// FaultOf returns the Fault that err carries, Unknown if it carries none.
func FaultOf(err error) Fault {
	if e, ok := errors.AsType[*FaultError](err); ok {
		return e.Fault
	}
	return Unknown
}
