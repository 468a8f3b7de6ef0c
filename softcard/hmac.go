package softcard

import (
	"crypto/subtle"
	"slices"
)

// HMAC (RFC 2104 section 2) is computed in its two halves, because between two calls the
// state of the inner hash must be kept, and crypto/hmac does not give it.

// The two pads of HMAC.
const (
	innerPad = 0x36
	outerPad = 0x5c
)

// padded returns the key as long as a block of the hash, each byte xored with pad.
func (m mechanism) padded(secret []byte, pad byte) []byte {
	if len(secret) > m.hash.New().BlockSize() {
		h := m.hash.New()
		h.Write(secret)
		secret = h.Sum(nil)
	}
	block := append(slices.Clone(secret), make([]byte, m.hash.New().BlockSize()-len(secret))...)
	subtle.XORBytes(block, block, slices.Repeat([]byte{pad}, len(block)))
	return block
}

// outer returns the HMAC for an inner hash.
func (m mechanism) outer(secret, inner []byte) []byte {
	block := m.padded(secret, outerPad)
	defer clear(block)
	h := m.hash.New()
	h.Write(block)
	h.Write(inner)
	return h.Sum(nil)
}
