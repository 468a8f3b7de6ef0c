package server

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"pawl/tezos"
)

// maxBody bounds a request body. The longest legal payload has 32,705 bytes,
// that is 65,412 characters of JSON.
const maxBody = 64 << 10

// maxSignatureText is over the 99 characters of the longest signature that a
// client key can make here (edsig), so that no long text is decoded: base58
// takes time by the square of its length.
const maxSignatureText = 128

// readPayload reads the body: one JSON string of hexadecimal digits. Neither
// Content-Type nor Content-Encoding is looked at; what is compressed is no JSON.
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

// parseQuery returns the authentication signature of a sign request, nil when
// there is none. The signature version that Octez clients send is checked for
// its form and has no effect: it changes nothing for tz1, tz2 and tz3. Other
// parameters are ignored.
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
