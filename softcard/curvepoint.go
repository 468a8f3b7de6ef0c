package softcard

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"fmt"
	"math/big"
	"slices"

	ecc "github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// publicPoint returns the public key of a secret. It reports false if the secret is of the
// wrong size, zero, or not below the group order.
func (c curve) publicPoint(secret []byte) (point []byte, ok bool) {
	if len(secret) != c.size() {
		return nil, false
	}
	switch c {
	case edwards25519:
		point, ok = ed25519.NewKeyFromSeed(secret).Public().(ed25519.PublicKey)
		return point, ok
	case secp256k1:
		var d ecc.ModNScalar
		if d.SetByteSlice(secret) || d.IsZero() {
			return nil, false
		}
		return ecc.NewPrivateKey(&d).PubKey().SerializeUncompressed(), true
	case p224, p256, p384, p521:
		key, err := ecdsa.ParseRawPrivateKey(c.nist(), secret)
		if err != nil {
			return nil, false
		}
		point, err = key.PublicKey.Bytes()
		return point, err == nil
	}
	return nil, false
}

// valid reports whether point, uncompressed, lies on the curve and is not infinity.
func (c curve) valid(point []byte) bool {
	switch c {
	case edwards25519:
		return len(point) == ed25519.PublicKeySize
	case secp256k1:
		key, err := ecc.ParsePubKey(point)
		return err == nil && len(point) == pointSize && key.IsOnCurve()
	case p224, p256, p384, p521:
		_, err := ecdsa.ParseUncompressedPublicKey(c.nist(), point)
		return err == nil
	}
	return false
}

// agree returns the x coordinate of secret times point (SEC 1 section 3.3.1).
func (c curve) agree(secret, point []byte) ([]byte, error) {
	switch c {
	case secp256k1:
		key, err := ecc.ParsePubKey(point)
		if err != nil {
			return nil, fmt.Errorf("secp256k1 point: %v", err)
		}
		return ecc.GenerateSharedSecret(ecc.PrivKeyFromBytes(secret), key), nil
	case p224, p256, p384, p521:
		private, err := ecdsa.ParseRawPrivateKey(c.nist(), secret)
		if err != nil {
			return nil, fmt.Errorf("EC key: %v", err)
		}
		public, err := ecdsa.ParseUncompressedPublicKey(c.nist(), point)
		if err != nil {
			return nil, fmt.Errorf("EC point: %v", err)
		}
		if c == p224 {
			return agreeP224(secret, point), nil
		}
		return agreeNIST(private, public)
	case edwards25519:
	}
	return nil, fmt.Errorf("no key agreement on curve %d", c)
}

func agreeNIST(private *ecdsa.PrivateKey, public *ecdsa.PublicKey) ([]byte, error) {
	mine, err := private.ECDH()
	if err != nil {
		return nil, fmt.Errorf("EC key: %v", err)
	}
	theirs, err := public.ECDH()
	if err != nil {
		return nil, fmt.Errorf("EC point: %v", err)
	}
	shared, err := mine.ECDH(theirs)
	if err != nil {
		return nil, fmt.Errorf("EC agreement: %v", err)
	}
	return shared, nil
}

// agreeP224 uses functions that crypto/elliptic calls low-level, because crypto/ecdh has no
// P-224. They panic with a point off the curve; agree has refused it.
func agreeP224(secret, point []byte) []byte {
	size := p224.size()
	x, y := new(big.Int).SetBytes(point[1:1+size]), new(big.Int).SetBytes(point[1+size:])
	x, _ = elliptic.P224().ScalarMult(x, y, secret) //nolint:staticcheck // see above
	return x.FillBytes(make([]byte, size))
}

// compressed returns SEC 1's short form of an uncompressed point.
func compressed(point []byte) []byte {
	return append([]byte{2 + point[pointSize-1]&1}, point[1:1+scalarSize]...)
}

// combine returns s·G + r·point on secp256k1 or P-256, uncompressed. It reports false for
// the point at infinity.
func (c curve) combine(s, r *big.Int, point []byte) ([]byte, bool) {
	if c == p256 {
		return combineP256(s, r, point)
	}
	key, err := ecc.ParsePubKey(point)
	if err != nil {
		return nil, false
	}
	var a, b ecc.ModNScalar
	a.SetByteSlice(s.Bytes())
	b.SetByteSlice(r.Bytes())
	var base, other, sum ecc.JacobianPoint
	key.AsJacobian(&other)
	ecc.ScalarMultNonConst(&b, &other, &other)
	ecc.ScalarBaseMultNonConst(&a, &base)
	ecc.AddNonConst(&base, &other, &sum)
	if sum.Z.IsZero() {
		return nil, false
	}
	sum.ToAffine()
	return ecc.NewPublicKey(&sum.X, &sum.Y).SerializeUncompressed(), true
}

// combineP256 uses functions that crypto/elliptic calls low-level, because crypto/ecdh
// cannot add points.
func combineP256(s, r *big.Int, point []byte) ([]byte, bool) {
	p := elliptic.P256()
	x, y := new(big.Int).SetBytes(point[1:1+scalarSize]), new(big.Int).SetBytes(point[1+scalarSize:])
	bx, by := p.ScalarBaseMult(s.Bytes()) //nolint:staticcheck // see above
	x, y = p.ScalarMult(x, y, r.Bytes())  //nolint:staticcheck // see above
	x, y = p.Add(bx, by, x, y)            //nolint:staticcheck // see above
	if x.Sign() == 0 && y.Sign() == 0 {
		return nil, false
	}
	return slices.Concat([]byte{4}, x.FillBytes(make([]byte, scalarSize)), y.FillBytes(make([]byte, scalarSize))), true
}
