package server

import (
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"
)

// Admin returns the routes for the operator: /healthz, /readyz, /metrics and
// /ratchet. All only read: nothing that changes a mark is reachable by HTTP.
func (s *Server) Admin() http.Handler {
	var routes []route
	for path, handle := range map[string]echo.HandlerFunc{
		"/healthz": s.healthz,
		"/readyz":  s.readyz,
		"/metrics": echo.WrapHandler(s.metrics.handler()),
		"/ratchet": s.marks,
	} {
		routes = append(routes, route{http.MethodGet, path, handle}, route{http.MethodHead, path, handle})
	}
	return s.newEcho(slog.LevelDebug, routes...) // asked every few seconds
}

// healthz is 200 as long as restarting the process would mend nothing.
func (s *Server) healthz(c echo.Context) error {
	if s.signer.Err() != nil {
		return c.String(http.StatusServiceUnavailable, "failed\n")
	}
	return c.String(http.StatusOK, "ok\n")
}

// readiness is the answer of /readyz.
type readiness struct {
	Ready bool                    `json:"ready"`
	Keys  map[string]keyReadiness `json:"keys"`
}

type keyReadiness struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

// readyz is 200 when every key can sign, else 503.
func (s *Server) readyz(c echo.Context) error {
	state := readiness{Ready: s.signer.Err() == nil, Keys: make(map[string]keyReadiness)}
	for hash, err := range s.signer.Readiness() {
		key := keyReadiness{Ready: err == nil}
		if err != nil {
			key.Reason = err.Error()
			state.Ready = false
		}
		state.Keys[hash.String()] = key
	}
	if !state.Ready {
		return answer(c, http.StatusServiceUnavailable, state)
	}
	return answer(c, http.StatusOK, state)
}

// marks lists the high watermarks.
func (s *Server) marks(c echo.Context) error {
	entries, err := s.signer.Marks(c.Request().Context())
	if err != nil {
		return err
	}
	list := make([]Mark, len(entries)) // not nil: [] and never null
	for i, e := range entries {
		list[i] = NewMark(e)
	}
	return answer(c, http.StatusOK, list)
}
