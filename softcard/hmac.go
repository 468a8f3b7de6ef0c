package softcard

import (
	"crypto/subtle"
	"slices"
)

// HMAC is taken apart (RFC 2104 section 2), because between two calls it is the state
// of the inner hash that has to be kept, and the one of crypto/hmac cannot be.

// HMAC's two pads.
const (
	innerPad = 0x36
	outerPad = 0x5c
)

// padded is the key as long as a block of the hash, each byte xored with a pad.
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

// outer is the HMAC of what inner is the inner hash of.
func (m mechanism) outer(secret, inner []byte) []byte {
	block := m.padded(secret, outerPad)
	defer clear(block)
	h := m.hash.New()
	h.Write(block)
	h.Write(inner)
	return h.Sum(nil)
}
