package softcard

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"math/big"

	ecc "github.com/decred/dcrd/dcrec/secp256k1/v4"

	"pawl/internal/ep11"
)

// curve is a curve that the card makes keys on. Its value is stored in blobs.
type curve uint8

const (
	edwards25519 curve = 1
	secp256k1    curve = 2
	p256         curve = 3
	p384         curve = 4
	p521         curve = 5
	p224         curve = 6
)

// Sizes in bytes on the curves of 256 bits, the only ones with derivation and Schnorr
// signatures.
const (
	secretSize = 32 // an Ed25519 seed (RFC 8032 section 5.1.5) or a scalar
	scalarSize = 32
	pointSize  = 65 // SEC 1 section 2.3.3: 04‖X‖Y
)

// curves lists every curve.
var curves = []curve{edwards25519, secp256k1, p224, p256, p384, p521}

// nist returns a curve of FIPS 186-5 from Go's library, or nil for the other curves.
func (c curve) nist() elliptic.Curve {
	switch c {
	case p224:
		return elliptic.P224()
	case p256:
		return elliptic.P256()
	case p384:
		return elliptic.P384()
	case p521:
		return elliptic.P521()
	case edwards25519, secp256k1:
	}
	return nil
}

// bits is the size of a key as the card counts it: 255 for Ed25519.
func (c curve) bits() int {
	if n := c.nist(); n != nil {
		return n.Params().BitSize
	}
	if c == edwards25519 {
		return 255
	}
	return 256
}

// size is the length in bytes of a secret and of half a signature: R‖S of RFC 8032, or r‖s.
func (c curve) size() int { return (c.bits() + 7) / 8 }

// params is the curve's DER object identifier, as in CKA_EC_PARAMS.
func (c curve) params() string {
	switch c {
	case edwards25519:
		return ep11.CurveEd25519
	case secp256k1:
		return ep11.CurveSecp256k1
	case p224:
		return ep11.CurveP224
	case p256:
		return ep11.CurveP256
	case p384:
		return ep11.CurveP384
	case p521:
		return ep11.CurveP521
	}
	return ""
}

func curveOf(params []byte) (curve, bool) {
	for _, c := range curves {
		if string(params) == c.params() {
			return c, true
		}
	}
	return 0, false
}

// pointLen is the length in bytes of an uncompressed public key.
func (c curve) pointLen() int {
	if c == edwards25519 {
		return ed25519.PublicKeySize
	}
	return 1 + 2*c.size()
}

// order is the order of the curve's group.
func (c curve) order() *big.Int {
	switch c {
	case edwards25519: // 2^252 + 27742317777372353535851937790883648493 (RFC 8032 section 5.1)
		low, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
		return low.Add(low, new(big.Int).Lsh(big.NewInt(1), 252))
	case secp256k1:
		return ecc.Params().N
	case p224, p256, p384, p521:
		return c.nist().Params().N
	}
	return new(big.Int)
}

// generate makes a private key and its public key.
func (c curve) generate() (secret, point []byte, err error) {
	switch c {
	case edwards25519:
		pub, priv, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, nil, fmt.Errorf("ed25519 key: %v", err)
		}
		return priv.Seed(), pub, nil
	case secp256k1:
		return generateSecp256k1()
	case p224, p256, p384, p521:
		return generateNIST(c.nist())
	}
	return nil, nil, fmt.Errorf("no curve %d", c)
}

// sign signs as the card does: Ed25519 signs data itself; ECDSA takes data as the digest
// and uses as many of its leftmost bits as the order has (SEC 1 section 4.1.3 step 5; both
// libraries cut it). S is high or low at random.
func (c curve) sign(secret, data []byte) ([]byte, error) {
	switch c {
	case edwards25519:
		return ed25519.Sign(ed25519.NewKeyFromSeed(secret), data), nil
	case secp256k1:
		return signSecp256k1(secret, data)
	case p224, p256, p384, p521:
		return c.signNIST(secret, data)
	}
	return nil, fmt.Errorf("no curve %d", c)
}

// verify reports whether signature, which has the right length, is the key's over data.
func (c curve) verify(point, data, signature []byte) bool {
	switch c {
	case edwards25519:
		return ed25519.Verify(point, data, signature)
	case secp256k1:
		return verifySecp256k1(point, data, signature)
	case p224, p256, p384, p521:
		return c.verifyNIST(point, data, signature)
	}
	return false
}

// wantsHighS decides at random whether S is high: a card does not normalise S, so a client
// must.
func wantsHighS() (bool, error) {
	var b [1]byte
	if _, err := rand.Read(b[:]); err != nil {
		return false, fmt.Errorf("random bit: %v", err)
	}
	return b[0]&1 == 1, nil
}

func generateNIST(on elliptic.Curve) (secret, point []byte, err error) {
	key, err := ecdsa.GenerateKey(on, rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("EC key: %v", err)
	}
	if secret, err = key.Bytes(); err != nil {
		return nil, nil, fmt.Errorf("EC key: %v", err)
	}
	if point, err = key.PublicKey.Bytes(); err != nil {
		return nil, nil, fmt.Errorf("EC public key: %v", err)
	}
	return secret, point, nil
}

func (c curve) signNIST(secret, digest []byte) ([]byte, error) {
	key, err := ecdsa.ParseRawPrivateKey(c.nist(), secret)
	if err != nil {
		return nil, fmt.Errorf("EC key: %v", err)
	}
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		return nil, fmt.Errorf("ECDSA signature: %v", err)
	}
	wanted, err := wantsHighS()
	if err != nil {
		return nil, err
	}
	if high := s.Cmp(new(big.Int).Rsh(c.order(), 1)) > 0; high != wanted {
		s.Sub(c.order(), s)
	}
	signature := make([]byte, 2*c.size())
	r.FillBytes(signature[:c.size()])
	s.FillBytes(signature[c.size():])
	return signature, nil
}

func (c curve) verifyNIST(point, digest, signature []byte) bool {
	key, err := ecdsa.ParseUncompressedPublicKey(c.nist(), point)
	if err != nil {
		return false
	}
	r := new(big.Int).SetBytes(signature[:c.size()])
	s := new(big.Int).SetBytes(signature[c.size():])
	return ecdsa.Verify(key, digest, r, s)
}
