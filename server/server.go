// Package server speaks the Octez remote-signer protocol over HTTP and HTTPS
// (Octez src/lib_signer_services/signer_services.ml) for a signer.Signer.
//
// It guarantees that every answer has the status of one table (errors.go),
// that a refusal is a JSON error trace, the only form that octez-client shows
// in full, that nothing is read without a bound in size and time, and that one
// log line per request tells what was asked and decided but neither payload
// nor key. What may be signed is not decided here: not the policy, not the
// high watermark.
//
// The Octez routes serve programs, not browsers: a request with an Origin
// header is refused, for a web page can make a browser POST to 127.0.0.1, and
// browsers put that header on every such POST. The Host header is not judged,
// because bakers reach a signer by any name, often through a tunnel.
package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"pawl/signer"
	"pawl/tezos"
)

// requestTimeout bounds how long a request waits for others. It is longer than the
// 5 s that the HSM has for a signature and shorter than WriteTimeout. A disk that
// hangs has no deadline: who commits on it is answered when the outcome is known, and
// then has lateAnswerTimeout to take the answer.
const (
	requestTimeout    = 6 * time.Second
	lateAnswerTimeout = 5 * time.Second
)

// Config is what a Server needs. It is read once, by New.
type Config struct {
	// Signer signs. Required. Its keys do not change while the server lives.
	Signer *signer.Signer
	// AuthorizedKeys are the client keys of Octez client authentication
	// (octez-signer -A): each POST must then be signed by one of them. Nil is
	// no authentication; a list that is empty but not nil refuses every POST.
	// A POST costs one hash and at most one verification per key.
	AuthorizedKeys []tezos.PublicKey
	// Log gets one line per request. The level of a line's block or attestation
	// is its key "level": a JSON handler must have slog's own level renamed
	// (slog.HandlerOptions.ReplaceAttr). Optional; default is no log.
	Log *slog.Logger
	// Metrics are served by Admin. Optional; default is metrics of its own.
	Metrics *Metrics
}

// Server answers HTTP requests for a signer. It is safe for concurrent use.
type Server struct {
	signer     *signer.Signer
	keys       map[string]namedKey // of signer
	authorized []tezos.PublicKey
	log        *slog.Logger
	metrics    *Metrics
}

// namedKey is a key hash with its text: a text cut out of a request would keep all of
// the request in memory for as long as a metric has it.
type namedKey struct {
	hash tezos.PublicKeyHash
	text string
}

// New returns a server for cfg. It does not listen: see Serve.
func New(cfg Config) *Server {
	s := &Server{
		signer:     cfg.Signer,
		keys:       make(map[string]namedKey),
		authorized: slices.Clone(cfg.AuthorizedKeys), // of nil: nil
		log:        cfg.Log,
		metrics:    cfg.Metrics,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.metrics == nil {
		s.metrics = NewMetrics("unknown")
	}
	for _, hash := range cfg.Signer.Keys() {
		s.keys[hash.String()] = namedKey{hash, hash.String()}
	}
	s.metrics.signer.Store(cfg.Signer)
	return s
}

// route is one method of one path.
type route struct {
	method, path string
	handle       echo.HandlerFunc
}

// newEcho returns a handler for the routes with the middleware that all
// requests pass, matched or not. quiet is the log level of what is answered without
// a signature.
func (s *Server) newEcho(quiet slog.Level, routes ...route) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(io.Discard) // requests are logged through slog, by observe
	e.HTTPErrorHandler = refuse
	allowed := make(map[string][]string)
	for _, r := range routes {
		e.Add(r.method, r.path, r.handle)
		allowed[r.path] = append(allowed[r.path], r.method)
	}
	e.Use(s.observe(quiet), recovered, refuseBrowsers, onlyAllowed(allowed), withTimeout)
	return e
}

// recovered turns a panic of a handler into an error, which is a 500.
func recovered(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if value := recover(); value != nil {
				err = newPanicError(value)
			}
		}()
		return next(c)
	}
}

// refuseBrowsers: see the package comment.
func refuseBrowsers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if _, browser := c.Request().Header[echo.HeaderOrigin]; browser {
			return errBrowser
		}
		return next(c)
	}
}

// onlyAllowed refuses the methods that a known path does not have. echo would
// answer OPTIONS itself, and name OPTIONS in its Allow header.
func onlyAllowed(allowed map[string][]string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			methods, known := allowed[c.Path()]
			if known && !slices.Contains(methods, c.Request().Method) {
				c.Response().Header().Set(echo.HeaderAllow, strings.Join(methods, ", "))
				return errMethod
			}
			return next(c)
		}
	}
}

func withTimeout(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, cancel := context.WithTimeout(c.Request().Context(), requestTimeout)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// Handler returns the routes of the Octez remote-signer protocol.
func (s *Server) Handler() http.Handler {
	return s.newEcho(slog.LevelInfo,
		route{http.MethodGet, "/authorized_keys", s.authorizedKeys},
		route{http.MethodGet, keyPath, s.publicKey},
		route{http.MethodPost, keyPath, s.sign},
		route{http.MethodGet, "/known_keys", refuseListing},
		route{http.MethodGet, "/bls_prove_possession/:pkh", refuseProof},
	)
}
