package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"
)

// maxErrorText bounds an error of a handshake in the log, in bytes: it may hold names of a certificate.
const maxErrorText = 300

// closeReason is why this server closed a connection.
type closeReason int

const (
	closeNone      closeReason = iota // it did not, or by the rules of HTTP
	closeFull                         // the listener was at its limit
	closeShare                        // its source had too many
	closeSilent                       // no byte of a request, or no TLS handshake, came in time
	closeHandshake                    // the TLS handshake failed
	closeStop                         // its request had not arrived whole at a stop; not told
)

// closeReasons says how a reason is counted and told.
var closeReasons = map[closeReason]struct {
	label string        // in pawl_connections_closed_total and in the log
	text  string        // in the log
	every time.Duration // at most one line in it
}{
	closeFull:      {"full", "all connections of the listener are open, and this one has waited longest", time.Minute},
	closeShare:     {"share", "its source has three quarters of them, and this one has waited longest", time.Minute},
	closeSilent:    {"silent", "no request came in time", time.Minute},
	closeHandshake: {"handshake", "the TLS handshake failed", time.Second},
}

// endpoint is a Listener that is being served.
type endpoint struct {
	Listener
	server *Server
	all    *connections
	told   [closeStop + 1]rarely
}

func (s *Server) newEndpoint(l Listener) *endpoint {
	e := &endpoint{Listener: l, server: s}
	s.metrics.http.start(l.Name, l.limit())
	e.all = newConnections(l.limit(), s.metrics.http.open.WithLabelValues(l.Name), e.notice)
	return e
}

// connection wraps a socket that was accepted.
func (e *endpoint) connection(socket net.Conn) *connection {
	c := &connection{Conn: socket, socket: socket, from: sourceOf(socket.RemoteAddr()), all: e.all, at: e}
	if e.TLS != nil {
		c.Conn = tls.Server(socket, e.TLS)
	}
	return c
}

// notice counts a connection that was closed, and tells of it now and then.
func (e *endpoint) notice(c *connection, reason closeReason, err error) {
	how := closeReasons[reason]
	e.server.metrics.http.closed.WithLabelValues(e.Name, how.label).Inc()
	untold, now := e.told[reason].tell(time.Now(), how.every)
	if !now {
		return
	}
	attrs := []slog.Attr{
		slog.String("reason", how.label),
		slog.String("text", how.text),
		slog.String("listener", e.Name),
		slog.String("client", c.RemoteAddr().String()),
		slog.Int("limit", e.all.limit),
		slog.Int("untold", untold),
	}
	if err != nil {
		attrs = append(attrs, slog.String("err", shortened(err.Error(), maxErrorText)))
	}
	e.server.log.LogAttrs(context.Background(), slog.LevelWarn, "connection closed", attrs...)
}

func statusLabel(status int) string { return strconv.Itoa(status) }

// unreadable counts and logs a request that cannot be read, and returns the answer to it, which
// ends the connection. status is one of the map unreadable.
func (e *endpoint) unreadable(c *connection, status int, detail string) []byte {
	log := newRequestLog()
	err := unreadable[status]
	if detail != "" {
		err = fmt.Errorf("%w: %s", err, detail)
	}
	e.server.metrics.http.unreadable.WithLabelValues(e.Name, statusLabel(status)).Inc()
	e.server.finish(context.Background(), log, err,
		slog.String("client", c.RemoteAddr().String()), slog.Int("status", status))
	body, _ := json.Marshal(newTrace(refusalOf(err).message(err, log.id))) // strings always marshal
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: application/json\r\nX-Request-Id: %s\r\n"+
		"Content-Length: %d\r\nConnection: close\r\n\r\n%s\n", status, http.StatusText(status),
		time.Now().UTC().Format(http.TimeFormat), log.id, len(body)+1, body)
}
