package daemon_test

import (
	"os"
	"strings"
	"testing"

	"pawl/internal/config"
	"pawl/internal/ep11"
)

// Another key than those of the card.
const (
	otherHash   = "tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z"
	otherPublic = "edpkvWoG8zRAgfPpQtWhf6VEMifvBsmGriKKRXfmHJv1kBWT6oucKn"
)

// sampleBlob is a blob with a sound header: wrapping key id, attributes of a key that was born in
// the HSM and never extractable, marker.
func sampleBlob(wrappingKey string) string {
	return strings.Repeat("0", 64) + strings.Repeat(wrappingKey, 16) + "0000000000400126" + "0000000000000001" + "1234" +
		strings.Repeat("ab", 14+480+32)
}

func parsedBlob(t *testing.T, hexadecimal string) ep11.Blob {
	t.Helper()
	blob, err := ep11.ParseBlob(hexadecimal)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// unopenable reports whether one forbids the start and has the path and the text.
func unopenable(findings []config.Finding, path, text string) bool {
	for _, f := range findings {
		if f.Severity == config.Unopenable && strings.HasSuffix(f.Path, path) && strings.Contains(f.Text, text) {
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
