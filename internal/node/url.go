package node

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// The faults of a URL. None quotes it, for it may hold a secret.
var (
	errURL         = errors.New("is none of a node: write http://host:port, or https://host:port")
	errCredentials = errors.New("has a user or a password: leave them out, and keep others off the node by a firewall")
	errQuery       = errors.New("has a query or a fragment: write http://host:port, or https://host:port")
)

// CheckURL returns nil if a node can be asked there: http or https with a host, perhaps a port and a path,
// and no user, password, query or fragment. Its error follows on what names the URL, and quotes none of it.
func CheckURL(address string) error {
	_, err := parseURL(address)
	return err
}

func parseURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https":
		return nil, errURL
	case u.User != nil:
		return nil, errCredentials
	case strings.ContainsAny(address, "?#"):
		return nil, errQuery
	case u.Hostname() == "" || !isPort(portOf(u)) || strings.ContainsFunc(address+u.Host, unseen):
		return nil, errURL
	}
	return u, nil
}

// unseen reports whether r is a blank, or a character that no editor shows.
func unseen(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }

func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// portOf is the port of a URL, or the one of its scheme.
func portOf(u *url.URL) string {
	switch port := u.Port(); {
	case port != "":
		return port
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// nameOf is the host and the port of a URL: all of it that an error may tell.
func nameOf(u *url.URL) string { return net.JoinHostPort(u.Hostname(), portOf(u)) }
