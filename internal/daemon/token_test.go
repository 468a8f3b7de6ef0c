package daemon_test

import (
	"strings"
	"testing"
)

// The API key's file is checked at start: it has to be there, and closed to others.
func TestOpenChecksTheAPIKeyFile(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	f.write(map[string]any{"apikey_file": "apikey"})
	if _, findings, err := f.open(); err == nil || !unopenable(findings, "apikey_file", "no such file") {
		t.Errorf("missing: %v, %v", findings, err)
	}
	f.overwrite("apikey", "abc")
	chmod(t, strings.TrimSuffix(f.path, "keys.json")+"apikey", 0o644)
	if _, findings, err := f.open(); err == nil || !unopenable(findings, "apikey_file", "mode 0644 is too open") {
		t.Errorf("open to others: %v, %v", findings, err)
	}
}
