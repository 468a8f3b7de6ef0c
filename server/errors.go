package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/labstack/echo/v4"

	"pawl/policy"
	"pawl/ratchet"
	"pawl/signer"
	"pawl/tezos"
)

// What is refused before the signer is asked. The texts are for the client.
var (
	errRequest            = errors.New("unreadable request")
	errPublicKeyHash      = fmt.Errorf("%w: what follows /keys/ is not a public key hash (tz1, tz2, tz3, tz4 or tz5)", errRequest)
	errQuery              = fmt.Errorf("%w: query cannot be parsed", errRequest)
	errVersion            = fmt.Errorf("%w: version is not one decimal number", errRequest)
	errAuthenticationText = fmt.Errorf("%w: authentication is not one signature (edsig, spsig1, p2sig or sig)", errRequest)
	errBody               = fmt.Errorf("%w: body did not arrive whole and in time", errRequest)
	errNoBody             = fmt.Errorf("%w: body is empty, want a JSON string of hexadecimal digits", errRequest)
	errNotJSON            = fmt.Errorf("%w: body is not JSON", errRequest)
	errNotString          = fmt.Errorf("%w: body is JSON but not a string", errRequest)
	errNotHex             = fmt.Errorf("%w: payload is not hexadecimal: want an even number of digits without 0x", errRequest)
	errNoPayload          = fmt.Errorf("%w: payload is empty", errRequest)

	errTooLarge = fmt.Errorf("body over %d bytes", maxBody)
	errPath     = errors.New("unknown path")
	errMethod   = errors.New("method not allowed")
	errBrowser  = errors.New("requests of browsers (with an Origin header) are refused")

	// Octez's texts (bin_signer/handler.ml, http_daemon.ml).
	errNoAuthentication = errors.New("missing authentication signature field")
	errAuthentication   = errors.New("invalid authentication signature")
	errListing          = errors.New("List known keys request not allowed.")        //nolint:staticcheck // Octez's words
	errProof            = errors.New("Request to prove possession is not allowed.") //nolint:staticcheck // Octez's words
)

// errUnlisted stands for every error that the table does not name.
var errUnlisted = errors.New("internal error")

// refusal is a row of the table: what the client gets for an error.
type refusal struct {
	err    error
	status int
	// decision is the label in pawl_signatures_total.
	decision string
	// text is for the client; "" is the error's own text, where that was
	// written for the client. Details of faults go to the log only.
	text string
	// level is Error only where a person must act.
	level slog.Level
}

// refusals is the table of errors and statuses; the first row that the error
// Is decides. Octez clients parse error bodies of 401, 403, 404, 409 and 500
// and repeat a request by themselves after 502, which is never sent.
var refusals = []refusal{
	{errRequest, http.StatusBadRequest, "malformed", "", slog.LevelWarn},
	{tezos.ErrUnknownLayout, http.StatusBadRequest, "unknown_layout", "", slog.LevelError},
	{tezos.ErrMalformed, http.StatusBadRequest, "malformed", "", slog.LevelWarn},
	{errNoAuthentication, http.StatusUnauthorized, "unauthenticated", "", slog.LevelWarn},
	{errAuthentication, http.StatusUnauthorized, "unauthenticated", "", slog.LevelWarn},
	{errBrowser, http.StatusForbidden, "denied", "", slog.LevelWarn},
	{policy.ErrDenied, http.StatusForbidden, "denied", "", slog.LevelWarn},
	{signer.ErrUnknownKey, http.StatusNotFound, "unknown_key", "", slog.LevelWarn},
	{errPath, http.StatusNotFound, "malformed", "", slog.LevelWarn},
	{echo.ErrNotFound, http.StatusNotFound, "malformed", errPath.Error(), slog.LevelWarn},
	{errMethod, http.StatusMethodNotAllowed, "malformed", "", slog.LevelWarn},
	{echo.ErrMethodNotAllowed, http.StatusMethodNotAllowed, "malformed", errMethod.Error(), slog.LevelWarn},
	{errTooLarge, http.StatusRequestEntityTooLarge, "malformed", "", slog.LevelWarn},
	{ratchet.ErrRefused, http.StatusConflict, "watermark", "", slog.LevelWarn},
	{ratchet.ErrQueueFull, http.StatusServiceUnavailable, "busy", "too many requests wait for this key and kind", slog.LevelWarn},
	{ratchet.ErrStopped, http.StatusServiceUnavailable, "stopped", "signer is stopping, or its ratchet has failed", slog.LevelWarn},
	{ratchet.ErrCommit, http.StatusInternalServerError, "failed", "ratchet failed: nothing was signed", slog.LevelError},
	{signer.ErrHSM, http.StatusInternalServerError, "failed", "HSM failed: nothing was signed", slog.LevelError},
	{errListing, http.StatusInternalServerError, "malformed", "", slog.LevelWarn},
	{errProof, http.StatusInternalServerError, "malformed", "", slog.LevelWarn},
	{context.DeadlineExceeded, http.StatusInternalServerError, "failed", "no signature in time", slog.LevelError},
	{context.Canceled, http.StatusServiceUnavailable, "abandoned", "client left", slog.LevelWarn},
	{errUnlisted, http.StatusInternalServerError, "failed", errUnlisted.Error(), slog.LevelError},
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

// trace is an Octez error trace; octez-client shows the msg of each of its
// elements.
type trace []traceError

type traceError struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Msg  string `json:"msg"`
}

// refuse is the one place where an error becomes an answer.
func refuse(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	row := refusalOf(err)
	text := row.text
	if text == "" {
		text = err.Error()
	}
	msg := fmt.Sprintf("%s (request %s)", text, entryOf(c).id)
	_ = answer(c, row.status, trace{{Kind: "temporary", ID: "failure", Msg: msg}}) // strings always marshal
}

// panicError is a panic of a handler, with the stack for the log.
type panicError struct {
	value any
	stack []byte
}

func newPanicError(value any) *panicError { return &panicError{value, debug.Stack()} }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }
