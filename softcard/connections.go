package softcard

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc/peer"
)

// Cut closes all connections at once, as when the card's host loses power.
func (c *Card) Cut() {
	for _, conn := range c.conns.all() {
		_ = conn.Close() // the caller wants it gone, whatever the error
	}
}

// connections tracks the open connections of a card.
type connections struct {
	mu   sync.Mutex
	open map[endpoints]net.Conn
}

// endpoints are the two addresses of a connection.
type endpoints struct{ server, client string }

// trackingListener adds each connection that it accepts to conns.
type trackingListener struct {
	net.Listener
	conns *connections
}

// Accept waits for the next connection.
func (l trackingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked := trackedConn{conn, l.conns, endpoints{conn.LocalAddr().String(), conn.RemoteAddr().String()}}
	l.conns.mu.Lock()
	defer l.conns.mu.Unlock()
	if l.conns.open == nil {
		l.conns.open = make(map[endpoints]net.Conn)
	}
	l.conns.open[tracked.ends] = conn
	return tracked, nil
}

// trackedConn leaves conns when it is closed.
type trackedConn struct {
	net.Conn
	conns *connections
	ends  endpoints
}

// Close closes the connection.
func (c trackedConn) Close() error {
	c.conns.mu.Lock()
	defer c.conns.mu.Unlock()
	if c.conns.open[c.ends] == c.Conn {
		delete(c.conns.open, c.ends)
	}
	return c.Conn.Close()
}

// cut closes the connection of a call.
func (c *connections) cut(ctx context.Context) {
	caller, ok := peer.FromContext(ctx)
	if !ok || caller.LocalAddr == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn, ok := c.open[endpoints{caller.LocalAddr.String(), caller.Addr.String()}]; ok {
		_ = conn.Close() // the caller wants it gone, whatever the error
	}
}

func (c *connections) all() (open []net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		open = append(open, conn)
	}
	return open
}
