package grep11

import (
	"context"

	"pawl/internal/ep11"
	"pawl/tezos"
)

// Owner returns the one of the public keys that a blob signs for. It has the HSM sign a random
// message, once by each mechanism of the keys. It finds none if the HSM refuses the blob, or if the
// blob is that of another key.
func (c *Client) Owner(
	ctx context.Context, blob ep11.Blob, keys []tezos.PublicKey,
) (owner tezos.PublicKey, found bool) {
	message, err := tezos.NewProbe()
	if err != nil {
		return tezos.PublicKey{}, false
	}
	made := make(map[uint64][]byte) // signatures by mechanism; nil if the HSM gave none
	for _, public := range keys {
		method, err := methodOf(public.Kind())
		if err != nil {
			continue
		}
		raw, asked := made[method.mechanism]
		if !asked {
			request := (&Key{client: c, method: method}).request(blob, message)
			response, _ := call(ctx, c, "SignSingle", c.crypto.SignSingle, request) // a refusal gives no signature
			raw = response.GetSignature()
			made[method.mechanism] = raw
		}
		signature, err := tezos.NewSignature(public.Kind(), raw)
		if err == nil && public.Verify(message, signature.LowS()) == nil {
			return public, true
		}
	}
	return tezos.PublicKey{}, false
}
