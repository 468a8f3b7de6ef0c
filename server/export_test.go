package server

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"
)

// AnswerWith returns a handler whose route GET /fault does what fault does,
// with all that stands before and behind a route of the server.
func (s *Server) AnswerWith(fault func(ctx context.Context) error) http.Handler {
	return s.newEcho(slog.LevelInfo, route{http.MethodGet, "/fault", func(c echo.Context) error { return fault(c.Request().Context()) }})
}

// HTTPServer is what Serve serves with.
func (s *Server) HTTPServer() *http.Server { return s.httpServer(s.Handler(), nil) }

// ErrRequest stands for what is refused before the signer is asked.
var ErrRequest = errRequest

// Connections is the limit of connections of one listener where so many files may be
// open, and OpenFiles how many may.
var (
	Connections = connections
	OpenFiles   = openFiles
)
