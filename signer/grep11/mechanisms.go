package grep11

import (
	"context"
	"fmt"
	"slices"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// Mechanisms asks the server for the card's mechanisms. It does not wait for other calls.
func (c *Client) Mechanisms(ctx context.Context) ([]uint64, error) {
	response, err := callNow(ctx, "GetMechanismList", c.crypto.GetMechanismList, &pb.GetMechanismListRequest{})
	if err != nil {
		return nil, err
	}
	return response.GetMechs(), nil
}

// LackError says that a server's mechanism list lacks the mechanism with which keys of a kind sign.
type LackError struct {
	Kind      tezos.KeyKind
	Mechanism uint64
}

// Error names the mechanism and the kind.
func (e *LackError) Error() string {
	name := "CKM_ECDSA"
	if e.Mechanism == ep11.MechIBMEd25519SHA512 {
		name = "CKM_IBM_ED25519_SHA512"
	}
	return fmt.Sprintf("its mechanism list lacks %s (0x%x), with which %v keys sign", name, e.Mechanism, e.Kind)
}

// Lacks returns a *LackError when a mechanism list lacks the mechanism with which keys of
// the kind sign. An empty list says nothing, so Lacks then returns nil. For kinds other than
// tz1, tz2 and tz3 it returns another error.
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

// lacks is Lacks for the server's latest list. It returns nil before there is one.
func (c *Client) lacks(kind tezos.KeyKind) error {
	list := c.mechanisms.Load()
	if list == nil {
		return nil
	}
	return Lacks(*list, kind)
}
