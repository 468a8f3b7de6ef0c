package grep11

// This file turns the errors of calls into faults, by which the sign path decides.

import (
	"errors"

	"pawl/internal/ep11"
	"pawl/signer/hsm"
)

// withFault wraps an error in an *hsm.FaultError with its fault. It returns nil for nil.
func withFault(err error) error {
	if err == nil {
		return nil
	}
	return &hsm.FaultError{Fault: faultOf(err), Err: err}
}

// faultOf returns the fault that an error stands for. If there is a return code, it alone decides,
// whatever gRPC code came with it. A gRPC code without a return code tells about the server only.
func faultOf(err error) hsm.Fault {
	_, refused := errors.AsType[*Error](err)
	switch {
	case Transient(err):
		return hsm.Transient
	case unfit(err):
		return hsm.Unfit
	case refused:
		return hsm.Rejected
	}
	return hsm.Unknown
}

// unfit reports whether err says that this server cannot use the key: it has another master key,
// or lacks the mechanism.
func unfit(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code == ep11.CodeIBMWKIDMismatch || e.Code == ep11.CodeMechanismInvalid
	}
	_, lacks := errors.AsType[*LackError](err)
	return lacks
}
