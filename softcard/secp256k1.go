package softcard

import (
	"crypto/rand"
	"errors"
	"fmt"

	ecc "github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// maxNonces bounds the search for a nonce with r and s other than zero. One attempt fails
// with probability 2^-255.
const maxNonces = 8

func generateSecp256k1() (secret, point []byte, err error) {
	key, err := ecc.GeneratePrivateKey()
	if err != nil {
		return nil, nil, fmt.Errorf("secp256k1 key: %v", err)
	}
	return key.Serialize(), key.PubKey().SerializeUncompressed(), nil
}

// signSecp256k1 is ECDSA of SEC 1 section 4.1.3. The module's own Sign is deterministic and
// always gives a low S; a card does neither.
func signSecp256k1(secret, digest []byte) ([]byte, error) {
	fresh := make([]byte, scalarSize)
	if _, err := rand.Read(fresh); err != nil {
		return nil, fmt.Errorf("secp256k1 nonce: %v", err)
	}
	wanted, err := wantsHighS()
	if err != nil {
		return nil, err
	}
	var d, e ecc.ModNScalar
	d.SetByteSlice(secret)
	e.SetByteSlice(digest)
	hashed := e.Bytes()
	for attempt := range uint32(maxNonces) {
		// RFC 6979 section 3.6: the fresh bytes make the nonce random. If they were not
		// random, the rest would keep it secret.
		k := ecc.NonceRFC6979(secret, hashed[:], fresh, nil, attempt)
		r, s := equation(k, &d, &e)
		if r.IsZero() || s.IsZero() {
			continue
		}
		if s.IsOverHalfOrder() != wanted {
			s.Negate()
		}
		rBytes, sBytes := r.Bytes(), s.Bytes()
		return append(rBytes[:], sBytes[:]...), nil
	}
	return nil, errors.New("secp256k1: no usable nonce")
}

// equation returns r = (kG).x mod n and s = (e + r·d) / k mod n.
func equation(k, d, e *ecc.ModNScalar) (r, s ecc.ModNScalar) {
	var point ecc.JacobianPoint
	ecc.ScalarBaseMultNonConst(k, &point)
	point.ToAffine()
	r.SetBytes(point.X.Bytes())
	s.Mul2(&r, d).Add(e).Mul(new(ecc.ModNScalar).InverseValNonConst(k))
	return r, s
}

func verifySecp256k1(point, digest, signature []byte) bool {
	key, err := ecc.ParsePubKey(point)
	if err != nil {
		return false
	}
	var r, s ecc.ModNScalar
	if r.SetByteSlice(signature[:scalarSize]) || s.SetByteSlice(signature[scalarSize:]) {
		return false // not below the group order
	}
	return ecdsa.NewSignature(&r, &s).Verify(digest, key)
}
