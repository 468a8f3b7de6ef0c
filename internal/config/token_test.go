package config_test

import (
	"strings"
	"testing"

	"pawl/internal/config"
)

// With an API key, the files of mutual TLS and the endpoint are optional.
func TestParseAPIKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		connection string
		severity   config.Severity // of the expected finding; 0 if there is none
		path, text string
	}{
		"key alone":        {`"apikey_file": "k"`, 0, "", ""},
		"key and endpoint": {`"apikey_file": "k", "iam_endpoint": "https://private.iam.cloud.ibm.com"`, 0, "", ""},
		"both layers":      {`"apikey_file": "k", "cert_path": "c", "key_path": "p", "cacert_path": "a"`, 0, "", ""},
		"half a pair": {
			`"apikey_file": "k", "cert_path": "c"`, config.Unopenable, "cert_path", "set both cert_path and key_path",
		},
		"neither": {`"cert_path": "c", "key_path": "p"`, config.Unopenable, "cacert_path", "missing"},
		"endpoint alone": {
			`"iam_endpoint": "https://h", "cert_path": "c", "key_path": "p", "cacert_path": "a"`, config.Unopenable,
			"iam_endpoint", "needs apikey_file",
		},
		"endpoint in clear": {
			`"apikey_file": "k", "iam_endpoint": "http://h"`, config.Invalid, "iam_endpoint", "write https://host",
		},
		"key that is a key": {`"apikey": "secret"`, config.Invalid, "apikey", "unknown name"},
	} {
		cfg, findings, err := config.Parse([]byte(`{"url": "h:443", `+test.connection+`, "keys": {}}`), "/d")
		if (err != nil) != (test.severity == config.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
		if test.severity == 0 && len(findings) > 0 || test.severity != 0 &&
			!hasFinding(findings, test.severity, test.path, test.text) {
			t.Errorf("%s: %v, want %s: %s", name, findings, test.path, test.text)
		}
		if cfg != nil && strings.Contains(test.connection, "apikey_file") && cfg.HSM.APIKeyFile != "/d/k" {
			t.Errorf("%s: %s", name, cfg.HSM.APIKeyFile)
		}
	}
}
