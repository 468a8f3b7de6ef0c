package server

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
)

const (
	// maxPathText bounds an unknown path in the log, in bytes before it is quoted.
	maxPathText = 120
	// maxPart is the longest part of a path that is logged whole, in bytes. A public key hash has 36,
	// every secret key more.
	maxPart = 40
)

// plainPath takes a path as octez-signer does, which splits it at runs of slashes and drops empty
// parts: //keys//tz1… and /keys/tz1…/ are /keys/tz1…. There is no redirect.
func plainPath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		url := c.Request().URL
		url.Path, url.RawPath = plain(url.Path), plain(url.RawPath)
		return next(c)
	}
}

// plain returns path without empty parts. Most paths have none.
func plain(path string) string {
	if len(path) < 2 || !strings.Contains(path, "//") && !strings.HasSuffix(path, "/") {
		return path
	}
	return "/" + strings.Join(strings.FieldsFunc(path, func(r rune) bool { return r == '/' }), "/")
}

// pathList names paths for a person.
func pathList(allowed map[string][]string) string {
	paths := slices.Sorted(maps.Keys(allowed))
	return strings.ReplaceAll(strings.Join(paths, ", "), ":pkh", "tz…")
}

// pathInLog is the path of a request in its log line: the route, or for an unknown path what the
// client asked for.
func pathInLog(c echo.Context, err error) string {
	if !errors.Is(err, errPath) {
		return c.Path()
	}
	parts := strings.Split(c.Request().URL.Path, "/")
	for i, part := range parts {
		if len(part) > maxPart { // perhaps a payload or a secret
			parts[i] = fmt.Sprintf("%.4s…(%d bytes)", part, len(part))
		}
	}
	return quoted(strings.Join(parts, "/"), maxPathText)
}

// shortened cuts foreign text to a number of bytes.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}

// quoted is foreign text in a message: cut to a number of bytes, with its control characters
// escaped.
func quoted(text string, most int) string { return strconv.QuoteToASCII(shortened(text, most)) }
