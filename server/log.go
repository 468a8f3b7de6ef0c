package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"pawl/signer"
	"pawl/tezos"
)

// entry is what the log line and the metrics tell of a request. It never holds
// the payload.
type entry struct {
	id     string
	start  time.Time
	key    namedKey // zero until the path is parsed
	result signer.Result
}

// entryKey names the entry in echo's context.
const entryKey = "pawl_entry"

// entryOf returns the entry of the request, a new one the first time.
func entryOf(c echo.Context) *entry {
	if e, ok := c.Get(entryKey).(*entry); ok {
		return e
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // crypto/rand never fails
	e := &entry{id: hex.EncodeToString(id[:]), start: time.Now()}
	c.Set(entryKey, e)
	return e
}

// observe answers the request, then logs and counts it.
func (s *Server) observe(quiet slog.Level) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			e := entryOf(c)
			c.Response().Header().Set(echo.HeaderXRequestID, e.id)
			err := next(c)
			if err != nil {
				c.Error(err)
			}
			if c.Path() == keyPath && c.Request().Method == http.MethodPost {
				s.metrics.countSign(e, err)
			}
			s.logRequest(c, e, err, time.Since(e.start), quiet)
			return nil
		}
	}
}

// maxAttrs is how many attributes a log line has.
const maxAttrs = 16

// logRequest writes the one line of a request. quiet is the level of one that was
// answered without a signature.
func (s *Server) logRequest(c echo.Context, e *entry, err error, elapsed time.Duration, quiet slog.Level) {
	attrs := make([]slog.Attr, 0, maxAttrs)
	attrs = append(attrs,
		slog.String("request_id", e.id),
		slog.String("client", c.Request().RemoteAddr),
		slog.String("method", shortened(c.Request().Method)),
		slog.String("path", c.Path()), // the route: what the client wrote is not repeated
		slog.Int("status", c.Response().Status),
	)
	if e.key.text != "" {
		attrs = append(attrs, slog.String("pkh", e.key.text))
	}
	attrs = append(attrs, e.requestAttrs()...)
	if decision := e.decision(err); decision != "" {
		attrs = append(attrs, slog.String("decision", decision))
	}
	if err != nil {
		attrs = append(attrs, slog.String("reason", err.Error()))
	}
	if p, ok := errors.AsType[*panicError](err); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	attrs = append(attrs, milliseconds("elapsed", elapsed))
	if e.result.SignTime > 0 {
		attrs = append(attrs, milliseconds("hsm_elapsed", e.result.SignTime))
	}
	ctx := context.WithoutCancel(c.Request().Context())
	switch {
	case err != nil && refusalOf(err).level == slog.LevelError:
		s.log.LogAttrs(ctx, slog.LevelError, "refused", attrs...)
	case err != nil:
		s.log.LogAttrs(ctx, slog.LevelWarn, "refused", attrs...)
	case e.result.Request != nil:
		s.log.LogAttrs(ctx, slog.LevelInfo, "signed", attrs...)
	default:
		s.log.LogAttrs(ctx, quiet, "answered", attrs...)
	}
}

// decision is "signed", "stored", "refused" or "failed", or "" of an answer
// that is no signature.
func (e *entry) decision(err error) string {
	switch {
	case err != nil && refusalOf(err).decision == "failed":
		return "failed"
	case err != nil:
		return "refused"
	case e.result.Request == nil:
		return ""
	case e.result.Stored:
		return "stored"
	}
	return "signed"
}

// requestAttrs names what the signer was asked to sign, as far as it parsed.
func (e *entry) requestAttrs() []slog.Attr {
	if e.result.Request == nil {
		return nil
	}
	attrs := []slog.Attr{
		slog.String("kind", e.kind()),
		slog.String("digest", e.result.Digest.String()),
	}
	switch req := e.result.Request.(type) {
	case tezos.Consensus:
		attrs = append(attrs,
			slog.String("chain_id", req.ChainID.String()),
			slog.Int("level", int(req.Level)),
			slog.Int("round", int(req.Round)))
	case tezos.Operation:
		attrs = append(attrs, slog.Any("contents", distinctKinds(req.Contents)))
	}
	return attrs
}

// kind is the kind of the request in logs and metrics, "none" before it is
// parsed.
func (e *entry) kind() string {
	switch req := e.result.Request.(type) {
	case tezos.Consensus:
		return req.Kind.String()
	case tezos.Operation:
		return "operation"
	case tezos.Michelson:
		return "michelson"
	}
	return "none"
}

// distinctKinds names each kind of contents once, in their order.
func distinctKinds(contents []tezos.Content) []tezos.OperationKind {
	var kinds []tezos.OperationKind
	for _, content := range contents {
		if !slices.Contains(kinds, content.Kind) {
			kinds = append(kinds, content.Kind)
		}
	}
	return kinds
}

// milliseconds are a fraction too: a signature takes a few of them.
func milliseconds(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1000)
}

// shortened keeps what a client makes up for a method out of the log; the
// longest method in use has 7 letters.
func shortened(method string) string {
	if len(method) > 7 {
		return "other"
	}
	return method
}
