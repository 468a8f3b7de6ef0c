package softcard

import (
	"context"

	"google.golang.org/protobuf/proto"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// RewrapKeyBlob wraps the key under the committed new master key, in a blob of the same
// size. The card takes the new blob after the new key is finalised, and the old one until
// then. Without a committed key the call fails with CKR_IBM_WK_NOT_INITIALIZED.
func (s *service) RewrapKeyBlob(
	_ context.Context, request *pb.RewrapKeyBlobRequest,
) (*pb.RewrapKeyBlobResponse, error) {
	blob, err := blobOf(request.GetWrappedKeyBytes(), request.GetWrappedKey())
	if err != nil {
		return nil, err
	}
	r := s.card.master.load()
	switch {
	case r.current == nil:
		return nil, refuse(ep11.CodeIBMWKNotInitialized, "no master key is loaded")
	case r.next == nil || !r.committed:
		return nil, refuse(ep11.CodeIBMWKNotInitialized, "no new master key is committed")
	}
	rewrapped, err := r.rewrap(blob)
	if err != nil {
		return nil, err
	}
	message := &pb.KeyBlob{}
	if given := request.GetWrappedKey(); given != nil {
		message = proto.CloneOf(given)
	}
	message.KeyBlobs = [][]byte{rewrapped}
	return &pb.RewrapKeyBlobResponse{RewrappedKeyBytes: rewrapped, RewrappedKey: message}, nil
}

// rewrap wraps a private, secret or public key anew.
func (r *registers) rewrap(blob []byte) ([]byte, error) {
	if _, _, ok := cutSPKI(blob); ok {
		k, err := r.current.openPublic(blob)
		if err != nil {
			return nil, err
		}
		return r.next.sealPublic(k)
	}
	k, err := r.current.open(blob)
	if err != nil {
		return nil, err
	}
	defer clear(k.secret)
	return r.next.seal(k, len(blob))
}
