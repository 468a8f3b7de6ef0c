package grep11_test

import (
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// Each blob tells whose it is, among keys of its curve and of others.
func TestOwner(t *testing.T) {
	t.Parallel()
	client := dialSoftcard(t, grep11.Both)
	var made []grep11.Generated
	var keys []tezos.PublicKey
	for _, kind := range append(importKinds, importKinds...) {
		key, err := client.Generate(t.Context(), kind, false)
		if err != nil {
			t.Fatal(err)
		}
		made, keys = append(made, key), append(keys, key.PublicKey)
	}
	for i, key := range made {
		if owner, found := client.Owner(t.Context(), key.Blob, keys); !found || owner != key.PublicKey {
			t.Errorf("%v: %v, %v", key.PublicKey, owner, found)
		}
		others := append(append([]tezos.PublicKey{}, keys[:i]...), keys[i+1:]...)
		if owner, found := client.Owner(t.Context(), key.Blob, others); found {
			t.Errorf("%v, which is not there: %v", key.PublicKey, owner)
		}
	}
	broken := append(ep11.Blob{}, made[0].Blob...)
	broken[100] ^= 1
	if owner, found := client.Owner(t.Context(), broken, keys); found {
		t.Errorf("a broken blob is that of %v", owner)
	}
}
