package config_test

import (
	"slices"
	"strings"
	"testing"

	"pawl/internal/config"
)

func TestParseNodeURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                                     "",
		`"node_url": "http://127.0.0.1:8732",`: "http://127.0.0.1:8732",
		`"node_url": "https://node.example/mainnet/",`: "https://node.example/mainnet/",
	} {
		cfg, findings, err := config.Parse([]byte(sample(`"signer"`, text+`"signer"`)), ".")
		if err != nil || len(findings) != 0 {
			t.Fatalf("%s: %v %v", text, findings, err)
		}
		if cfg.NodeURL != want {
			t.Errorf("%s: %q, want %q", text, cfg.NodeURL, want)
		}
	}
}

// A bad one is told by its code, and without any of it.
func TestParseRefusesNodeURL(t *testing.T) {
	t.Parallel()
	const form = "is none of a node: write http://host:port, or https://host:port"
	for url, want := range map[string]struct {
		code config.Code
		text string
	}{
		`"secret:8732"`:                    {config.BadNodeURL, form},
		`"ftp://secret"`:                   {config.BadNodeURL, form},
		`"http://"`:                        {config.BadNodeURL, form},
		`"http://secret:0"`:                {config.BadNodeURL, form},
		`" http://me:secret@node.example"`: {config.BadNodeURL, form},
		`"http://me:secret@node.example "`: {config.BadNodeURL, form},
		`"http://me:secret@node.example"`:  {config.BadNodeURL, "has a user or a password"},
		`"http://node.example/#secret"`:    {config.BadNodeURL, "has a query or a fragment"},
		`"http://node.example?key=secret"`: {config.BadNodeURL, "has a query or a fragment"},
		`""`:                               {config.Other, "must be a string that is not empty"},
		`["http://secret"]`:                {config.Other, "must be a string that is not empty"},
	} {
		_, findings, err := config.Parse([]byte(sample(`"signer"`, `"node_url": `+url+`, "signer"`)), ".")
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
		if !slices.ContainsFunc(findings, func(f config.Finding) bool {
			return f.Severity == config.Invalid && f.Code == want.code && f.Path == "node_url" &&
				strings.HasPrefix(f.Text, want.text)
		}) || len(findings) != 1 {
			t.Errorf("%s: %+v, want %s", url, findings, want.text)
		}
	}
}
