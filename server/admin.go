package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Paths of the admin listener that AdminClient asks too.
const (
	readyPath   = "/readyz"
	ratchetPath = "/ratchet"
)

// Admin returns the routes for the operator: /healthz, /readyz, /metrics and /ratchet. They only
// read. Nothing that changes a mark can be reached by HTTP.
func (s *Server) Admin() http.Handler {
	metrics := promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})
	var routes []route
	for path, handle := range map[string]echo.HandlerFunc{
		"/healthz":  s.healthz,
		readyPath:   s.readyz,
		"/metrics":  echo.WrapHandler(metrics),
		ratchetPath: s.ratchet,
	} {
		routes = append(routes, route{http.MethodGet, path, handle}, route{http.MethodHead, path, handle})
	}
	e := s.newEcho(slog.LevelDebug, routes...) // asked every few seconds
	e.Use(refuseNames)
	return e
}

// refuseNames refuses requests for a host that has a name other than localhost. A web page can give
// its own name the address of this listener (DNS rebinding), and then read what a browser on this
// host is answered; it cannot do so with an address.
func refuseNames(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if host := c.Request().Host; !isAddress(host) {
			return fmt.Errorf("%w, not as %s", errHost, quoted(host, maxPathText))
		}
		return next(c)
	}
}

// isAddress reports whether a Host header names an IP address or localhost, or nothing, as in
// HTTP/1.0.
func isAddress(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	_, err := netip.ParseAddr(host)
	return err == nil || host == "" || strings.EqualFold(host, "localhost")
}

// healthz answers 200 until the signer has failed. Then only a restart helps.
func (s *Server) healthz(c echo.Context) error {
	if s.signer.Err() != nil {
		return c.String(http.StatusServiceUnavailable, "failed\n")
	}
	return c.String(http.StatusOK, "ok\n")
}

// readyz answers 200 when every key can sign, else 503. A server that is left out is named; that
// alone is no 503, as long as another server has its keys.
func (s *Server) readyz(c echo.Context) error {
	state := s.readiness()
	if !state.Ready {
		return answer(c, http.StatusServiceUnavailable, state)
	}
	return answer(c, http.StatusOK, state)
}

func (s *Server) readiness() Readiness {
	state := Readiness{
		Ready: s.signer.Err() == nil,
		Keys:  make(map[string]ReadyState), Servers: make(map[string]ReadyState),
	}
	for hash, err := range s.signer.Readiness() {
		state.Ready = state.Ready && err == nil
		state.Keys[hash.String()] = newReadyState(err)
	}
	all, _ := s.signer.Ratchets(context.Background()) // after a failure, which is told, there are none
	for _, r := range all.HeldBack() {
		if key, served := state.Keys[r.Key.String()]; served {
			key.Held = append(key.Held, r)
			state.Keys[r.Key.String()] = key
		}
	}
	for _, server := range s.signer.Servers() {
		state.Servers[server.Address] = newReadyState(server.Err)
	}
	return state
}

// ratchet tells the marks and the registrations. One client is told at a time: an answer of 30,000
// marks has 10 MB, and takes a processor a tenth of a second.
func (s *Server) ratchet(c echo.Context) error {
	select {
	case s.telling <- struct{}{}:
		defer func() { <-s.telling }()
	case <-c.Request().Context().Done():
		return errTelling
	}
	all, err := s.signer.Ratchets(c.Request().Context())
	if err != nil {
		return err
	}
	// Who does not read must not keep the others waiting for long. Not all writers have deadlines.
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(adminTimeout))
	return answer(c, http.StatusOK, NewRatchet(all))
}
