package signer

// What is told of servers: their state, and a log line when one is left out.

import (
	"errors"
	"fmt"

	"pawl/signer/hsm"
)

var (
	// errNotConnected is the state of a server to which no connection stands.
	errNotConnected = errors.New("not connected")
	// errNotProbed is the state of a key that has signed nothing yet.
	errNotProbed = errors.New("no probe signature yet")
)

// ServerState is what is known of an HSM server.
type ServerState struct {
	Address string
	// Err is nil if every key can sign there, else why one cannot: the server is left out for it.
	Err error
	// Signed and Failed count the tries of signatures, probes not included.
	Signed, Failed uint64
}

// Servers tells the state of each server, in the order in which the keyring names them.
func (s *Signer) Servers() []ServerState {
	servers := s.ring.Load().servers
	states := make([]ServerState, len(servers))
	for i, server := range servers {
		_, err := server.trouble()
		states[i] = ServerState{server.address(), err, server.signed.Load(), server.failed.Load()}
	}
	return states
}

// cause is why a key cannot sign at a server, as far as a line of the log is worth it.
type cause int

// The causes. Of several keys the last one is told.
const (
	none cause = iota
	notProbed
	failing
	unfit
)

func causeOf(err error) cause {
	switch {
	case err == nil:
		return none
	case errors.Is(err, errNotProbed):
		return notProbed
	case hsm.FaultOf(err) == hsm.Unfit:
		return unfit
	}
	return failing
}

// trouble says why a key cannot sign at the server, nil when all can.
func (s *server) trouble() (worst cause, err error) {
	var bad int
	for _, r := range s.replicas {
		e := r.trouble()
		if e != nil {
			bad++
		}
		if c := causeOf(e); c > worst {
			worst, err = c, e
		}
	}
	switch {
	case bad == 0 && s.state() == hsm.Down:
		return failing, errNotConnected
	case bad == 0:
		return none, nil
	}
	return worst, fmt.Errorf("%d of %d keys cannot sign there: %w", bad, len(s.replicas), err)
}

// serverTeller returns a function that logs what has changed since it was called last: one line
// for a server that is left out for a key or takes all of them again, none for the probes of
// the start.
func (s *Signer) serverTeller() func() {
	told := make(map[hsm.Server]cause)
	return func() {
		for _, server := range s.ring.Load().servers {
			now, err := server.trouble()
			if now == notProbed || now == told[server.hsm] {
				continue
			}
			told[server.hsm] = now
			s.tellServer(server.address(), err)
		}
	}
}

// tellServer logs that a server is left out, or is not any more.
func (s *Signer) tellServer(address string, err error) {
	if err != nil {
		s.options.Log.Warn("HSM server left out", "server", address, "err", err)
		return
	}
	s.options.Log.Info("HSM server in use", "server", address)
}
