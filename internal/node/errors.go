package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"unicode"
)

// maxQuoted bounds what an error quotes of an answer, or of the words of a library, which may quote one,
// in bytes.
const maxQuoted = 100

// Error says why a node told no head.
type Error struct {
	Node   string // its host and port
	Reason string // what it did
	Remedy string // what to do
	// Err is the cause, for errors.Is. Its own text may hold the path of the URL and much of the answer.
	Err error
}

// Error is one line with all three. It holds no path of the URL, and at most 100 bytes of the answer.
func (e *Error) Error() string { return "node " + e.Node + ": " + e.Reason + ": " + e.Remedy }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// answerError is an answer that is no head, in words that may be shown.
type answerError struct{ reason, remedy string }

func (e *answerError) Error() string { return e.reason }

const rpcRemedy = "see that node_url is the address of a node's RPC"

// noHeader is an answer with status 200 that no node gives.
func noHeader(format string, args ...any) error {
	return &answerError{fmt.Sprintf(format, args...), rpcRemedy}
}

// statusError is an answer with another status than 200. Its text is not told: it may repeat the path.
func statusError(status int) error {
	e := &answerError{fmt.Sprintf("answers with status %d", status), rpcRemedy + ", and that it allows GET /" + headPath}
	if status >= 300 && status < 400 {
		e.remedy = "name the address in node_url that it redirects to: pawl does not follow"
	}
	return e
}

// failure is what came of a question that the caller asked with ctx.
func (c *Client) failure(ctx context.Context, err error) error {
	e := &Error{Node: c.name, Err: err}
	e.Reason, e.Remedy = c.explain(ctx, err)
	return e
}

// explain names the words of libraries only where they are known to be about this host or the connection.
func (c *Client) explain(ctx context.Context, err error) (reason, remedy string) {
	const running = "see that the node runs, that node_url is right, and that no firewall is between"
	answer, answered := errors.AsType[*answerError](err)
	network, isNetwork := errors.AsType[*net.OpError](err)
	certificate, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case answered:
		return answer.reason, answer.remedy
	case ctx.Err() != nil:
		return "was not waited for", "ask again"
	case timedOut(err):
		return fmt.Sprintf("did not answer within %v", c.timeout), running
	case isCertificate:
		return short(certificate.Error()), "see that node_url is right, and that this host trusts the CA of the node"
	case noTLS || errors.Is(err, http.ErrSchemeMismatch):
		return "speaks no TLS", "write http:// in node_url if the way to the node is safe"
	case isNetwork:
		return short(network.Error()), running
	}
	return "broke off, or speaks no HTTP", rpcRemedy
}

// timedOut reports whether the time was over. The network may tell so before a context does.
func timedOut(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && network.Timeout()
}

// quoted is part of an answer, in quotes.
func quoted(text string) string {
	if len(text) > maxQuoted {
		return strconv.Quote(text[:maxQuoted]) + "…"
	}
	return strconv.Quote(text)
}

// short is foreign text on one line, cut short and without control characters.
func short(text string) string {
	if len(text) > maxQuoted {
		text = strings.ToValidUTF8(text[:maxQuoted], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
