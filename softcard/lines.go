package softcard

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc/peer"
)

// Cut ends all connections at once, as when the card's host loses power.
func (c *Card) Cut() {
	for _, conn := range c.lines.all() {
		_ = conn.Close() // that is all there is to do
	}
}

// lines are the open connections of a card.
type lines struct {
	mu   sync.Mutex
	open map[ends]net.Conn
}

// ends are the addresses of a connection.
type ends struct{ server, client string }

// tap is a listener that enters its connections in lines.
type tap struct {
	net.Listener
	lines *lines
}

// Accept enters the next connection.
func (t tap) Accept() (net.Conn, error) {
	conn, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l := line{conn, t.lines, ends{conn.LocalAddr().String(), conn.RemoteAddr().String()}}
	t.lines.mu.Lock()
	defer t.lines.mu.Unlock()
	if t.lines.open == nil {
		t.lines.open = make(map[ends]net.Conn)
	}
	t.lines.open[l.ends] = conn
	return l, nil
}

// line is one of the lines, until it is closed.
type line struct {
	net.Conn
	lines *lines
	ends  ends
}

// Close closes the connection.
func (l line) Close() error {
	l.lines.mu.Lock()
	defer l.lines.mu.Unlock()
	if l.lines.open[l.ends] == l.Conn {
		delete(l.lines.open, l.ends)
	}
	return l.Conn.Close()
}

// cut ends the connection of a call.
func (l *lines) cut(ctx context.Context) {
	caller, ok := peer.FromContext(ctx)
	if !ok || caller.LocalAddr == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if conn, ok := l.open[ends{caller.LocalAddr.String(), caller.Addr.String()}]; ok {
		_ = conn.Close() // that is all there is to do
	}
}

func (l *lines) all() (open []net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.open {
		open = append(open, conn)
	}
	return open
}
