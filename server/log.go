package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"time"

	"pawl/signer"
	"pawl/tezos"
)

// requestLog collects what the log line and the metrics tell of one request. A transport fills it
// in while it reads the request. It never holds the payload.
type requestLog struct {
	id      string // sent to the client with a refusal
	start   time.Time
	quiet   slog.Level          // of the line of an answer without a signature
	signing bool                // a sign request, whether or not it could be read
	asked   bool                // the signer was asked: the client may ask for signatures
	key     tezos.PublicKeyHash // not set before pkh is
	pkh     string              // text of key
	result  signer.Result       // of signRequest
}

// newRequestLog starts the time of a request and gives it its id: 8 random bytes in hex.
func newRequestLog() *requestLog {
	var id [8]byte
	_, _ = rand.Read(id[:]) // crypto/rand never fails
	return &requestLog{id: hex.EncodeToString(id[:]), start: time.Now()}
}

// setKey records the key that the request names.
func (s *Server) setKey(log *requestLog, hash tezos.PublicKeyHash) {
	log.key, log.pkh = hash, s.hashText(hash)
}

// maxAttrs is how many attributes a log line can have.
const maxAttrs = 16

// writeLog writes the one line of a request, unless there were too many of its kind.
func (s *Server) writeLog(ctx context.Context, log *requestLog, err error, transport []slog.Attr) {
	elapsed := time.Since(log.start)
	level := log.level(err)
	if !s.log.Enabled(ctx, level) || !s.mayLog(log, err, level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, maxAttrs), slog.String("request_id", log.id))
	attrs = append(attrs, transport...)
	if log.pkh != "" {
		attrs = append(attrs, slog.String("pkh", log.pkh))
	}
	attrs = append(attrs, log.requestAttrs()...)
	if decision := log.decision(err); decision != "" {
		attrs = append(attrs, slog.String("decision", decision))
	}
	if err != nil {
		attrs = append(attrs, slog.String("reason", err.Error()))
	}
	if p, ok := errors.AsType[*panicError](err); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	attrs = append(attrs, milliseconds("elapsed", elapsed))
	if log.result.SignTime > 0 {
		attrs = append(attrs, milliseconds("hsm_elapsed", log.result.SignTime))
	}
	ctx = context.WithoutCancel(ctx)
	switch {
	case err != nil:
		s.log.LogAttrs(ctx, level, "refused", attrs...)
	case log.result.Request != nil:
		s.log.LogAttrs(ctx, level, "signed", attrs...)
	default:
		s.log.LogAttrs(ctx, level, "answered", attrs...)
	}
}

// level is that of the line of a request.
func (log *requestLog) level(err error) slog.Level {
	switch {
	case err != nil:
		return refusalOf(err).level
	case log.result.Request != nil:
		return slog.LevelInfo
	}
	return log.quiet
}

// mayLog reports whether the line of a request is to be written. That of a new signature always is.
func (s *Server) mayLog(log *requestLog, err error, level slog.Level) bool {
	kind := lineKind{decision: log.decision(err)}
	switch {
	case err != nil:
		row := refusalOf(err)
		kind.decision, kind.status = row.decision, row.status
	case kind.decision == "signed":
		return true
	case kind.decision == "":
		kind.decision = "answered"
	}
	if log.asked && s.metrics.label(log) != unknownKey {
		kind.pkh = log.pkh
	}
	return s.limit.take(kind, level, time.Now())
}

// decision is "signed", "stored", "refused" or "failed", and "" for an answer without a
// signature.
func (log *requestLog) decision(err error) string {
	switch {
	case err != nil && refusalOf(err).decision == "failed":
		return "failed"
	case err != nil:
		return "refused"
	case log.result.Request == nil:
		return ""
	case log.result.Stored:
		return "stored"
	}
	return "signed"
}

// requestAttrs describes what the signer was asked to sign, as far as it was parsed.
func (log *requestLog) requestAttrs() []slog.Attr {
	if log.result.Request == nil {
		return nil
	}
	attrs := []slog.Attr{
		slog.String("kind", log.kind()),
		slog.String("digest", log.result.Digest.String()),
	}
	switch req := log.result.Request.(type) {
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

// kind is the kind of the request in logs and metrics, and "none" if it was not parsed.
func (log *requestLog) kind() string {
	switch req := log.result.Request.(type) {
	case tezos.Consensus:
		return req.Kind.String()
	case tezos.Operation:
		return "operation"
	case tezos.Michelson:
		return "michelson"
	}
	return "none"
}

// distinctKinds returns each kind in contents once, in the order of the contents.
func distinctKinds(contents []tezos.Content) []tezos.OperationKind {
	var kinds []tezos.OperationKind
	for _, content := range contents {
		if !slices.Contains(kinds, content.Kind) {
			kinds = append(kinds, content.Kind)
		}
	}
	return kinds
}

// milliseconds keeps three decimals: a signature takes a few milliseconds.
func milliseconds(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1000)
}
