package grep11

import (
	"context"
	"errors"
	"fmt"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// Rewrap has the HSM wrap a key under the new master key that its administrators have
// committed. Before the commit, and after the new master key is finalised, the error has the
// code CKR_IBM_WK_NOT_INITIALIZED. The HSM accepts the old blob until the new master key is
// finalised, and the new blob from then on. Rewrap checks the answer with CheckRewrapped.
func (c *Client) Rewrap(ctx context.Context, blob ep11.Blob) (ep11.Blob, error) {
	request := &pb.RewrapKeyBlobRequest{}
	request.WrappedKeyBytes, request.WrappedKey = c.inDialect(blob)
	response, err := call(ctx, c, "RewrapKeyBlob", c.crypto.RewrapKeyBlob, request)
	if err != nil {
		return nil, err
	}
	rewrapped, err := onlyBlob(response.GetRewrappedKey(), response.GetRewrappedKeyBytes())
	if err == nil {
		err = CheckRewrapped(blob, rewrapped)
	}
	if err != nil {
		return nil, fmt.Errorf("RewrapKeyBlob: %v", err)
	}
	return rewrapped, nil
}

// ErrSameMasterKey is what CheckRewrapped returns when one master key wraps both blobs.
var ErrSameMasterKey = errors.New("wrapped by the same master key as the blob before")

// CheckRewrapped returns nil when rewrapped can be blob under another master key, as far as
// the headers show: another wrapping key id, the same size and the same attributes (EP11
// manual, "Blob formats"; published blobs before and after a rotation agree).
func CheckRewrapped(blob, rewrapped ep11.Blob) error {
	was, err := blob.Header()
	if err != nil {
		return err
	}
	now, err := rewrapped.Header()
	switch {
	case err != nil:
		return err
	case now.WrappingKeyID == was.WrappingKeyID:
		return ErrSameMasterKey
	case len(rewrapped) != len(blob):
		return fmt.Errorf("%d bytes, but the blob before has %d", len(rewrapped), len(blob))
	case now.Attributes != was.Attributes:
		return fmt.Errorf("attributes 0x%x, but the blob before has 0x%x", now.Attributes, was.Attributes)
	case now.SessionBound != was.SessionBound:
		return errors.New("not bound to a login session as the blob before is, or the reverse")
	}
	return nil
}
