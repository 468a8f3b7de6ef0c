package softcard

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // cards offer triple DES
	"crypto/subtle"
	"fmt"
	"slices"

	"pawl/internal/ep11"
)

// mode is how a block cipher chains and pads, or how RSA pads.
type mode int

const (
	ecb mode = iota + 1
	cbc
	cbcPad // PKCS #7 (RFC 5652 section 6.3)
	rsaPKCS1
	rsaOAEP
	rsaPSS
)

const des3Size = 24 // three keys of 8 bytes

// block is the cipher's block size in bytes.
func (m mechanism) block() int {
	if m.keys == des3Keys {
		return des.BlockSize
	}
	return aes.BlockSize
}

func (m mechanism) cipher(k key) (cipher.Block, error) {
	if err := m.checkKey(k.kind); err != nil {
		return nil, err
	}
	var block cipher.Block
	var err error
	if k.kind == kindDES3 {
		block, err = des.NewTripleDESCipher(k.secret) //nolint:gosec // see the import
	} else {
		block, err = aes.NewCipher(k.secret)
	}
	if err != nil {
		return nil, fmt.Errorf("cipher of a key: %v", err)
	}
	return block, nil
}

// chain runs whole blocks through the cipher and returns the block to chain the next ones
// to.
func (m mechanism) chain(b cipher.Block, d direction, previous, data []byte) (out, last []byte) {
	size := b.BlockSize()
	out = make([]byte, len(data))
	for i := 0; i < len(data); i += size {
		in, to := data[i:i+size], out[i:i+size]
		switch {
		case d == encrypting && m.mode == ecb:
			b.Encrypt(to, in)
		case d == encrypting:
			subtle.XORBytes(to, in, previous)
			b.Encrypt(to, to)
			previous = to
		case m.mode == ecb:
			b.Decrypt(to, in)
		default:
			b.Decrypt(to, in)
			subtle.XORBytes(to, to, previous)
			previous = in
		}
	}
	return out, slices.Clone(previous)
}

// part takes more data and returns the output that is certain so far. Decryption with
// padding holds the last block back: it may be padding.
func (m mechanism) part(op *operation, b cipher.Block, data []byte) (out []byte) {
	data = slices.Concat(op.Data, data)
	whole := len(data) / b.BlockSize() * b.BlockSize()
	if m.mode == cbcPad && op.Direction == decrypting && whole == len(data) && whole > 0 {
		whole -= b.BlockSize()
	}
	out, op.Chain = m.chain(b, op.Direction, op.Chain, data[:whole])
	op.Data = slices.Clone(data[whole:])
	return out
}

// end returns the last output of an operation.
func (m mechanism) end(op *operation, b cipher.Block) (out []byte, err error) {
	size := b.BlockSize()
	switch {
	case m.mode == cbcPad && op.Direction == encrypting:
		pad := size - len(op.Data)
		padding := bytes.Repeat([]byte{byte(pad)}, pad) //nolint:gosec // at most 16
		out, _ = m.chain(b, encrypting, op.Chain, append(op.Data, padding...))
		return out, nil
	case m.mode == cbcPad && len(op.Data) == size:
		out, _ = m.chain(b, decrypting, op.Chain, op.Data)
		return unpad(out)
	case len(op.Data) == 0 && m.mode != cbcPad:
		return nil, nil
	case op.Direction == encrypting:
		return nil, refuse(ep11.CodeDataLenRange, "the data is not whole blocks of %d bytes", size)
	}
	return nil, refuse(ep11.CodeEncryptedDataLenRange, "the data is not whole blocks of %d bytes", size)
}

// unpad removes the padding from the last block.
func unpad(block []byte) ([]byte, error) {
	n := int(block[len(block)-1])
	if n == 0 || n > len(block) || !bytes.Equal(block[len(block)-n:], bytes.Repeat(block[len(block)-1:], n)) {
		return nil, refuse(ep11.CodeEncryptedDataInvalid, "the padding is none: another key, or other data")
	}
	return block[:len(block)-n], nil
}
