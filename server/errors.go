package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"pawl/policy"
	"pawl/ratchet"
	"pawl/signer"
	"pawl/tezos"
)

// errRequest is what every request that cannot be read Is. The reasons are with the transports, as
// are their other refusals.
var errRequest = errors.New("unreadable request")

// Refusals in Octez's words (bin_signer/handler.ml, http_daemon.ml).
var (
	errNoAuthentication = errors.New("missing authentication signature field")
	errAuthentication   = errors.New("invalid authentication signature")
	errListing          = errors.New("List known keys request not allowed.")        //nolint:staticcheck // Octez's words
	errProof            = errors.New("Request to prove possession is not allowed.") //nolint:staticcheck // Octez's words
)

// Requests that never reach a handler: net/http cannot read them, or gives up.
var (
	errNotHTTP       = errors.New("not a request of HTTP/1.1")
	errHeadLate      = fmt.Errorf("head of the request did not arrive whole within %v", readHeaderTimeout)
	errExpectation   = errors.New("expectation is not 100-continue")
	errHeadTooLarge  = fmt.Errorf("head of the request over %d bytes", maxHeaderBytes)
	errEncoding      = errors.New("transfer encoding is not chunked")
	errVersionOfHTTP = errors.New("version of HTTP is neither 1.0 nor 1.1")
)

// unreadable has the error for each status that net/http answers by itself.
var unreadable = map[int]error{
	400: errNotHTTP,
	408: errHeadLate,
	417: errExpectation,
	431: errHeadTooLarge,
	501: errEncoding,
	505: errVersionOfHTTP,
}

// errTelling is for a question of which only one is answered at a time.
var errTelling = errors.New("others are asking for the marks: ask again")

// errUnlisted stands for every error that the table does not name.
var errUnlisted = errors.New("internal error")

// refusal is a row of the table: how an error is answered, logged and counted.
type refusal struct {
	err error
	// status is the HTTP status. A transport without statuses sends the text alone.
	status int
	// decision is the label in pawl_signatures_total.
	decision string
	// text is for the client. If it is empty, the client gets the error's own text: only errors
	// that are written for the client have none. Details of faults go to the log only.
	text string
	// level is Error only where a person must act.
	level slog.Level
}

// refusals is the table of errors. The first row whose error matches (errors.Is) decides. Octez
// clients parse error bodies of 401, 403, 404, 409 and 500. They repeat a request by themselves
// after 502, which is never sent.
var refusals = []refusal{
	{errRequest, 400, "malformed", "", slog.LevelWarn},
	{tezos.ErrUnknownLayout, 400, "unknown_layout", "", slog.LevelError},
	{tezos.ErrMalformed, 400, "malformed", "", slog.LevelWarn},
	{errNoAuthentication, 401, "unauthenticated", "", slog.LevelWarn},
	{errAuthentication, 401, "unauthenticated", "", slog.LevelWarn},
	{errBrowser, 403, "denied", "", slog.LevelWarn},
	{errHost, 403, "denied", "", slog.LevelWarn},
	{policy.ErrDenied, 403, "denied", "", slog.LevelWarn},
	{signer.ErrUnknownKey, 404, "unknown_key", "", slog.LevelWarn},
	{errPath, 404, "malformed", "", slog.LevelWarn},
	{errMethod, 405, "malformed", "", slog.LevelWarn},
	{errNotHTTP, 400, "malformed", "", slog.LevelWarn},
	{errHeadLate, 408, "malformed", "", slog.LevelWarn},
	{errTooLarge, 413, "malformed", "", slog.LevelWarn},
	{errExpectation, 417, "malformed", "", slog.LevelWarn},
	{errHeadTooLarge, 431, "malformed", "", slog.LevelWarn},
	{errEncoding, 501, "malformed", "", slog.LevelWarn},
	{errVersionOfHTTP, 505, "malformed", "", slog.LevelWarn},
	{ratchet.ErrRefused, 409, "watermark", "", slog.LevelWarn},
	{ratchet.ErrQueueFull, 503, "busy", "too many requests wait for this key and kind", slog.LevelWarn},
	{ratchet.ErrStopped, 503, "stopped", "signer is stopping, or its ratchet has failed", slog.LevelWarn},
	{ratchet.ErrCommit, 500, "failed", "the ratchet did not store the mark: nothing was signed", slog.LevelError},
	{signer.ErrHSM, 500, "failed", "HSM failed: nothing was signed", slog.LevelError},
	{errTelling, 503, "malformed", "", slog.LevelWarn},
	{errListing, 500, "malformed", "", slog.LevelWarn},
	{errProof, 500, "malformed", "", slog.LevelWarn},
	{context.DeadlineExceeded, 500, "failed", "no signature in time", slog.LevelError},
	{context.Canceled, 503, "abandoned", "client left", slog.LevelWarn},
	{errUnlisted, 500, "failed", errUnlisted.Error(), slog.LevelError},
}

// refusalOf returns the row of the table for err.
func refusalOf(err error) refusal {
	for _, row := range refusals {
		if errors.Is(err, row.err) {
			return row
		}
	}
	return refusals[len(refusals)-1]
}

// message returns what the client reads for err, with the id that finds the log line.
func (r refusal) message(err error, id string) string {
	text := r.text
	if text == "" {
		text = err.Error()
	}
	return fmt.Sprintf("%s (request %s)", text, id)
}

// panicError is a panic while a request was handled. It is answered as an internal error.
type panicError struct {
	value any
	stack []byte // for the log
}

func newPanicError(value any) *panicError { return &panicError{value, debug.Stack()} }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }
