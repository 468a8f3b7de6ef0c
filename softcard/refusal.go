package softcard

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// codeCannotUnmarshal is CKR_IBM_GREP11_CANNOT_UNMARSHAL (hpcs-grep11-go, ep11/header_consts.go).
const codeCannotUnmarshal ep11.Code = 0x80040002

// cardError is a return code other than CKR_OK. On the wire it is a gRPC status with one
// detail, a Grep11Error.
type cardError struct {
	code   ep11.Code
	detail string
}

// refuse makes the error of a call that the card does not carry out.
func refuse(code ep11.Code, format string, args ...any) error {
	return &cardError{code: code, detail: fmt.Sprintf(format, args...)}
}

func (e *cardError) Error() string { return e.code.String() + ": " + e.detail }

// GRPCStatus is what gRPC sends. The gRPC code means nothing, as with IBM's server: a
// client must decide by the code in the detail. It is never Unavailable, which would make a
// client try again. Only a token that is not taken is Unauthenticated, as at IBM Cloud.
func (e *cardError) GRPCStatus() *status.Status {
	code := codes.Unknown
	if e.code == ep11.CodeIBMNotAuthenticated {
		code = codes.Unauthenticated
	}
	plain := status.New(code, e.Error())
	detailed, err := plain.WithDetails(&pb.Grep11Error{Code: uint64(e.code), Detail: e.detail})
	if err != nil {
		return plain
	}
	return detailed
}

// answered turns any failure of a call into a Grep11Error, except what a fault has set.
func answered(err error) error {
	if err == nil {
		return nil
	}
	if refusal, ok := errors.AsType[*cardError](err); ok {
		return refusal
	}
	if wanted, ok := errors.AsType[faultError](err); ok {
		return wanted.error
	}
	if ended := status.FromContextError(err); ended.Code() != codes.Unknown {
		return ended.Err() // the caller's time ran out: it gets no return code of a card
	}
	if status.Code(err) == codes.Unimplemented {
		return refuse(ep11.CodeFunctionNotSupported, "the software card does not have this function")
	}
	return refuse(ep11.CodeIBMInternalError, "internal error of the software card")
}
