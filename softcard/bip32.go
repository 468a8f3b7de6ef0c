package softcard

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"math/big"
)

// node is an extended key: a secret or a point, and a chain code.
type node struct {
	on     curve
	secret []byte
	point  []byte
	chain  []byte
}

// seedKey is the HMAC key of master key generation on the curve (SLIP-0010).
func (c curve) seedKey() string {
	switch c {
	case edwards25519:
		return "ed25519 seed"
	case p256:
		return "Nist256p1 seed"
	case secp256k1, p224, p384, p521: // the last three have no seed key of their own
	}
	return "Bitcoin seed" // BIP-32
}

func mac512(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha512.New, key)
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}

// master derives the master key of a seed. With again it follows SLIP-0010, which hashes
// until the result is a key.
func (n node) master(again bool) (node, bool) {
	i := mac512([]byte(n.on.seedKey()), n.secret)
	for {
		if _, ok := n.on.publicPoint(i[:secretSize]); ok {
			return node{on: n.on, secret: i[:secretSize], chain: i[secretSize:]}, true
		}
		if !again {
			return node{}, false
		}
		i = mac512([]byte(n.on.seedKey()), i)
	}
}

// privateChild is CKDpriv of BIP-32 and SLIP-0010.
func (n node) privateChild(chain []byte, index uint32, again bool) (node, bool) {
	number := binary.BigEndian.AppendUint32(nil, index)
	data := append([]byte{0}, n.secret...)
	if index < hardened {
		point, ok := n.on.publicPoint(n.secret)
		if !ok {
			return node{}, false
		}
		data = compressed(point)
	}
	i := mac512(chain, data, number)
	clear(data)
	for {
		secret, ok := n.on.add(n.secret, i[:secretSize])
		if ok {
			return node{on: n.on, secret: secret, chain: i[secretSize:]}, true
		}
		if !again {
			return node{}, false
		}
		i = mac512(chain, []byte{1}, i[secretSize:], number)
	}
}

// publicChild is CKDpub of BIP-32 and SLIP-0010.
func (n node) publicChild(chain []byte, index uint32, again bool) (node, bool) {
	number := binary.BigEndian.AppendUint32(nil, index)
	i := mac512(chain, compressed(n.point), number)
	for {
		if tweak := new(big.Int).SetBytes(i[:secretSize]); tweak.Cmp(n.on.order()) < 0 {
			if point, ok := n.on.combine(tweak, big.NewInt(1), n.point); ok {
				return node{on: n.on, point: point, chain: i[secretSize:]}, true
			}
		}
		if !again {
			return node{}, false
		}
		i = mac512(chain, []byte{1}, i[secretSize:], number)
	}
}

// add returns the secret of a child: the sum modulo the group order, or for Ed25519 the
// left half of the hash itself. It reports false for a sum of zero and for a left half not
// below the order.
func (c curve) add(parent, left []byte) ([]byte, bool) {
	if c == edwards25519 {
		return left, true
	}
	order := c.order()
	a, b := new(big.Int).SetBytes(parent), new(big.Int).SetBytes(left)
	if b.Cmp(order) >= 0 {
		return nil, false
	}
	a.Mod(a.Add(a, b), order)
	if a.Sign() == 0 {
		return nil, false
	}
	return a.FillBytes(make([]byte, secretSize)), true
}
