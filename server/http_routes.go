package server

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"pawl/tezos"
)

// keyPath is the route of a key (Octez signer_services.ml).
const keyPath = "/keys/:pkh"

// lateAnswerTimeout is the time to send a signature whose request has run out of time.
const lateAnswerTimeout = 5 * time.Second

// Handler returns the routes of the Octez remote-signer protocol.
func (s *Server) Handler() http.Handler {
	e := s.newEcho(slog.LevelInfo,
		route{http.MethodGet, "/authorized_keys", s.authorizedKeys},
		route{http.MethodGet, keyPath, s.publicKey},
		route{http.MethodPost, keyPath, s.sign},
		route{http.MethodGet, "/known_keys", refuseListing},
		route{http.MethodGet, "/bls_prove_possession/:pkh", refuseProof},
	)
	e.Pre(plainPath)
	return e
}

// authorizedKeys lists the hashes of the client keys, and is {} when authentication is off
// (octez-signer bin_signer/handler.ml).
func (s *Server) authorizedKeys(c echo.Context) error {
	if s.authorized == nil {
		return answer(c, http.StatusOK, struct{}{})
	}
	hashes := make([]string, len(s.authorized))
	for i, key := range s.authorized {
		hashes[i] = key.Hash().String()
	}
	return answer(c, http.StatusOK, struct {
		AuthorizedKeys []string `json:"authorized_keys"`
	}{hashes})
}

func (s *Server) publicKey(c echo.Context) error {
	hash, err := s.pathHash(c)
	if err != nil {
		return err
	}
	key, err := s.signer.PublicKey(hash)
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, struct {
		PublicKey string `json:"public_key"`
	}{key.String()})
}

// sign is POST /keys/:pkh.
func (s *Server) sign(c echo.Context) error {
	hash, err := s.pathHash(c)
	if err != nil {
		return err
	}
	authentication, err := parseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return err
	}
	payload, err := readPayload(c)
	if err != nil {
		return err
	}
	result, err := s.signRequest(c.Request().Context(), logOf(c), hash, authentication, payload)
	if err != nil {
		return err
	}
	return release(c, result.Signature)
}

// release sends a signature at once: the client does not wait for the log and the metrics. If a
// disk held the signature until the time to answer was over, the client gets lateAnswerTimeout
// more to take it.
func release(c echo.Context, signature tezos.Signature) error {
	if time.Since(logOf(c).start) > requestTimeout {
		deadline := time.Now().Add(lateAnswerTimeout)
		if err := http.NewResponseController(c.Response().Writer).SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	err := answer(c, http.StatusOK, struct {
		Signature string `json:"signature"`
	}{signature.String()})
	c.Response().Flush()
	return err
}

func refuseListing(echo.Context) error { return errListing }

func refuseProof(echo.Context) error { return errProof }
