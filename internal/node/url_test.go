package node_test

import (
	"strings"
	"testing"

	"pawl/internal/node"
)

func TestNewTakesURLs(t *testing.T) {
	t.Parallel()
	for url, name := range map[string]string{
		"http://127.0.0.1:8732":          "127.0.0.1:8732",
		"http://127.0.0.1:8732/":         "127.0.0.1:8732",
		"HTTP://node.example":            "node.example:80",
		"https://node.example":           "node.example:443",
		"https://node.example:":          "node.example:443",
		"https://node.example:8443/t%2F": "node.example:8443",
		"http://[::1]:8732/mainnet":      "[::1]:8732",
	} {
		c, err := node.New(url)
		if err != nil || node.CheckURL(url) != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if c.Name() != name {
			t.Errorf("%s: name %s, want %s", url, c.Name(), name)
		}
	}
}

// What is wrong with a URL is told without any of it: what is mistyped may be a secret too.
func TestNewRefusesURLs(t *testing.T) {
	t.Parallel()
	const form, credentials, query = "is none of a node", "has a user or a password", "has a query or a fragment"
	for url, want := range map[string]string{
		"": form, "secret": form, "secret:8732": form, "127.0.0.1:8732": form, "/secret": form, "//secret": form,
		"ftp://secret": form, "http:secret": form, "http://": form, "http:///secret": form, "http://:8732": form,
		"http://secret:0": form, "http://secret:65536": form, "http://secret:-1": form, "http://secret:x": form,
		"http://secret:8732:9": form, "http://secret secret": form, "http://secret/a b": form, "http://secret/\u00a0": form,
		"http://secret/\u202e": form, "http://secret\n": form, " http://secret": form, "http://secret/ ": form,
		"http://secret/%zz": form, "http://%e2%80%aesecret": form,
		"http://[::1": form, "http://[::1%25\u0007secret]": form, "http://[::1%25%07secret]": form,
		"http://me:secret@node.example": credentials, "http://secret@node.example": credentials,
		"http://@secret": credentials, "http://:secret@node.example": credentials, "http://me:secret@": credentials,
		"http://secret?": query, "http://secret?key=secret": query, "http://secret/#": query, "http://secret#secret": query,
	} {
		c, err := node.New(url)
		if c != nil || err == nil || !strings.HasPrefix(err.Error(), "the URL of the node "+want) ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %s", url, err, want)
		}
		if err := node.CheckURL(url); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", url, err, want)
		}
	}
}
