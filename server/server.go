// Package server answers sign requests in the Octez remote-signer protocol for a signer.Signer.
// The protocol is described in Octez's src/lib_signer_services/signer_services.ml.
//
// Handler serves Octez clients, over HTTP or HTTPS. Admin serves the operator, and only reads.
// Every sign request goes through signRequest, which knows no transport: it authenticates the
// client and asks the signer. The policy and the high watermark are the signer's business.
//
// The package guarantees:
//   - One table (errors.go) gives every error its status and its text for the client.
//   - A refusal is a JSON error trace, the only form that octez-client shows in full.
//   - Every read is bounded in size and time.
//   - A signature is sent before its log line and its metrics are written.
//   - Each new signature has one log line, and so has any other request, unless there are too many
//     of its kind. It names the key, the digest and the decision, never the payload.
//
// The Octez routes serve programs, not browsers. A web page can make a browser POST to
// 127.0.0.1, and browsers put an Origin header on every such POST: a request with that header is
// refused. The Host header is not checked, because bakers reach a signer by any name, often
// through a tunnel.
package server

import (
	"log/slog"
	"slices"
	"time"

	"pawl/signer"
	"pawl/tezos"
)

// requestTimeout bounds how long a request waits for other requests and for the HSM. It is longer
// than the 5 s that the HSM has for a signature, and shorter than writeTimeout. A disk that hangs
// has no deadline: a request whose commit has begun is answered once the outcome is known.
const requestTimeout = 6 * time.Second

// Config is what a Server needs. It is read once, by New.
type Config struct {
	// Signer signs. Required.
	Signer *signer.Signer
	// AuthorizedKeys are the client keys of Octez client authentication (octez-signer -A). Each
	// sign request must then be signed by one of them. Nil turns authentication off; a list that
	// is empty but not nil refuses every sign request. A request costs one hash and at most one
	// verification per key.
	AuthorizedKeys []tezos.PublicKey
	// Log gets one line per request. It must not block: the next request of a connection waits for
	// it. The attribute "level" of a line is the level of a block or
	// an attestation: a JSON handler must rename slog's own level
	// (slog.HandlerOptions.ReplaceAttr). Optional; the default is no log.
	Log *slog.Logger
	// Metrics are served by Admin. Optional; the default is metrics of its own.
	Metrics *Metrics
}

// Server answers requests for a signer. It is safe for concurrent use.
type Server struct {
	signer     *signer.Signer
	authorized []tezos.PublicKey // nil: no authentication
	log        *slog.Logger
	limit      *lineLimit
	metrics    *Metrics
	leaps      leaps
	telling    chan struct{} // full while a client is told the marks

	// The keys that the signer had in New, by text and by hash. They save each request the base58
	// conversion; a key that came later is converted each time.
	hashes map[string]tezos.PublicKeyHash
	texts  map[tezos.PublicKeyHash]string
}

// New returns a server for cfg. It does not listen: see Serve.
func New(cfg Config) *Server {
	s := &Server{
		signer:     cfg.Signer,
		authorized: slices.Clone(cfg.AuthorizedKeys), // nil stays nil
		log:        cfg.Log,
		metrics:    cfg.Metrics,
		telling:    make(chan struct{}, 1),
		hashes:     make(map[string]tezos.PublicKeyHash),
		texts:      make(map[tezos.PublicKeyHash]string),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.metrics == nil {
		s.metrics = NewMetrics("unknown")
	}
	s.limit = newLineLimit(s.log, s.metrics.skipped.Inc)
	for _, hash := range cfg.Signer.Keys() {
		s.hashes[hash.String()], s.texts[hash] = hash, hash.String()
	}
	s.metrics.signer.Store(cfg.Signer)
	return s
}

// parseHash is tezos.ParsePublicKeyHash, and quick for the keys of the signer.
func (s *Server) parseHash(text string) (tezos.PublicKeyHash, error) {
	if hash, known := s.hashes[text]; known {
		return hash, nil
	}
	return tezos.ParsePublicKeyHash(text)
}

// hashText is hash.String, and quick for the keys of the signer.
func (s *Server) hashText(hash tezos.PublicKeyHash) string {
	if text, known := s.texts[hash]; known {
		return text
	}
	return hash.String()
}
