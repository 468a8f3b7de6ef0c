package grep11_test

import (
	"testing"

	"pawl/internal/ep11/ep11test"
	"pawl/signer/grep11"
)

func TestKeyHidesItsBlob(t *testing.T) {
	t.Parallel()
	blob := ep11test.Blob()
	key := testKey(t, blob)
	for name, value := range map[string]any{
		"generated":       grep11.Generated{Blob: blob},
		"key":             key,
		"value of key":    *key,
		"hidden key":      struct{ key *grep11.Key }{key},
		"hidden by value": struct{ key grep11.Key }{*key},
	} {
		ep11test.CheckPrinted(t, name, value)
	}
}
