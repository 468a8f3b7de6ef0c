package signer

import (
	"cmp"
	"errors"
	"fmt"
	"sync/atomic"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// server is one HSM server with the keys that are used there.
type server struct {
	client *grep11.Client // nil in tests of keys without a server
	places []*place
	lacks  atomic.Pointer[map[tezos.KeyKind]error] // by the mechanism list last told; nil before

	signed, failed atomic.Uint64 // tries
}

// place is a key at one server.
type place struct {
	Key
	key    *key
	server *server
	health health

	offered atomic.Uint64 // how often there was a new blob
}

// settle gives k a place at a server, which is made when the first key comes.
func (s *Signer) settle(k *key, at Place) {
	var home *server
	for _, known := range s.servers {
		if known.client == at.Server {
			home = known
		}
	}
	if home == nil {
		home = &server{client: at.Server}
		if at.Server != nil {
			s.servers = append(s.servers, home)
		}
	}
	p := &place{Key: at.Key, key: k, server: home}
	k.places = append(k.places, p)
	home.places = append(home.places, p)
}

func (s *server) address() string {
	if s.client == nil {
		return ""
	}
	return s.client.Address()
}

// errNotConnected is the state of a server to which no connection stands.
var errNotConnected = errors.New("not connected")

// standing is how much is to be expected of a place.
type standing int

// The standings, best first.
const (
	good     standing = iota // the key signs there
	full                     // it does, and as many calls as may be are under way
	doubtful                 // connected, but the key has not signed yet, or failed the last time
	away                     // not connected
	unfit                    // the key, or what it signs with, is refused
)

func (p *place) standing() standing {
	err := p.err()
	_, refused := errors.AsType[*grep11.Error](err)
	client := p.server.client
	switch {
	case refused && !grep11.Transient(err) || grep11.Unfit(err):
		return unfit
	case client != nil && !client.Connected():
		return away
	case err != nil:
		return doubtful
	case client != nil && client.Full():
		return full
	}
	return good
}

// err is nil when the key can sign there, else why not.
func (p *place) err() error { return cmp.Or(p.server.lack(p.key), p.health.err()) }

// lack is why the server's mechanism list is not enough for a key, or nil.
func (s *server) lack(k *key) error {
	if lacks := s.lacks.Load(); lacks != nil {
		return (*lacks)[k.hash.Kind()]
	}
	return nil
}

// choose gives the place for a try: the servers in turn, of those that stand best.
// Where it was tried before is no better than doubtful, and then the last of its
// standing. With all of them in trouble it is the least bad one, so that a server
// that is back is used at once.
func (k *key) choose(before *place) (best *place) {
	if len(k.places) == 1 {
		return k.places[0]
	}
	turn, least := k.signer.turn.Add(1), unfit+1
	for range k.places {
		p := k.places[turn%uint64(len(k.places))]
		turn++
		stands := p.standing()
		if p == before {
			stands = max(stands, doubtful)
		}
		if stands < least || stands == least && best == before {
			best, least = p, stands
		}
	}
	return best
}

// wake has the servers that are not connected tried again now.
func (k *key) wake() {
	for _, p := range k.places {
		if client := p.server.client; client != nil && !client.Connected() {
			client.Wake()
		}
	}
}

// tried records the outcome of a signature.
func (p *place) tried(err error) {
	if err == nil {
		p.server.signed.Add(1)
	} else {
		p.server.failed.Add(1)
	}
	p.health.set(err)
	p.spread(err)
}

// spread tells all keys of a master key that the server has another one. Of an only
// server each key learns it by itself, and so does one with several blobs.
func (p *place) spread(err error) {
	id, known := p.masterKey()
	if len(p.key.places) == 1 || !otherMasterKey(err) || !known {
		return
	}
	for _, other := range p.server.places {
		if otherID, known := other.masterKey(); known && otherID == id {
			other.health.set(err)
		}
	}
}

// masterKey is the id of the master key that wraps the only blob of the key.
func (p *place) masterKey() (id [16]byte, known bool) {
	key, ok := p.Key.(*grep11.Key)
	if !ok {
		return id, false
	}
	return key.MasterKey()
}

func otherMasterKey(err error) bool {
	e, ok := errors.AsType[*grep11.Error](err)
	return ok && e.Code == ep11.CodeIBMWKIDMismatch
}

// ServerState is what is known of an HSM server.
type ServerState struct {
	Address string
	// Err is nil when every key can sign there, else why one cannot: the server
	// is left out for it.
	Err error
	// Signed and Failed count the tries of signatures, probes not included.
	Signed, Failed uint64
}

// Servers tells the state of each server, in the order of url.
func (s *Signer) Servers() []ServerState {
	states := make([]ServerState, len(s.servers))
	for i, server := range s.servers {
		_, err := server.trouble()
		states[i] = ServerState{server.address(), err, server.signed.Load(), server.failed.Load()}
	}
	return states
}

// cause is why a key cannot sign at a server.
type cause int

// The causes. Of several the last one is told.
const (
	none cause = iota
	notProbed
	failing
	otherMaster
	noMechanism
)

func causeOf(err error) cause {
	_, lacks := errors.AsType[*grep11.LackError](err)
	switch {
	case err == nil:
		return none
	case errors.Is(err, errNotProbed):
		return notProbed
	case lacks:
		return noMechanism
	case otherMasterKey(err):
		return otherMaster
	}
	return failing
}

// trouble is why a key cannot sign at the server, nil when all can.
func (s *server) trouble() (worst cause, err error) {
	var out int
	for _, p := range s.places {
		e := p.err()
		if e != nil {
			out++
		}
		if c := causeOf(e); c > worst {
			worst, err = c, e
		}
	}
	switch {
	case out == 0 && !s.client.Connected():
		return failing, errNotConnected
	case out == 0:
		return none, nil
	case worst == otherMaster:
		err = fmt.Errorf("it has another master key than the key blobs: %w", err)
	}
	return worst, fmt.Errorf("%d of %d keys cannot sign there: %w", out, len(s.places), err)
}

// serverTeller logs what has changed of the servers since it was called last: one line
// for a server that is left out for a key or takes all of them again, none for the
// probes of the start.
func (s *Signer) serverTeller(log func(address string, err error)) func() {
	told := make([]cause, len(s.servers))
	return func() {
		for i, server := range s.servers {
			now, err := server.trouble()
			if now != notProbed && now != told[i] {
				told[i] = now
				log(server.address(), err)
			}
		}
	}
}
