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

// Error is an EP11 return code that the server answered with, its Grep11Error.
type Error struct {
	RPC    string
	Code   ep11.Code
	Detail string // the server's message, one line
}

// Error returns one line: the call, the code, and the server's message.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %v (0x%x): %s", e.RPC, e.Code, uint64(e.Code), e.Detail)
}

// transportError is a gRPC status without a Grep11Error. The call may not have reached the card.
type transportError struct {
	rpc    string
	status *status.Status
}

func (e *transportError) Error() string {
	return fmt.Sprintf("%s: %v: %s", e.rpc, e.status.Code(), causeOf(oneLine(e.status.Message())))
}

// wrapping is what gRPC writes before a message of TLS or the kernel. It writes wrappingEnd after it.
var wrapping = regexp.MustCompile(`^connection error: desc = "(transport: )?(error reading server preface: )?`)

const (
	wrappingEnd = `"`
	alertPrefix = "remote error: tls: " // how crypto/tls reports the peer's alert (RFC 8446 section 6)
)

// causeOf returns the cause within the message of a status. An alert comes from the server
// after its own certificate has verified, so it is about the client certificate.
func causeOf(message string) string {
	if found := wrapping.FindString(message); found != "" {
		message = strings.TrimSuffix(message[len(found):], wrappingEnd)
	}
	if strings.HasPrefix(message, alertPrefix) {
		message += ": the server refuses the client certificate, see cert_path"
	}
	return message
}

// wordless removes the server's message from the error of a call that carried a secret,
// because the message may quote the secret.
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

// Is lets errors.Is find context.DeadlineExceeded and context.Canceled by the gRPC code.
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
	return &transportError{rpc, st}
}

// Transient reports whether the same call may succeed when it is made again, on this or
// another server: the connection failed, time ran out, or the card is in trouble. If there
// is a return code, it alone decides, whatever gRPC code came with it.
func Transient(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code.Transient()
	}
	code := status.Code(err)
	return code == grpccodes.Unavailable || code == grpccodes.DeadlineExceeded
}

// maxDetail is the longest message in bytes that an error quotes. A longer one would flood the log.
const maxDetail = 300

// longWord matches a key blob that a server quotes in hex or base64. It spares host names,
// whose labels have at most 63 characters (RFC 1035 section 2.3.4).
var longWord = regexp.MustCompile(`[0-9A-Za-z+=]{64,}`)

// oneLine makes a server's message fit for an error: printable, short, without key material.
func oneLine(s string) string {
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
