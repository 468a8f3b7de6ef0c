package server

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// shareOfSource is what part of a listener's connections one source may have while others could
	// do without them: three quarters. Everything behind one proxy is one source, and so is loopback.
	shareOfSource = 0.75
	// manyOfSource is from what part on a source gives way before all others: a sixteenth, but leastMany
	// connections, which several clients of one host may have.
	manyOfSource = 1.0 / 16
	leastMany    = 8
	// arrivingTime is what a request takes to arrive. A client sends it with the last packet of the
	// connecting, but a handshake has more packets, and a busy host reads them late.
	arrivingTime = 50 * time.Millisecond
	// spareTime is for how long a request that is arriving is spared while answers are on their way that
	// perhaps nobody takes: a flood of those is what makes a host read late.
	spareTime = time.Second
	// takingTime is what an answer takes to be made and sent. All but those of the admin listener fit
	// into the socket's buffer.
	takingTime = 100 * time.Millisecond
	// roomPoll is how often a connection that found no room looks again: these times end unannounced.
	roomPoll = 10 * time.Millisecond
)

// phase is what a connection waits for.
type phase int

const (
	reading     phase = iota // a TLS handshake, or the head of a request
	readingBody              // the body of a request whose head a handler has
	inFlight                 // a handler that has the whole request
	writing                  // the client, to take its answer
	idle                     // the next request
)

// grace is how long a phase takes if all goes well.
func (p phase) grace() time.Duration {
	if p == reading || p == readingBody {
		return arrivingTime
	}
	return takingTime
}

// connections are the open connections of one listener. Their number is limited. At the limit one
// that waits for its client is closed for a new one: the one that has been idle longest if there is
// any, else the oldest whose answer is not taken, else the oldest whose request has not arrived whole.
// A request in flight is never cut off: if there is nothing else, the new connection waits.
type connections struct {
	limit  int
	share  int                                                // of one source
	many   int                                                // of one source
	gauge  prometheus.Gauge                                   // of open
	notice func(c *connection, reason closeReason, err error) // tells that c was closed
	room   chan struct{}                                      // 1: there may be room
	closed chan struct{}                                      // with the listener

	mu      sync.Mutex
	open    int
	wanted  bool // a new connection found no room
	sources map[netip.Addr]*source
	opened  *list.List // of *connection, the oldest first
	idle    *list.List // those of them that are idle, the one that has been so longest first
}

// source is who opens connections: an IPv4 address, or the 64 bits of an IPv6 network.
type source struct {
	addr          netip.Addr
	open, waiting int
}

func newConnections(limit int, gauge prometheus.Gauge, notice func(*connection, closeReason, error)) *connections {
	return &connections{
		limit:   limit,
		share:   max(1, int(shareOfSource*float64(limit))),
		many:    max(leastMany, int(manyOfSource*float64(limit))),
		gauge:   gauge,
		notice:  notice,
		room:    make(chan struct{}, 1),
		closed:  make(chan struct{}),
		sources: make(map[netip.Addr]*source),
		idle:    list.New(),
		opened:  list.New(),
	}
}

// sourceOf returns whom a connection from addr counts for.
func sourceOf(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() {
		network, _ := ip.Prefix(64) // 64 bits fit
		return network.Addr()
	}
	return ip
}

// admit makes room for c and counts it in. It reports false if the listener was closed meanwhile.
func (s *connections) admit(c *connection) bool {
	for {
		victim, reason, admitted := s.tryAdmit(c)
		switch {
		case victim != nil:
			_ = victim.socket.Close() // its handler or net/http sees it
			s.notice(victim, reason, nil)
		case admitted:
			return true
		default:
			select {
			case <-s.closed:
				return false
			case <-s.room:
			case <-time.After(roomPoll):
			}
		}
	}
}

// tryAdmit counts c in if there is room. Otherwise it takes the connection that must give way out
// of the count and returns it, or nil if there is none.
func (s *connections) tryAdmit(c *connection) (victim *connection, reason closeReason, admitted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.sources[c.from]
	if from == nil {
		from = &source{addr: c.from}
	}
	if from.open >= s.share {
		victim, _ = s.oldest(func(other *connection) bool { return other.source == from })
		reason = closeShare
	}
	if victim == nil && s.open >= s.limit {
		if victim, reason = s.crowded(), closeFull; victim == nil {
			s.wanted = true
			return nil, closeNone, false
		}
	}
	s.wanted = false
	if victim != nil {
		s.takeOut(victim, reason)
		return victim, reason, false
	}
	s.sources[c.from] = from
	c.source = from
	from.open++
	s.open++
	s.gauge.Inc()
	c.element = s.opened.PushBack(c)
	c.source.waiting++ // it is reading
	c.since = time.Now()
	return nil, closeNone, true
}

// crowded returns the oldest waiting connection of a source that has many, or else the oldest of
// all: whoever opens the most loses the most.
func (s *connections) crowded() *connection {
	c, soon := s.oldest(func(c *connection) bool { return c.source.waiting >= s.many })
	if c == nil && !soon {
		c, _ = s.oldest(func(*connection) bool { return true })
	}
	return c
}

// oldest returns the connection that should give way first of those that are waiting and match: an
// idle one, or one whose answer is not taken, before one whose request is arriving, which a host that
// is short of time reads late. That one is spared for spareTime while an answer is on its way: it may
// turn out not to be taken. If oldest returns nil, soon reports whether there may be one in a moment.
func (s *connections) oldest(match func(*connection) bool) (c *connection, soon bool) {
	for e := s.idle.Front(); e != nil; e = e.Next() {
		if c := of(e); match(c) {
			return c, false
		}
	}
	answering := false
	for e := s.opened.Front(); e != nil; e = e.Next() {
		other := of(e)
		switch overdue := time.Since(other.since) >= other.phase.grace(); {
		case !match(other):
		case !overdue:
			soon = true
			answering = answering || other.phase == writing
		case other.phase == writing:
			return other, false
		case other.phase != inFlight && c == nil:
			c = other
		}
	}
	if c != nil && answering && time.Since(c.since) < spareTime {
		c = nil
	}
	return c, soon && c == nil
}

// shed closes the connection that should give way first, if any is waiting.
func (s *connections) shed() {
	s.mu.Lock()
	victim := s.crowded()
	if victim != nil {
		s.takeOut(victim, closeFull)
	}
	s.mu.Unlock()
	if victim != nil {
		_ = victim.socket.Close()
		s.notice(victim, closeFull, nil)
	}
}

// takeOut ends the counting of c, which this server closes for a reason. The caller has s.mu.
func (s *connections) takeOut(c *connection, reason closeReason) {
	s.unplace(c)
	s.opened.Remove(c.element)
	c.gone, c.closedFor = true, reason
	s.open--
	s.gauge.Dec()
	if c.source.open--; c.source.open == 0 {
		delete(s.sources, c.source.addr)
	}
	select {
	case s.room <- struct{}{}:
	default:
	}
}

// remove ends the counting of c, unless it was taken out before.
func (s *connections) remove(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.gone && c.source != nil {
		s.takeOut(c, closeNone)
	}
}

// move sets the phase of c. It reports whether c must give way at once: it becomes idle, of a source
// that has many, while a new connection waits. A client that sends many requests at once, and so is
// idle for no time at all, would keep its place otherwise.
func (s *connections) move(c *connection, p phase) (giveWay bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case p == c.phase:
	case c.gone:
		c.phase = p
	case p == readingBody && c.phase == reading:
		c.phase = p // its time began with the head; it waits as before
	default:
		s.place(c, p)
		c.heard = false
	}
	giveWay = p == idle && s.wanted && !c.gone && c.source.open >= s.many
	if giveWay {
		s.takeOut(c, closeFull)
	}
	return giveWay
}

// place sets the phase of c, whose time begins now. The caller has s.mu.
func (s *connections) place(c *connection, p phase) {
	s.unplace(c)
	c.phase, c.since = p, time.Now()
	if p != inFlight {
		c.source.waiting++
	}
	if p == idle {
		c.resting = s.idle.PushBack(c)
	}
}

func (s *connections) unplace(c *connection) {
	if c.phase != inFlight {
		c.source.waiting--
	}
	if c.resting != nil {
		s.idle.Remove(c.resting)
		c.resting = nil
	}
}

// of returns the connection of an element.
func of(e *list.Element) *connection {
	c, _ := e.Value.(*connection)
	return c
}

// stopWaiting closes the connections whose request has not arrived whole, and those whose answer
// is not taken. A handler that waits for a body is told that none comes, and can still answer.
func (s *connections) stopWaiting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.opened.Front(); e != nil; e = e.Next() {
		c := of(e)
		switch {
		case c.phase == inFlight, c.phase == idle:
		case c.phase == readingBody:
			_ = c.socket.SetReadDeadline(time.Unix(1, 0)) // fails on a closed one only
		case time.Since(c.since) >= c.phase.grace():
			c.closedFor = closeStop
			_ = c.socket.Close()
		}
	}
}
