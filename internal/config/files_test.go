package config_test

import (
	"strings"

	"pawl/internal/config"
)

// hasFinding reports whether a finding has the severity, the end of a path and a part of the text.
func hasFinding(findings []config.Finding, severity config.Severity, path, text string) bool {
	for _, f := range findings {
		if f.Severity == severity && strings.HasSuffix(f.Path, path) && strings.Contains(f.Text, text) {
			return true
		}
	}
	return false
}
