package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
)

// Refusals of HTTP.
var (
	errPath    = errors.New("unknown path")
	errMethod  = errors.New("method not allowed")
	errBrowser = errors.New("requests of browsers (with an Origin header) are refused")
	errHost    = errors.New("the admin listener is asked by IP address or as localhost")
)

// route is one method of one path.
type route struct {
	method, path string
	handle       echo.HandlerFunc
}

// newEcho returns a handler for the routes, and for requests that match none. Its log lines for
// answers without a signature have the level quiet.
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

// endAmbiguous ends the connection after a request whose end two readers could see at different
// places: one in chunks, which may have had a Content-Length too (net/http drops it), and one of
// HTTP/1.0, whose Transfer-Encoding net/http drops (RFC 9112, section 6.1). No Octez client sends
// either.
func endAmbiguous(c echo.Context) {
	if r := c.Request(); len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1) {
		c.Response().Header().Set(echo.HeaderConnection, "close")
	}
}

// logKey names the requestLog in echo's context.
const logKey = "pawl_log"

// logOf returns the requestLog that observe made.
func logOf(c echo.Context) *requestLog {
	log, _ := c.Get(logKey).(*requestLog)
	return log
}

// observe has the request answered, then counted and logged.
func (s *Server) observe(quiet slog.Level) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			log := newRequestLog()
			log.quiet = quiet
			log.signing = c.Path() == keyPath && c.Request().Method == http.MethodPost
			c.Set(logKey, log)
			c.Response().Header().Set(echo.HeaderXRequestID, log.id)
			c.Response().Header().Set("Keep-Alive", keepAlive)
			endAmbiguous(c)
			conn := connectionOf(c.Request())
			conn.begin(c.Request())
			err := next(c)
			if err != nil {
				c.Error(err)
			}
			s.finish(c.Request().Context(), log, err,
				slog.String("client", c.Request().RemoteAddr),
				slog.String("method", knownMethod(c.Request().Method)),
				slog.String("path", pathInLog(c, err)),
				slog.Int("status", c.Response().Status))
			return nil
		}
	}
}

// knownMethod keeps a method that a client made up out of the log. The longest method in use has 7
// letters.
func knownMethod(method string) string {
	if len(method) > 7 {
		return "other"
	}
	return method
}

// recovered turns a panic of a handler into an error.
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

// refuseBrowsers refuses requests with an Origin header: see the package comment.
func refuseBrowsers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if _, browser := c.Request().Header[echo.HeaderOrigin]; browser {
			return errBrowser
		}
		return next(c)
	}
}

// onlyAllowed refuses unknown paths, and the methods that a known path does not have. echo would
// answer OPTIONS itself, and name OPTIONS in its Allow header.
func onlyAllowed(allowed map[string][]string) echo.MiddlewareFunc {
	unknown := fmt.Errorf("%w: known are %s", errPath, pathList(allowed))
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			methods, known := allowed[c.Path()]
			if !known {
				return unknown
			}
			if !slices.Contains(methods, c.Request().Method) {
				c.Response().Header().Set(echo.HeaderAllow, strings.Join(methods, ", "))
				return errMethod
			}
			err := next(c)
			if errors.Is(err, errPath) {
				return unknown
			}
			return err
		}
	}
}

// withTimeout bounds a request by requestTimeout.
func withTimeout(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, cancel := context.WithTimeout(c.Request().Context(), requestTimeout)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// answer writes v as JSON and a newline, as octez-signer does. The error of the write is dropped:
// a client that has left cannot be told.
func answer(c echo.Context, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	body = append(body, '\n')
	c.Response().Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	c.Response().Header().Set(echo.HeaderContentLength, strconv.Itoa(len(body)))
	c.Response().WriteHeader(status)
	_, _ = c.Response().Write(body)
	return nil
}

// trace is an Octez error trace. octez-client shows the msg of each element.
type trace []traceError

type traceError struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Msg  string `json:"msg"`
}

func newTrace(msg string) trace { return trace{{Kind: "temporary", ID: "failure", Msg: msg}} }

// refuse is the one place where an error becomes an HTTP answer.
func refuse(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	row := refusalOf(err)
	msg := row.message(err, logOf(c).id)
	_ = answer(c, row.status, newTrace(msg)) // strings always marshal
}
