package softcard

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// maxSchnorrSize bounds data, key blob and parameter together, in bytes: the limit of a
// CEX7 (hpcs-grep11-go, examples/schnorr_test.go).
const maxSchnorrSize = 12 << 10

// schnorrParameterSize is the size of the parameter inside a card in bytes: one number.
const schnorrParameterSize = 4

// readSchnorr takes the two kinds of signatures that EC keys make. BLS is not one of them.
func (m *mechanism) readSchnorr(p *pb.ECSGParm) error {
	switch p.GetType() {
	case pb.ECSGParm_CkEcsgIbmEcsdsaS256, pb.ECSGParm_CkEcsgIbmEcsdsaComprMulti:
		m.schnorr = p.GetType()
		return nil
	case pb.ECSGParm_CkEcsgIbmNotUsed, pb.ECSGParm_CkEcsgIbmBls:
	}
	return m.bad("no kind of signature %d here", p.GetType())
}

// checkSize returns CKR_MECHANISM_INVALID for more than a card takes at once.
func (m mechanism) checkSize(blob, data []byte) error {
	if n := len(data) + len(blob) + schnorrParameterSize; m.takes == schnorrParameter && n > maxSchnorrSize {
		return refuse(ep11.CodeMechanismInvalid, "data, key and parameter have %d bytes, at most %d go", n, maxSchnorrSize)
	}
	return nil
}

// signSchnorr returns r‖s. The signature is ECSDSA of BSI TR-03111 section 4.2.3, where r
// is SHA-256(Qx‖Qy‖data) and s is k + r·d mod n, or Zilliqa's form, where r is
// SHA-256(Q‖P‖data) of compressed points and s is k − r·d mod n. Q is k·G, P the public
// key. A hash that is not below n is rejected, so that reducing r modulo n changes nothing.
func (m mechanism) signSchnorr(on curve, secret, data []byte) ([]byte, error) {
	public, ok := on.publicPoint(secret)
	if !ok {
		return nil, errors.New("schnorr: not a key of its curve")
	}
	n := on.order()
	for range maxNonces {
		nonce, err := rand.Int(rand.Reader, n)
		if err != nil {
			return nil, fmt.Errorf("schnorr nonce: %v", err)
		}
		q, ok := on.publicPoint(nonce.FillBytes(make([]byte, scalarSize)))
		if !ok { // the sum is zero
			continue
		}
		r := new(big.Int).SetBytes(m.challenge(q, public, data))
		s := new(big.Int).Mul(r, new(big.Int).SetBytes(secret))
		if m.schnorr == pb.ECSGParm_CkEcsgIbmEcsdsaComprMulti {
			s.Neg(s)
		}
		if s.Mod(s.Add(s, nonce), n); inOrder(r, n) && s.Sign() > 0 {
			return append(r.FillBytes(make([]byte, scalarSize)), s.FillBytes(make([]byte, scalarSize))...), nil
		}
	}
	return nil, errors.New("schnorr: no usable nonce")
}

// challenge returns the hash that binds the nonce's point to the data.
func (m mechanism) challenge(q, public, data []byte) []byte {
	h := sha256.New()
	if m.schnorr == pb.ECSGParm_CkEcsgIbmEcsdsaComprMulti {
		h.Write(compressed(q))
		h.Write(compressed(public))
	} else {
		h.Write(q[1:])
	}
	h.Write(data)
	return h.Sum(nil)
}

// verifySchnorr recovers the nonce's point from the signature and compares the hash.
func (m mechanism) verifySchnorr(k publicKey, data, signature []byte) bool {
	on, _ := k.kind.curve()
	n := on.order()
	r, s := new(big.Int).SetBytes(signature[:scalarSize]), new(big.Int).SetBytes(signature[scalarSize:])
	if !inOrder(r, n) || !inOrder(s, n) {
		return false
	}
	by := new(big.Int).Set(r)
	if m.schnorr != pb.ECSGParm_CkEcsgIbmEcsdsaComprMulti {
		by.Sub(n, r)
	}
	q, ok := on.combine(s, by, k.point)
	return ok && bytes.Equal(m.challenge(q, k.point, data), signature[:scalarSize])
}

// inOrder reports whether i lies between 1 and n−1.
func inOrder(i, n *big.Int) bool { return i.Sign() > 0 && i.Cmp(n) < 0 }
