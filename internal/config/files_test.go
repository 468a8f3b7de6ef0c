package config_test

import (
	"strings"

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
