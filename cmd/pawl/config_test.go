package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pawl/internal/config"
	"pawl/signer/grep11"
)

// The example that operators copy has nothing to say of it.
func TestExampleKeysJSON(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "..", "keys.json.example"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, findings, err := config.Parse(data, ".")
	if err != nil || len(findings) != 0 {
		t.Fatalf("keys.json.example: %v, findings %v", err, findings)
	}
	if len(cfg.Keys) != 2 || !cfg.Keys[0].Policy.Baking || cfg.Keys[1].Policy.Baking {
		t.Errorf("want a key that bakes and one that does not, got %d keys", len(cfg.Keys))
	}
	if n := len(cfg.Servers()); n != 2 {
		t.Errorf("want the list form of url, with two servers, got %d", n)
	}
}

func TestParseCredential(t *testing.T) {
	t.Parallel()
	const rest = "\ncert_path: c.pem\nkey_path: k.pem\ncacert_path: a.pem\n"
	want := grep11.Config{Address: "hsm.example.com:9876", CertPath: "dir/c.pem", KeyPath: "dir/k.pem", CACertPath: "dir/a.pem"}
	for _, good := range []string{
		"url: hsm.example.com:9876" + rest,
		"# of the HSM\n---\n\nurl:   hsm.example.com:9876   # host and port" + rest,
		"url: \"hsm.example.com:9876\" # quoted" + rest,
		"url: 'hsm.example.com:9876'" + rest,
		"url:\thsm.example.com:9876\r" + rest,
	} {
		got, err := parseCredential([]byte(good), "dir")
		if err != nil {
			t.Errorf("%q: %v", good, err)
		} else if diff := cmp.Diff(want.Address, got.Address) + cmp.Diff(want.CertPath, got.CertPath) +
			cmp.Diff(want.KeyPath, got.KeyPath) + cmp.Diff(want.CACertPath, got.CACertPath); diff != "" {
			t.Errorf("%q: %s", good, diff)
		}
	}
	absolute, err := parseCredential([]byte("url: h:1\ncert_path: /c\nkey_path: /k\ncacert_path: /a\n"), "dir")
	if err != nil || absolute.CertPath != "/c" {
		t.Errorf("absolute paths: %q, %v", absolute.CertPath, err)
	}
}

func TestParseCredentialRefuses(t *testing.T) {
	t.Parallel()
	const rest = "\ncert_path: c.pem\nkey_path: k.pem\ncacert_path: a.pem\n"
	for name, bad := range map[string]string{
		"nothing":          "",
		"missing url":      rest,
		"missing name":     "url: h:1\ncert_path: c.pem\nkey_path: k.pem\n",
		"unknown name":     "url: h:1\npassword: p" + rest,
		"name in capitals": "URL: h:1" + rest,
		"twice":            "url: h:1\nurl: h:1" + rest,
		"nested":           "url: h:1\n  port: 1" + rest,
		"indented":         "  url: h:1" + rest,
		"no blank":         "url:h:1" + rest,
		"empty":            "url:" + rest,
		"only a comment":   "url: # h:1" + rest,
		"empty quotes":     "url: \"\"" + rest,
		"open quote":       "url: \"h:1" + rest,
		"after the quote":  "url: \"h\":1" + rest,
		"escape":           "url: \"h\\t:1\"" + rest,
		"list":             "url: [h:1, g:1]" + rest,
		"object":           "url: {h: 1}" + rest,
		"block":            "url: |\n  h:1" + rest,
		"alias":            "url: *h" + rest,
		"no colon":         "url h1" + rest,
		"not YAML":         "{\"url\": \"h:1\"}",
	} {
		if got, err := parseCredential([]byte(bad), "dir"); err == nil {
			t.Errorf("%s: %q was read as %q", name, bad, got.Address)
		}
	}
}
