package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"pawl/signer"
	"pawl/tezos"
)

// AnswerWith returns a handler whose route GET /fault does what fault does, with all the
// middleware of a route of the server.
func (s *Server) AnswerWith(fault func(ctx context.Context) error) http.Handler {
	handle := func(c echo.Context) error { return fault(c.Request().Context()) }
	return s.newEcho(slog.LevelInfo, route{http.MethodGet, "/fault", handle})
}

// HTTPServer is the one that Serve uses.
func (s *Server) HTTPServer() *http.Server { return s.httpServer(s.Handler(), nil) }

// ErrRequest stands for every request that cannot be read.
var ErrRequest = errRequest

// Connections returns the limit of connections of one listener for a limit of open files.
// OpenFiles returns that limit.
var (
	Connections = connections
	OpenFiles   = openFiles
)

// SignRequest has a sign request answered, counted and logged without a transport. It returns the
// id of the request too.
func (s *Server) SignRequest(ctx context.Context, hash tezos.PublicKeyHash,
	authentication *tezos.Signature, payload []byte,
) (id string, result signer.Result, err error) {
	log := newRequestLog()
	log.signing = true
	s.setKey(log, hash)
	result, err = s.signRequest(ctx, log, hash, authentication, payload)
	s.finish(ctx, log, err, slog.String("transport", "none"))
	return log.id, result, err
}

// Refusal returns the status and the message for the client that err has.
func Refusal(err error, id string) (status int, msg string) {
	row := refusalOf(err)
	return row.status, row.message(err, id)
}

// MaxAdminAnswer is the bound of AdminClient, in bytes. ReadAnswer reads an answer with it, and
// has no deadline.
const MaxAdminAnswer = maxAdminAnswer

var ReadAnswer = readAnswer

// TellSkipped has the log told of the lines that were left out.
func (s *Server) TellSkipped() { s.limit.tellAll() }

// The sizes of the buckets of log lines.
var (
	StrangerBurst = int(strangerLines.burst)
	KeyBurst      = int(keyLines.burst)
)

// StrangersLine returns what decides whether a line of a stranger is written, for a server that has
// this log.
func StrangersLine(log *slog.Logger) (mayWrite func() bool) {
	limit := newLineLimit(log, func() {})
	return func() bool { return limit.take(lineKind{decision: "x"}, slog.LevelInfo, time.Now()) }
}
