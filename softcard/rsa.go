package softcard

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"pawl/internal/ep11"
)

const (
	leastRSABits    = 1024  // crypto/rsa makes and takes no smaller key
	defaultExponent = 65537 // PKCS #11 v2.40, section 2.1.4
	maxPrimePairs   = 1000  // tries for two primes that fit the exponent; for 17, seven pairs in eight do
)

// generateRSA makes a key with the given odd exponent.
func generateRSA(bits, exponent int) (*rsa.PrivateKey, error) {
	if exponent == defaultExponent {
		return rsa.GenerateKey(rand.Reader, bits)
	}
	for range maxPrimePairs {
		p, err := rand.Prime(rand.Reader, bits-bits/2)
		if err != nil {
			return nil, err
		}
		q, err := rand.Prime(rand.Reader, bits/2)
		if err != nil {
			return nil, err
		}
		if key := rsaOf(p, q, exponent); key != nil && key.N.BitLen() == bits {
			return key, nil
		}
	}
	return nil, errors.New("no two primes fit the exponent")
}

// rsaOf makes the key of two primes, or nil if they do not fit.
func rsaOf(p, q *big.Int, exponent int) *rsa.PrivateKey {
	one, e := big.NewInt(1), big.NewInt(int64(exponent))
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	d := new(big.Int).ModInverse(e, phi)
	if d == nil || p.Cmp(q) == 0 {
		return nil
	}
	public := rsa.PublicKey{N: new(big.Int).Mul(p, q), E: exponent}
	key := &rsa.PrivateKey{PublicKey: public, D: d, Primes: []*big.Int{p, q}}
	key.Precompute()
	if key.Validate() != nil {
		return nil
	}
	return key
}

// rsa reads the RSA key of a blob.
func (k key) rsa() (*rsa.PrivateKey, error) {
	if k.kind != kindRSA {
		return nil, refuse(ep11.CodeKeyTypeInconsistent, "the key is not an RSA key")
	}
	parsed, err := x509.ParsePKCS1PrivateKey(k.secret)
	if err != nil {
		return nil, fmt.Errorf("RSA key of a blob: %v", err)
	}
	return parsed, nil
}

// signRSA signs the message of a mechanism: a digest, or for CKM_RSA_PKCS the data, which
// should be a DigestInfo.
func (m mechanism) signRSA(k key, message []byte) ([]byte, error) {
	private, err := k.rsa()
	if err != nil {
		return nil, err
	}
	if m.mode == rsaPSS {
		return m.signPSS(private, message)
	}
	if err := fitsPKCS1(private.Size(), message); err != nil {
		return nil, err
	}
	return rsa.SignPKCS1v15(rand.Reader, private, m.hash, message)
}

// pkcs1Overhead is the least number of bytes that PKCS #1 v1.5 adds (RFC 8017 section 9.2).
const pkcs1Overhead = 11

func fitsPKCS1(size int, message []byte) error {
	if len(message) > size-pkcs1Overhead {
		return refuse(ep11.CodeDataLenRange, "%d bytes of data, the key takes %d", len(message), size-pkcs1Overhead)
	}
	return nil
}

func (m mechanism) verifyRSA(k *rsa.PublicKey, message, signature []byte) bool {
	switch {
	case m.mode != rsaPSS:
		return rsa.VerifyPKCS1v15(k, m.hash, message, signature) == nil
	case m.salt > 0:
		return rsa.VerifyPSS(k, m.rsaHash, message, signature, &rsa.PSSOptions{SaltLength: m.salt}) == nil
	}
	encoded, err := encodePSS(m.rsaHash, message, k.N.BitLen()-1)
	s := new(big.Int).SetBytes(signature)
	if err != nil || s.Cmp(k.N) >= 0 {
		return false
	}
	return s.Exp(s, big.NewInt(int64(k.E)), k.N).Cmp(new(big.Int).SetBytes(encoded)) == 0
}

// signPSS signs with a salt of the wanted length. crypto/rsa reads no salt as the longest
// one, so a signature without salt is made here.
func (m mechanism) signPSS(k *rsa.PrivateKey, digest []byte) ([]byte, error) {
	if m.salt > 0 {
		signature, err := rsa.SignPSS(rand.Reader, k, m.rsaHash, digest, &rsa.PSSOptions{SaltLength: m.salt})
		if err != nil {
			return nil, m.bad("a salt of %d bytes with this key", m.salt)
		}
		return signature, nil
	}
	encoded, err := encodePSS(m.rsaHash, digest, k.N.BitLen()-1)
	if err != nil {
		return nil, m.bad("%v with this key", m.rsaHash)
	}
	s := new(big.Int).SetBytes(encoded)
	return s.Exp(s, k.D, k.N).FillBytes(make([]byte, k.Size())), nil
}

// encodePSS is EMSA-PSS of RFC 8017 section 9.1.1 with an empty salt.
func encodePSS(hash crypto.Hash, digest []byte, bits int) ([]byte, error) {
	size := (bits + 7) / 8
	if size < hash.Size()+2 {
		return nil, errors.New("the key is too short for the hash")
	}
	h := hash.New()
	h.Write(make([]byte, 8))
	h.Write(digest)
	tail := h.Sum(nil)
	block := make([]byte, size-len(tail)-1)
	block[len(block)-1] = 1
	for i, mask := range mgf1(hash, tail, len(block)) {
		block[i] ^= mask
	}
	block[0] &= 0xff >> (8*size - bits)
	return bytes.Join([][]byte{block, tail, {0xbc}}, nil), nil
}

// mgf1 is the mask generation function of RFC 8017 appendix B.2.1.
func mgf1(hash crypto.Hash, seed []byte, size int) (mask []byte) {
	for counter := uint32(0); len(mask) < size; counter++ {
		h := hash.New()
		h.Write(seed)
		h.Write(binary.BigEndian.AppendUint32(nil, counter))
		mask = h.Sum(mask)
	}
	return mask[:size]
}

// encryptRSA encrypts under a public key.
func (m mechanism) encryptRSA(k *rsa.PublicKey, plain []byte) ([]byte, error) {
	if m.mode == rsaOAEP {
		if len(plain) > k.Size()-2*m.rsaHash.Size()-2 {
			return nil, refuse(ep11.CodeDataLenRange,
				"%d bytes are too many for the key and OAEP with %v", len(plain), m.rsaHash)
		}
		return rsa.EncryptOAEP(m.rsaHash.New(), rand.Reader, k, plain, m.label)
	}
	if err := fitsPKCS1(k.Size(), plain); err != nil {
		return nil, err
	}
	return rsa.EncryptPKCS1v15(rand.Reader, k, plain) //nolint:staticcheck // cards offer it
}

// decryptRSA decrypts what encryptRSA encrypted.
func (m mechanism) decryptRSA(k key, ciphered []byte) (plain []byte, err error) {
	private, err := k.rsa()
	if err != nil {
		return nil, err
	}
	if len(ciphered) != private.Size() {
		return nil, refuse(ep11.CodeEncryptedDataLenRange, "%d bytes, the key wants %d", len(ciphered), private.Size())
	}
	if m.mode == rsaOAEP {
		plain, err = rsa.DecryptOAEP(m.rsaHash.New(), nil, private, ciphered, m.label)
	} else {
		plain, err = rsa.DecryptPKCS1v15(nil, private, ciphered) //nolint:staticcheck // cards offer it
	}
	if err != nil {
		return nil, refuse(ep11.CodeEncryptedDataInvalid, "the data does not decrypt")
	}
	return plain, nil
}
