package tezos

// This file reads the elements of Octez's binary encoding.

import "encoding/binary"

// reader reads a payload from front to back. It keeps the first error. After an error all
// methods return zero values, so that a caller needs to check the error only at the end.
type reader struct {
	buf      []byte
	pos, end int    // end is the end of the payload, or of the list being read
	in       string // what is being read, the first word of every reason
	err      *ParseError
}

// The presence byte of an optional field. Octez decodes any non-zero byte as present, but
// writes only ff (data-encoding, binary_writer.ml).
const (
	flagAbsent  = 0x00
	flagPresent = 0xff
)

func (r *reader) fail(offset int, format string, args ...any) {
	if r.err != nil {
		return
	}
	r.err = malformed(offset, r.in+" "+format, args...)
	r.pos = r.end
}

// more reports whether the payload, or the list being read, goes on.
func (r *reader) more() bool { return r.err == nil && r.pos < r.end }

// finish fails if there are bytes left.
func (r *reader) finish() {
	if r.more() {
		r.fail(r.pos, "has trailing bytes: %d", r.end-r.pos)
	}
}

// bytes returns the next n bytes, or nil after an error.
func (r *reader) bytes(n int, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n > r.end-r.pos {
		r.fail(r.end, "%s is cut short", what)
		return nil
	}
	b := r.buf[r.pos : r.pos+n]
	r.pos += n
	return b
}

func (r *reader) byte(what string) byte {
	if b := r.bytes(1, what); b != nil {
		return b[0]
	}
	return 0
}

// natural32 reads an int32 that must not be negative.
func (r *reader) natural32(what string) int32 {
	at := r.pos
	b := r.bytes(4, what)
	if b == nil {
		return 0
	}
	n := int32At(b, 0)
	if n < 0 {
		r.fail(at, "%s %d is negative", what, n)
	}
	return n
}

// flag reads the presence byte of an optional field.
func (r *reader) flag(what string) bool {
	at := r.pos
	b := r.byte(what)
	if b != flagAbsent && b != flagPresent {
		r.fail(at, "%s flag 0x%02x is neither 00 nor ff", what, b)
	}
	return b == flagPresent
}

// length reads a length as a uint32. It must not exceed the bytes left.
func (r *reader) length(what string) int {
	at := r.pos
	b := r.bytes(4, what)
	if b == nil {
		return 0
	}
	n := binary.BigEndian.Uint32(b)
	if int64(n) > int64(r.end-r.pos) {
		r.fail(at, "%s length %d is over the %d bytes left", what, n, r.end-r.pos)
		return 0
	}
	return int(n)
}

// dynamic reads a length and as many bytes.
func (r *reader) dynamic(what string) []byte { return r.bytes(r.length(what), what) }

// open reads the length of a list in bytes, and narrows the reader to the list. It returns
// the value to pass to close.
func (r *reader) open(what string) int {
	outer := r.end
	n := r.length(what)
	r.end = r.pos + n
	return outer
}

// close ends a list that was read until more returned false.
func (r *reader) close(outer int) {
	r.end = outer
	if r.err != nil {
		r.pos = r.end
	}
}

// varint returns the bytes of a number of any size. It accepts only the shortest form
// (data-encoding, binary_reader.ml, N and Z).
func (r *reader) varint(what string) []byte {
	start := r.pos
	for i, b := range r.buf[start:r.end] {
		if b >= 0x80 {
			continue
		}
		r.pos += i + 1
		if b == 0 && i > 0 {
			r.fail(start+i, "%s is not in its shortest form", what)
			return nil
		}
		return r.buf[start:r.pos]
	}
	r.fail(r.end, "%s is cut short", what)
	return nil
}

// natural reads an N that is at most limit.
func (r *reader) natural(what string, limit uint64) uint64 {
	at := r.pos
	var n uint64
	for i, b := range r.varint(what) {
		group := uint64(b & 0x7f)
		if i > 9 || group<<(7*i)>>(7*i) != group {
			r.fail(at, "%s is over %d", what, limit)
			return 0
		}
		n |= group << (7 * i)
	}
	if n > limit {
		r.fail(at, "%s is over %d", what, limit)
		return 0
	}
	return n
}

// bigNatural reads an N of any size and reports whether it is zero.
func (r *reader) bigNatural(what string) bool {
	digits := r.varint(what)
	return len(digits) == 1 && digits[0] == 0
}

// integer reads a Z of any size and returns its sign: -1, 0 or 1.
func (r *reader) integer(what string) int {
	const negative, value = 0x40, 0x3f // bits of the first byte
	at := r.pos
	digits := r.varint(what)
	if len(digits) == 0 {
		return 0
	}
	zero := len(digits) == 1 && digits[0]&value == 0
	if digits[0]&negative == 0 {
		if zero {
			return 0
		}
		return 1
	}
	if zero { // Octez decodes it, but never writes it
		r.fail(at, "%s is minus zero", what)
	}
	return -1
}
