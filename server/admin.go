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
	Ready   bool                    `json:"ready"`
	Keys    map[string]oneReadiness `json:"keys"`
	Servers map[string]oneReadiness `json:"servers"`
}

// oneReadiness is that of a key, or of an HSM server: whether all keys can sign there.
type oneReadiness struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

func readinessOf(err error) oneReadiness {
	if err != nil {
		return oneReadiness{Reason: err.Error()}
	}
	return oneReadiness{Ready: true}
}

// readyz is 200 when every key can sign, else 503. A server that is left out is
// named, and no reason for a 503 as long as another has the keys.
func (s *Server) readyz(c echo.Context) error {
	state := readiness{
		Ready: s.signer.Err() == nil,
		Keys:  make(map[string]oneReadiness), Servers: make(map[string]oneReadiness),
	}
	for hash, err := range s.signer.Readiness() {
		state.Ready = state.Ready && err == nil
		state.Keys[hash.String()] = readinessOf(err)
	}
	for _, server := range s.signer.Servers() {
		state.Servers[server.Address] = readinessOf(server.Err)
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
