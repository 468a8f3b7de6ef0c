package grep11

import (
	"context"
	"fmt"
	"slices"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// Mechanisms asks for the card's mechanism list.
func (c *Client) Mechanisms(ctx context.Context) ([]uint64, error) {
	response, err := callNow(ctx, "GetMechanismList", c.crypto.GetMechanismList, &pb.GetMechanismListRequest{})
	if err != nil {
		return nil, err
	}
	return response.GetMechs(), nil
}

// LackError means that a server's mechanism list lacks what keys of a kind sign with.
type LackError struct {
	Kind      tezos.KeyKind
	Mechanism uint64
}

// Error names the mechanism.
func (e *LackError) Error() string {
	name := "CKM_ECDSA"
	if e.Mechanism == ep11.MechIBMEd25519SHA512 {
		name = "CKM_IBM_ED25519_SHA512"
	}
	return fmt.Sprintf("its mechanism list lacks %s (0x%x), with which %v keys sign", name, e.Mechanism, e.Kind)
}

// Lacks returns a *LackError if list, a mechanism list, lacks what keys of the kind sign with.
// An empty list proves nothing.
func Lacks(list []uint64, kind tezos.KeyKind) error {
	method, err := methodOf(kind)
	if err != nil {
		return err
	}
	if len(list) == 0 || slices.Contains(list, method.mechanism) {
		return nil
	}
	return &LackError{Kind: kind, Mechanism: method.mechanism}
}

// lacks is Lacks for the list that the server told last; without one it returns nil.
func (c *Client) lacks(kind tezos.KeyKind) error {
	list := c.mechanisms.Load()
	if list == nil {
		return nil
	}
	return Lacks(*list, kind)
}
