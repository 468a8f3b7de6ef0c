package server

import (
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// acceptPause is how long Accept waits after an error, doubled up to maxAcceptPause.
const (
	acceptPause    = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// Errors of accept that a listener outlives (accept(2)).
var (
	// scarce: the process or the kernel has no descriptor or no memory for one more connection.
	scarce = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM}
	// passing: the connection had an error before it was accepted, or a firewall forbids it.
	passing = []error{
		syscall.ECONNABORTED, syscall.EINTR, syscall.EAGAIN, syscall.EPERM, syscall.EPROTO, syscall.ENETDOWN,
		syscall.ENOPROTOOPT, syscall.EHOSTDOWN, syscall.ENONET, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP,
		syscall.ENETUNREACH, syscall.ETIMEDOUT,
	}
)

func isOneOf(err error, known []error) bool {
	return slices.ContainsFunc(known, func(one error) bool { return errors.Is(err, one) })
}

// limited is the listener of an endpoint. It never has more connections than its limit, plus one
// that waits.
type limited struct {
	*endpoint
	closing sync.Once
	failing rarely
}

// Accept returns a connection once there is room for it. It stops at nothing that passes: out of
// descriptors, it closes the connection that has waited longest and tries again.
func (l *limited) Accept() (net.Conn, error) {
	for pause := acceptPause; ; pause = min(2*pause, maxAcceptPause) {
		socket, err := l.Listener.Accept()
		if err == nil {
			c := l.connection(socket)
			if l.all.admit(c) {
				return c, nil
			}
			_ = socket.Close()
			return nil, net.ErrClosed
		}
		switch {
		case isOneOf(err, scarce):
			l.all.shed()
		case !isOneOf(err, passing):
			return nil, err
		}
		l.tell(err)
		select {
		case <-l.all.closed:
			return nil, net.ErrClosed
		case <-time.After(pause):
		}
	}
}

// tell logs an error of accept, at most one a minute.
func (l *limited) tell(err error) {
	if untold, now := l.failing.tell(time.Now(), time.Minute); now {
		l.server.log.Warn("connections cannot be accepted for a moment", "listener", l.Name, "untold", untold, "err", err)
	}
}

// Close ends Accept too.
func (l *limited) Close() error {
	l.closing.Do(func() { close(l.all.closed) })
	return l.Listener.Close()
}
