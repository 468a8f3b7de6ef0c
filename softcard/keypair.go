package softcard

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"math/big"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

const (
	minExponent = 17        // IBM's GREP11 reference, GenerateKeyPair
	maxExponent = 1<<31 - 1 // crypto/rsa takes 31 bits (FIPS 186-5 section A.1.1 would have 256)
)

// pairShapes are the shapes of the two halves of a key pair. The mechanism that makes EC
// keys names no family, because it makes keys of two.
func pairShapes(keys family) (public, private shape) {
	keyType := map[family]int64{
		noKeys: ep11.KeyTypeEC, rsaKeys: ep11.KeyTypeRSA, dsaKeys: ep11.KeyTypeDSA, dhKeys: ep11.KeyTypeDH,
	}[keys]
	public = shape{class: ep11.ClassPublicKey, keyType: keyType, usage: publicUsage}
	private = shape{class: ep11.ClassPrivateKey, keyType: keyType, usage: privateUsage}
	return public, private
}

// GenerateKeyPair makes a key pair on the curve of CKA_EC_PARAMS, an RSA key pair of
// CKA_MODULUS_BITS, or a DSA or Diffie-Hellman pair over the group of
// CKA_IBM_STRUCT_PARAMS; all of them are attributes of the public template.
func (s *service) GenerateKeyPair(
	_ context.Context, request *pb.GenerateKeyPairRequest,
) (*pb.GenerateKeyPairResponse, error) {
	m, err := choose(request.GetMech(), ep11.CanGenerateKeyPair)
	if err != nil {
		return nil, err
	}
	publicShape, privateShape := pairShapes(m.keys)
	public, err := readTemplate(request.GetPubKeyTemplate(), publicShape)
	if err != nil {
		return nil, err
	}
	private, err := readTemplate(request.GetPrivKeyTemplate(), privateShape)
	if err != nil {
		return nil, err
	}
	if m.keys == rsaKeys {
		return s.card.newRSAPair(private, public)
	}
	if m.keys == dsaKeys {
		return s.card.newDomainPair(kindDSA, private, public)
	}
	if m.keys == dhKeys {
		return s.card.newDomainPair(kindDH, private, public)
	}
	on, err := pairCurve(public, private)
	if err != nil {
		return nil, err
	}
	return s.card.newPair(on, private, public)
}

// pairCurve returns the curve that both templates agree on. The public one must name it.
func pairCurve(public, private keyTemplate) (curve, error) {
	if len(public.params) == 0 {
		return 0, refuse(ep11.CodeTemplateIncomplete, "the public template lacks CKA_EC_PARAMS")
	}
	if private.params != nil && !bytes.Equal(private.params, public.params) {
		return 0, refuse(ep11.CodeTemplateInconsistent, "the templates name different curves")
	}
	return wantCurve(public.params)
}

// wantCurve reads CKA_EC_PARAMS: an object identifier, or the name of a NIST curve in ASCII
// (IBM's GREP11 reference, GenerateKeyPair).
func wantCurve(params []byte) (curve, error) {
	if on, ok := curveOf(params); ok {
		return on, nil
	}
	if on, ok := map[string]curve{"P-224": p224, "P-256": p256, "P-384": p384, "P-521": p521}[string(params)]; ok {
		return on, nil
	}
	return 0, refuse(ep11.CodeCurveNotSupported,
		"no such curve here: Ed25519, secp256k1, P-224, P-256, P-384 and P-521 are")
}

// newPair makes a key pair on a curve.
func (c *Card) newPair(on curve, private, public keyTemplate) (*pb.GenerateKeyPairResponse, error) {
	secret, point, err := on.generate()
	if err != nil {
		return nil, err
	}
	half := ecPublic(on, point)
	half.attributes = public.attributes
	return c.pair(key{kind: kind(on), attributes: private.attributes, secret: secret}, half)
}

// pair answers with a key pair, in the fields of both generations of the wire.
func (c *Card) pair(private key, public publicKey) (*pb.GenerateKeyPairResponse, error) {
	defer clear(private.secret)
	response := &pb.GenerateKeyPairResponse{}
	var err error
	if response.PrivKeyBytes, response.PrivKey, err = c.issue(private); err != nil {
		return nil, err
	}
	response.PubKeyBytes, response.PubKey, err = c.issuePublic(public)
	return response, err
}

// rsaBitsStep is the step between sizes of RSA keys (IBM's GREP11 reference,
// GenerateKeyPair: in FIPS mode, which the blobs show, a card makes moduli of 1024+256n
// bits).
const rsaBitsStep = 256

// newRSAPair makes an RSA key pair of 1024 to 4096 bits.
func (c *Card) newRSAPair(private, public keyTemplate) (*pb.GenerateKeyPairResponse, error) {
	if public.bits < 0 {
		return nil, refuse(ep11.CodeTemplateIncomplete, "the public template lacks CKA_MODULUS_BITS")
	}
	if public.bits < leastRSABits || public.bits > maxRSABits || public.bits%rsaBitsStep != 0 {
		return nil, refuse(ep11.CodeKeySizeRange,
			"an RSA key of %d bits: %d to %d in steps of %d are made here", public.bits, leastRSABits, maxRSABits, rsaBitsStep)
	}
	exponent, err := public.rsaExponent()
	if err != nil {
		return nil, err
	}
	made, err := generateRSA(int(public.bits), exponent)
	if err != nil {
		return nil, fmt.Errorf("RSA key: %v", err)
	}
	half := publicKey{kind: kindRSA, attributes: public.attributes, rsa: &made.PublicKey}
	return c.pair(key{kind: kindRSA, attributes: private.attributes, secret: x509.MarshalPKCS1PrivateKey(made)}, half)
}

func (t keyTemplate) rsaExponent() (int, error) {
	if t.exponent == nil {
		return defaultExponent, nil
	}
	e := new(big.Int).SetBytes(t.exponent)
	if e.Cmp(big.NewInt(minExponent)) < 0 || e.Cmp(big.NewInt(maxExponent)) > 0 || e.Bit(0) == 0 {
		return 0, refuse(ep11.CodeAttributeValueInvalid,
			"public exponent %v: an odd number of %d to %d is wanted", e, minExponent, maxExponent)
	}
	return int(e.Int64()), nil
}

// public returns the public key of a private one.
func (k key) public() (publicKey, error) {
	if on, ok := k.kind.curve(); ok {
		point, good := on.publicPoint(k.secret)
		if !good {
			return publicKey{}, fmt.Errorf("the secret of a blob is not of curve %d", on)
		}
		return ecPublic(on, point), nil
	}
	if k.kind == kindDSA || k.kind == kindDH {
		d, x, err := k.domain()
		if err != nil {
			return publicKey{}, err
		}
		return publicKey{kind: k.kind, domain: &d, y: new(big.Int).Exp(d.g, x, d.p)}, nil
	}
	private, err := k.rsa()
	if err != nil {
		return publicKey{}, err
	}
	return publicKey{kind: kindRSA, rsa: &private.PublicKey}, nil
}
