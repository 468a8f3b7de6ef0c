package tezos

import (
	"errors"
	"fmt"
)

// Every error of [ParseRequest] Is ErrMalformed. An error that a new protocol could cause
// also Is ErrUnknownLayout: a consensus tag or length that this package does not know.
var (
	ErrMalformed     = errors.New("malformed payload")
	ErrUnknownLayout = errors.New("unknown consensus layout")
)

// ParseError says why and where a payload was refused. It quotes nothing of the payload
// but tags, lengths and numbers. It always Is [ErrMalformed].
type ParseError struct {
	Offset int    // of the byte at fault, counted from the magic byte
	Reason string // one line, without the offset
	Err    error  // ErrMalformed or ErrUnknownLayout
}

// Error returns the reason and the offset, as in "malformed payload: block round
// -1 is negative (offset 120)".
func (e *ParseError) Error() string {
	return fmt.Sprintf("%v: %s (offset %d)", ErrMalformed, e.Reason, e.Offset)
}

// Is reports whether target is [ErrMalformed] or the Err field.
func (e *ParseError) Is(target error) bool {
	return target == ErrMalformed || target == e.Err
}

func malformed(offset int, format string, args ...any) *ParseError {
	return &ParseError{Offset: offset, Reason: fmt.Sprintf(format, args...), Err: ErrMalformed}
}

// unknownLayout returns the error for a consensus payload of size bytes whose tag or length
// belongs to no known protocol. For a block, which has no tag, tag is its magic byte.
func unknownLayout(offset int, tag byte, size int) *ParseError {
	return &ParseError{
		Offset: offset,
		Reason: fmt.Sprintf("%v: tag 0x%02x, %d bytes", ErrUnknownLayout, tag, size),
		Err:    ErrUnknownLayout,
	}
}
