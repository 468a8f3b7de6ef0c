package grep11_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
	"pawl/signer/hsm"
	"pawl/tezos"
)

// The errors of Key.Sign carry the fault by which the sign path decides.
func TestFaultOfSign(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer error
		want   hsm.Fault
	}{
		"another master key":      {refuse(t, codes.Unknown, ep11.CodeIBMWKIDMismatch, ""), hsm.Unfit},
		"no such mechanism":       {refuse(t, codes.Unknown, ep11.CodeMechanismInvalid, ""), hsm.Unfit},
		"a blob that is none":     {refuse(t, codes.Unknown, ep11.CodeIBMBlobError, ""), hsm.Rejected},
		"a key that may not sign": {refuse(t, codes.Unknown, ep11.CodeKeyFunctionNotPermitted, ""), hsm.Rejected},
		"a card in trouble":       {refuse(t, codes.Unknown, ep11.CodeDeviceError, ""), hsm.Transient},
		"no connection":           {status.Error(codes.Unavailable, "down"), hsm.Transient},
		"time ran out":            {status.Error(codes.DeadlineExceeded, "late"), hsm.Transient},
		"not let in":              {status.Error(codes.Unauthenticated, "who?"), hsm.Unknown},
		"no such call":            {status.Error(codes.Unimplemented, "what?"), hsm.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := dialScripted(t, grep11.Config{}, func(
				context.Context, *pb.SignSingleRequest,
			) (*pb.SignSingleResponse, error) {
				return nil, test.answer
			})
			_, err := keyOf(t, client, namedBlob('a')).Sign(t.Context(), tezos.Message{})
			var fault *hsm.FaultError
			if !errors.As(err, &fault) || fault.Fault != test.want || fault.Error() != fault.Err.Error() {
				t.Errorf("%v carries %+v, want fault %v and the same text", err, fault, test.want)
			}
		})
	}
}
