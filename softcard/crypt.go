package softcard

import (
	"crypto/cipher"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// usageOf is the usage that a key needs to encrypt or decrypt.
var usageOf = map[direction]uint64{encrypting: ep11.BlobEncrypt, decrypting: ep11.BlobDecrypt}

// crypt encrypts or decrypts in one call.
func (c *Card) crypt(d direction, wire *pb.Mechanism, raw []byte, message *pb.KeyBlob, data []byte) ([]byte, error) {
	m, err := choose(wire, ability[d])
	if err != nil {
		return nil, err
	}
	blob, err := blobOf(raw, message)
	if err != nil {
		return nil, err
	}
	return c.cryptWith(m, d, usageOf[d], blob, data)
}

// cryptWith is crypt with a key of the given usage: wrapping a key is encrypting it.
func (c *Card) cryptWith(m mechanism, d direction, usage uint64, blob, data []byte) ([]byte, error) {
	if m.keys == rsaKeys {
		return c.cryptRSA(m, d, usage, blob, data)
	}
	b, err := c.cipher(m, usage, blob)
	if err != nil {
		return nil, err
	}
	op := operation{Direction: d, Chain: m.iv}
	out := m.part(&op, b, data)
	last, err := m.end(&op, b)
	if err != nil {
		return nil, err
	}
	return append(out, last...), nil
}

// cipher opens the key of a block cipher.
func (c *Card) cipher(m mechanism, usage uint64, blob []byte) (cipher.Block, error) {
	k, err := c.openKey(blob)
	if err != nil {
		return nil, err
	}
	defer clear(k.secret)
	if err := k.wants(usage); err != nil {
		return nil, err
	}
	return m.cipher(k)
}

func (c *Card) cryptRSA(m mechanism, d direction, usage uint64, blob, data []byte) ([]byte, error) {
	if d == encrypting {
		k, err := c.publicRSA(usage, blob)
		if err != nil {
			return nil, err
		}
		return m.encryptRSA(k.rsa, data)
	}
	k, err := c.openKey(blob)
	if err != nil {
		return nil, err
	}
	if err := k.wants(usage); err != nil {
		return nil, err
	}
	return m.decryptRSA(k, data)
}

// publicRSA opens a public key to encrypt with.
func (c *Card) publicRSA(usage uint64, blob []byte) (publicKey, error) {
	k, err := c.openPublic(blob)
	if err != nil {
		return publicKey{}, err
	}
	if k.rsa == nil {
		return publicKey{}, refuse(ep11.CodeKeyTypeInconsistent, "the key is not an RSA key")
	}
	return k, permitted(k.attributes, usage)
}

// cryptInit begins an operation. It checks the key now; the end checks it again.
func (c *Card) cryptInit(d direction, wire *pb.Mechanism, raw []byte, message *pb.KeyBlob) ([]byte, error) {
	m, err := choose(wire, ability[d])
	if err != nil {
		return nil, err
	}
	blob, err := blobOf(raw, message)
	if err != nil {
		return nil, err
	}
	if err := c.mayCrypt(m, d, blob); err != nil {
		return nil, err
	}
	op, err := begin(d, wire, blob)
	if err != nil {
		return nil, err
	}
	op.Chain = m.iv
	return c.sealState(op)
}

func (c *Card) mayCrypt(m mechanism, d direction, blob []byte) error {
	if m.keys == rsaKeys && d == encrypting {
		_, err := c.publicRSA(usageOf[d], blob)
		return err
	}
	k, err := c.openKey(blob)
	if err != nil {
		return err
	}
	if err := k.wants(usageOf[d]); err != nil {
		return err
	}
	return m.checkKey(k.kind)
}

// cryptPart takes more data. RSA works on whole messages only.
func (c *Card) cryptPart(d direction, state, data []byte) (next, out []byte, err error) {
	op, m, err := c.openState(state, d)
	if err != nil {
		return nil, nil, err
	}
	if m.keys == rsaKeys {
		return nil, nil, refuse(ep11.CodeMechanismInvalid, "mechanism 0x%x takes its data at once", m.id)
	}
	b, err := c.cipher(m, usageOf[d], op.Key)
	if err != nil {
		return nil, nil, err
	}
	out = m.part(&op, b, data)
	op.InParts = true
	next, err = c.sealState(op)
	return next, out, err
}

// cryptEnd ends an operation with its last data.
func (c *Card) cryptEnd(d direction, state, data []byte, how ending) ([]byte, error) {
	op, m, err := c.openLast(state, d, how)
	if err != nil {
		return nil, err
	}
	if m.keys == rsaKeys {
		return c.cryptRSA(m, d, usageOf[d], op.Key, data)
	}
	b, err := c.cipher(m, usageOf[d], op.Key)
	if err != nil {
		return nil, err
	}
	out := m.part(&op, b, data)
	last, err := m.end(&op, b)
	if err != nil {
		return nil, err
	}
	return append(out, last...), nil
}
