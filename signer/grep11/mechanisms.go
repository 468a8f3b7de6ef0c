package grep11

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
	"pawl/tezos"
)

// Mechanisms asks for the list of what the card can do.
func (c *Client) Mechanisms(ctx context.Context) ([]uint64, error) {
	response, err := callNow(ctx, "GetMechanismList", c.crypto.GetMechanismList, &pb.GetMechanismListRequest{})
	if err != nil {
		return nil, err
	}
	return response.GetMechs(), nil
}

// LackError says that a server's mechanism list has not what keys of a kind sign with.
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

// Lacks is a *LackError when list, a mechanism list, has not what keys of the kind sign
// with. A list without an entry tells nothing.
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

// Unfit reports whether err tells that the server is not one for the key: it has another
// master key, or not the mechanism. A server where the key has signed may sign all the
// same.
func Unfit(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code == ep11.CodeIBMWKIDMismatch || e.Code == ep11.CodeMechanismInvalid
	}
	_, lacks := errors.AsType[*LackError](err)
	return lacks
}
