package server

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"pawl/tezos"
)

// maxBody bounds a request body, in bytes. The longest legal payload has 32,705 bytes, which is
// 65,412 characters of JSON.
const maxBody = 64 << 10

// maxSignatureText bounds the text of an authentication signature, in characters. Base58 decoding
// takes time by the square of the length. The longest signature of a client key (edsig) has 99.
const maxSignatureText = 128

var errTooLarge = fmt.Errorf("body over %d bytes", maxBody)

// Why a request cannot be read. The texts are for the client.
var (
	errPublicKeyHash = fmt.Errorf(
		"%w: what follows /keys/ is not a public key hash (tz1, tz2, tz3, tz4 or tz5)", errRequest)
	errNotHex = fmt.Errorf(
		"%w: payload is not hexadecimal: want an even number of digits without 0x", errRequest)
	errQuery              = fmt.Errorf("%w: query cannot be parsed", errRequest)
	errVersion            = fmt.Errorf("%w: version is not one decimal number", errRequest)
	errAuthenticationText = fmt.Errorf("%w: authentication is not one signature (edsig, spsig1, p2sig or sig)", errRequest)
	errBody               = fmt.Errorf("%w: body did not arrive whole and in time", errRequest)
	errNoBody             = fmt.Errorf("%w: body is empty, want a JSON string of hexadecimal digits", errRequest)
	errNotJSON            = fmt.Errorf("%w: body is not JSON", errRequest)
	errNotString          = fmt.Errorf("%w: body is JSON but not a string", errRequest)
	errNoPayload          = fmt.Errorf("%w: payload is empty", errRequest)
)

// pathHash returns the public key hash in the path. A parameter at the end of a route also takes
// the slashes behind it: /keys/tz1…/x comes here, and is an unknown path, as /keys/ is.
func (s *Server) pathHash(c echo.Context) (tezos.PublicKeyHash, error) {
	text := c.Param("pkh")
	if text == "" || strings.Contains(text, "/") {
		return tezos.PublicKeyHash{}, errPath
	}
	hash, err := s.parseHash(text)
	if err != nil {
		return tezos.PublicKeyHash{}, errPublicKeyHash
	}
	s.setKey(logOf(c), hash)
	return hash, nil
}

// parseQuery returns the authentication signature of a sign request, or nil if there is none. The
// signature version that Octez clients send must be a number. It changes neither how the payload
// is read nor which mark it hits. Other parameters are ignored.
func parseQuery(raw string) (*tezos.Signature, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errQuery
	}
	if versions, given := query["version"]; given && (len(versions) != 1 || !isDecimal(versions[0])) {
		return nil, errVersion
	}
	texts, given := query["authentication"]
	if !given {
		return nil, nil //nolint:nilnil // no signature is a valid query
	}
	if len(texts) != 1 || len(texts[0]) > maxSignatureText {
		return nil, errAuthenticationText
	}
	signature, err := tezos.ParseSignature(texts[0])
	if err != nil {
		return nil, errAuthenticationText
	}
	return &signature, nil
}

func isDecimal(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// readPayload reads the body, one JSON string of hexadecimal digits. It ignores Content-Type and
// Content-Encoding: a compressed body is not JSON.
func readPayload(c echo.Context) ([]byte, error) {
	if c.Request().ContentLength > maxBody {
		return nil, errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response().Writer, c.Request().Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, errBody
	}
	connectionOf(c.Request()).enter(inFlight)
	return parsePayload(body)
}

func parsePayload(body []byte) ([]byte, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, errNoBody
	}
	var text *string // stays nil for JSON's null
	err := json.Unmarshal(body, &text)
	if _, otherType := errors.AsType[*json.UnmarshalTypeError](err); otherType || err == nil && text == nil {
		return nil, errNotString
	}
	if err != nil {
		return nil, errNotJSON
	}
	payload, err := hex.DecodeString(*text)
	if err != nil {
		return nil, errNotHex
	}
	if len(payload) == 0 {
		return nil, errNoPayload
	}
	return payload, nil
}
