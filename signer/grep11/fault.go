package grep11

import (
	"errors"

	"pawl/internal/ep11"
	"pawl/signer/hsm"
)

// withFault attaches the fault of an error; nil stays nil.
func withFault(err error) error {
	if err == nil {
		return nil
	}
	return &hsm.FaultError{Fault: faultOf(err), Err: err}
}

// faultOf reads the fault from the kind of an error. A return code decides alone, whatever
// gRPC code came with it. A gRPC code without a return code is a fault of the server.
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

// unfit reports whether the server cannot serve the key at all: it has another master key, or
// lacks the mechanism.
func unfit(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code == ep11.CodeIBMWKIDMismatch || e.Code == ep11.CodeMechanismInvalid
	}
	_, lacks := errors.AsType[*LackError](err)
	return lacks
}
