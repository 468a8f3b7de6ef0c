package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pawl/internal/config"
)

// hasFinding reports whether one has the severity, the path and the text.
func hasFinding(findings []config.Finding, severity config.Severity, path, text string) bool {
	for _, f := range findings {
		if f.Severity == severity && strings.HasSuffix(f.Path, path) && strings.Contains(f.Text, text) {
			return true
		}
	}
	return false
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestTooOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path      string
		mode      os.FileMode
		forbidden os.FileMode
		want      string
	}{
		{path, 0o600, 0o077, ""},
		{path, 0o640, 0o077, "chmod 600 " + path},
		{path, 0o644, 0o022, ""},
		{path, 0o664, 0o022, "chmod go-w " + path},
		{dir, 0o755, 0o022, ""},
		{dir, 0o775, 0o022, "chmod go-w " + dir},
		{dir, 0o755, 0o077, "chmod 700 " + dir},
		{dir, 0o777 | os.ModeSticky, 0o022, ""},
		{path + ".none", 0, 0o077, ""},
	} {
		if _, err := os.Stat(test.path); err == nil {
			chmod(t, test.path, test.mode)
		}
		if got := config.TooOpen(test.path, test.forbidden); !strings.HasSuffix(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s %v, forbidden %04o: %q, want %q", test.path, test.mode, test.forbidden, got, test.want)
		}
	}
	chmod(t, dir, 0o700)
}
