package server

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// maxStatusLine is longer than every status line of net/http's own answers.
const maxStatusLine = 128

// connection is a connection that a listener has accepted. It tells connections what it waits for.
// It does the TLS handshake, and answers in net/http's stead what net/http cannot read.
type connection struct {
	net.Conn          // the TLS connection, or the socket
	socket   net.Conn // of TCP
	from     netip.Addr
	all      *connections
	at       *endpoint

	shaken bool // the TLS handshake is done

	// Guarded by all.mu.
	source    *source
	phase     phase
	since     time.Time     // when the phase has begun
	element   *list.Element // of all.opened
	resting   *list.Element // of all.idle
	heard     bool          // a byte of the request that is being read has come
	late      bool          // its head has run out of time
	refused   bool          // it was answered, and ends the connection
	gone      bool          // counted no more
	closedFor closeReason   // by this server
}

// connectionKey finds a connection in the context of its requests.
type connectionKey struct{}

// withConnection is for http.Server.ConnContext.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// connectionOf returns the connection of a request, or nil if it has come by none of ours.
func connectionOf(r *http.Request) *connection {
	c, _ := r.Context().Value(connectionKey{}).(*connection)
	return c
}

// changed is for http.Server.ConnState.
func changed(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*connection); ok && state == http.StateIdle {
		c.enter(idle)
	}
}

// enter begins a phase.
func (c *connection) enter(p phase) {
	if c != nil && c.all.move(c, p) {
		_ = c.socket.Close()
		c.at.notice(c, closeFull, nil)
	}
}

// begin is called with the head of a request, and bounds the time for its body.
func (c *connection) begin(r *http.Request) {
	if c == nil {
		return
	}
	if r.ContentLength == 0 {
		c.enter(inFlight)
		return
	}
	c.enter(readingBody)
	_ = c.SetReadDeadline(time.Now().Add(bodyTimeout)) // fails on a closed connection only
}

// Read does the handshake first. A byte on an idle connection begins a request.
func (c *connection) Read(p []byte) (int, error) {
	if err := c.shakeHands(); err != nil {
		return 0, io.EOF // net/http says nothing then: it has been said
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.hear()
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		c.runOut()
	}
	return n, err
}

func (c *connection) hear() {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	if c.phase == idle && !c.gone {
		c.all.place(c, reading)
	}
	c.heard = c.heard || c.phase == reading
}

// runOut tells of a head that did not come in time. That no further request comes is no trouble.
func (c *connection) runOut() {
	c.all.mu.Lock()
	waits, heard := c.phase == reading && c.closedFor == closeNone, c.heard
	c.late = c.phase == reading || c.phase == idle
	c.all.mu.Unlock()
	switch {
	case waits && heard:
		_ = c.refuse(http.StatusRequestTimeout, "") // the client may have left
	case waits:
		c.at.notice(c, closeSilent, nil)
	}
}

// shakeHands does the TLS handshake of the first Read. It has readHeaderTimeout, and so has the
// first head after it.
func (c *connection) shakeHands() error {
	secure, ok := c.Conn.(*tls.Conn)
	if !ok || c.shaken {
		return nil
	}
	_ = c.socket.SetWriteDeadline(time.Now().Add(readHeaderTimeout)) // fails on a closed connection only
	err := secure.HandshakeContext(context.Background())             // bounded by the deadlines
	c.shaken = err == nil
	if err == nil {
		return c.SetReadDeadline(time.Now().Add(readHeaderTimeout))
	}
	c.tellHandshake(err)
	return err
}

// tellHandshake counts a handshake that failed, unless this server closed the connection or the
// client left without a word, as probes of a port do.
func (c *connection) tellHandshake(err error) {
	c.all.mu.Lock()
	ours := c.closedFor != closeNone
	c.all.mu.Unlock()
	record, garbled := errors.AsType[tls.RecordHeaderError](err)
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case ours || errors.Is(err, io.EOF):
	case garbled && record.Conn != nil && looksLikeHTTP(record.RecordHeader): // the client may have left
		_, _ = record.Conn.Write(c.at.unreadable(c, http.StatusBadRequest, "this port speaks HTTPS"))
	case ok && timeout.Timeout():
		c.at.notice(c, closeSilent, nil)
	default:
		c.at.notice(c, closeHandshake, err)
	}
}

// looksLikeHTTP reports whether the first bytes of a TLS connection begin a request without TLS.
func looksLikeHTTP(header [5]byte) bool {
	return slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO"}, string(header[:]))
}

// Write sends an answer. What comes while no handler has a request is net/http's own answer to one
// that it cannot read: it is answered, logged and counted as every other refusal.
func (c *connection) Write(p []byte) (int, error) {
	c.all.mu.Lock()
	handled := c.phase != reading && c.phase != idle
	if c.phase == inFlight && !c.gone {
		c.all.place(c, writing)
	}
	late, refused := c.late, c.refused
	c.all.mu.Unlock()
	switch {
	case refused:
		return len(p), nil // a second answer to the same request
	case handled:
		return c.Conn.Write(p)
	case late:
		return len(p), c.refuse(http.StatusRequestTimeout, "") // net/http takes what has come for the whole
	}
	status, detail, known := ownAnswer(p)
	if !known {
		return c.Conn.Write(p)
	}
	return len(p), c.refuse(status, detail)
}

// ownAnswer reads the status line of an answer of net/http: "HTTP/1.1 400 Bad Request", perhaps
// with a colon and the reason. It reports false for a status that errors.go does not know.
func ownAnswer(p []byte) (status int, detail string, known bool) {
	line, _, _ := strings.Cut(string(p[:min(len(p), maxStatusLine)]), "\r\n")
	_, _ = fmt.Sscanf(line, "HTTP/1.1 %d", &status) // another form has status 0, which is not known
	_, detail, _ = strings.Cut(line, ": ")
	_, known = unreadable[status]
	return status, detail, known
}

// refuse sends an answer to a request that cannot be read.
func (c *connection) refuse(status int, detail string) error {
	answer := c.at.unreadable(c, status, detail)
	c.enter(writing)
	c.all.mu.Lock()
	c.refused = true
	c.all.mu.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(takingTime)) // fails on a closed connection only
	_, err := c.Conn.Write(answer)
	return err
}

// CloseWrite ends an answer while the client may still send.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection and makes room for another.
func (c *connection) Close() error {
	defer c.all.remove(c) // once its descriptor is free
	return c.Conn.Close()
}
