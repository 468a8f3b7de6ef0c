package grep11

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// Error is a Grep11Error of the server, with the name of its code.
type Error struct {
	RPC    string
	Code   ep11.Code
	Detail string // the server's words, one line
}

// Error names the call and the code on one line, then quotes the server.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %v (0x%x): %s", e.RPC, e.Code, uint64(e.Code), e.Detail)
}

// transportError is a gRPC status without a Grep11Error: the call may not have reached the card.
type transportError struct {
	rpc    string
	status *status.Status
}

func (e *transportError) Error() string {
	return fmt.Sprintf("%s: %v: %s", e.rpc, e.status.Code(), causeOf(oneLine(e.status.Message())))
}

// wrapping matches what gRPC writes before the words of TLS or the kernel, wrappingEnd what it
// writes after them.
var wrapping = regexp.MustCompile(`^connection error: desc = "(transport: )?(error reading server preface: )?`)

const (
	wrappingEnd = `"`
	alertPrefix = "remote error: tls: " // crypto/tls: an alert of the peer (RFC 8446 section 6)
)

// causeOf returns the cause in the message of a status. An alert comes from the server: it
// refuses this client's certificate once its own has been verified.
func causeOf(message string) string {
	if found := wrapping.FindString(message); found != "" {
		message = strings.TrimSuffix(message[len(found):], wrappingEnd)
	}
	if strings.HasPrefix(message, alertPrefix) {
		message += ": the server refuses the client certificate, see cert_path"
	}
	return message
}

// wordless drops the server's words from the error of a call that carried a secret: they may
// quote it.
func wordless(err error) error {
	const words = "what the server says is left out, for the request held a secret"
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{RPC: e.RPC, Code: e.Code, Detail: words}
	}
	if e, ok := errors.AsType[*transportError](err); ok {
		return &transportError{e.rpc, status.New(e.status.Code(), words)}
	}
	return err
}

// GRPCStatus lets status.Code and status.FromError see the gRPC code.
func (e *transportError) GRPCStatus() *status.Status { return e.status }

// Is matches the context error that a gRPC code stands for.
func (e *transportError) Is(target error) bool {
	code := e.status.Code()
	return code == grpccodes.DeadlineExceeded && target == context.DeadlineExceeded ||
		code == grpccodes.Canceled && target == context.Canceled
}

// callError turns an error of gRPC into *Error or *transportError.
func callError(rpc string, err error) error {
	if err == nil {
		return nil
	}
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if e, ok := detail.(*pb.Grep11Error); ok {
			return &Error{RPC: rpc, Code: ep11.Code(e.GetCode()), Detail: oneLine(e.GetDetail())}
		}
	}
	return &transportError{rpc, status.New(st.Code(), cut(st.Message()))}
}

// Transient reports whether the same call may succeed when it is made again, here or
// on another server: the connection failed, time ran out, or the card is in trouble. A
// return code decides alone, whatever gRPC code came with it.
func Transient(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code.Transient()
	}
	code := status.Code(err)
	return code == grpccodes.Unavailable || code == grpccodes.DeadlineExceeded
}

const (
	// maxWords is as much of a server's words as anything here reads, in bytes.
	maxWords = 4 << 10
	// maxDetail is enough for any message of a server; more would flood the log.
	maxDetail = 300
)

// cut returns at most maxWords bytes of a server's words. The last of these words, of which the rest
// may be missing, goes too: it may be a part of a key blob that is too short to be known for one.
func cut(s string) string {
	if len(s) <= maxWords {
		return s
	}
	return strings.TrimRightFunc(strings.ToValidUTF8(s[:maxWords], ""), inLongWord) + "…"
}

// inLongWord reports whether longWord matches words with r.
func inLongWord(r rune) bool {
	return '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || r == '+' || r == '='
}

// longWord is what a key blob looks like when a server quotes it, in hex or base64. A
// label of a host name has at most 63 characters (RFC 1035 section 2.3.4).
var longWord = regexp.MustCompile(`[0-9A-Za-z+=]{64,}`)

// oneLine makes a server's words fit for an error: printable, short, no key material. What is beyond
// maxWords it does not look at.
func oneLine(s string) string {
	s = cut(s)
	s = longWord.ReplaceAllString(s, "[redacted]")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail], "") + "…"
	}
	return s
}
