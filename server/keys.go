package server

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"pawl/tezos"
)

// keyPath is the route of a key (Octez signer_services.ml).
const keyPath = "/keys/:pkh"

// authorizedKeys offers Octez client authentication, or {} for none
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

// sign is POST /keys/:pkh. Authentication comes before the signer is asked for
// anything: a 401 tells nothing of keys, policy or marks.
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
	if err := s.authenticate(authentication, hash, payload); err != nil {
		return err
	}
	result, err := s.signer.Sign(c.Request().Context(), hash, payload)
	entryOf(c).result = result
	if err != nil {
		return err
	}
	return s.release(c, result.Signature)
}

// release sends a signature at once: the client does not wait for the log and the
// metrics. One that a disk held for so long that the time to answer is over gets it
// all the same.
func (s *Server) release(c echo.Context, signature tezos.Signature) error {
	if time.Since(entryOf(c).start) > requestTimeout {
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

// pathHash returns the public key hash of the path. A parameter that ends a
// route takes what follows it too, so that /keys/tz1…/x comes here: it is an
// unknown path, as /keys/ is.
func (s *Server) pathHash(c echo.Context) (hash tezos.PublicKeyHash, err error) {
	text := c.Param("pkh")
	if text == "" || strings.Contains(text, "/") {
		return hash, errPath
	}
	key, known := s.keys[text]
	if !known { // to be refused, in the right words
		if hash, err = tezos.ParsePublicKeyHash(text); err != nil {
			return hash, errPublicKeyHash
		}
		key = namedKey{hash, strings.Clone(text)}
	}
	entryOf(c).key = key
	return key.hash, nil
}

// answer writes v as JSON and a newline, as octez-signer does. A client that
// has left cannot be told so: the error of the write is dropped.
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
