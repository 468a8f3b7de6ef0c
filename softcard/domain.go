package softcard

import (
	"context"
	"crypto/dsa" //nolint:staticcheck // cards offer it, and IBM's examples use it
	"crypto/rand"
	"encoding/asn1"
	"fmt"
	"math/big"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// DSA and Diffie-Hellman keys. GenerateKey makes their domain parameters; GenerateKeyPair
// takes them in CKA_IBM_STRUCT_PARAMS.

const (
	minPrimeBits = 1024
	maxPrimeBits = 3072
)

// modp2048 is the 2048-bit MODP group of RFC 3526 section 3, with generator 2. Finding a
// safe prime would take too long.
const modp2048 = "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd" +
	"ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed" +
	"ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f" +
	"83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b" +
	"e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa0510" +
	"15728e5a8aacaa68ffffffffffffffff"

// domain is a group: p, q and g of DSA (RFC 3279 section 2.3.2), or prime and base of
// Diffie-Hellman (PKCS #3 section 9).
type domain struct {
	p, q, g *big.Int // q is nil for Diffie-Hellman
}

var (
	oidDSA = asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}
	oidDH  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 3, 1}
)

// der encodes the group's integers, followed by more, as a SEQUENCE.
func (d domain) der(more ...*big.Int) ([]byte, error) {
	list := []*big.Int{d.p}
	if d.q != nil {
		list = append(list, d.q)
	}
	return asn1.Marshal(append(append(list, d.g), more...))
}

// readDomain reads what der wrote: the group and, if wanted, the integer behind it.
func readDomain(der []byte, of kind, wantMore bool) (d domain, more *big.Int, ok bool) {
	var list []*big.Int
	rest, err := asn1.Unmarshal(der, &list)
	n := 2
	if of == kindDSA {
		n = 3
	}
	if wantMore {
		n++
	}
	if err != nil || len(rest) > 0 || len(list) != n {
		return domain{}, nil, false
	}
	if wantMore {
		n--
		more = list[n]
	}
	d = domain{p: list[0], g: list[n-1]}
	if of == kindDSA {
		d.q = list[1]
	}
	return d, more, d.sound()
}

// sound bounds what a client may pass as a group.
func (d domain) sound() bool {
	one := big.NewInt(1)
	least := new(big.Int).Sub(d.p, one)
	if bits := d.p.BitLen(); bits < minPrimeBits || bits > maxPrimeBits || d.p.Sign() < 0 || d.p.Bit(0) == 0 ||
		d.g.Cmp(one) <= 0 || d.g.Cmp(least) >= 0 {
		return false
	}
	return d.q == nil || d.q.Sign() > 0 && d.q.BitLen() >= 160 && d.q.BitLen() <= 256 && d.q.BitLen()%8 == 0 &&
		new(big.Int).Mod(least, d.q).Sign() == 0
}

// newDomain makes domain parameters for GenerateKey.
func newDomain(m mechanism, attrs map[uint64]*pb.AttributeValue) ([]byte, error) {
	bits, err := lookInt(attrs, ep11.AttrPrimeBits)
	if err != nil {
		return nil, err
	}
	if len(attrs) > 1 {
		return nil, refuse(ep11.CodeAttributeTypeInvalid, "domain parameters have CKA_PRIME_BITS and nothing else")
	}
	if bits != 2048 {
		return nil, refuse(ep11.CodeKeySizeRange, "domain parameters of %d bits: 2048 are made here", bits)
	}
	if m.keys == dhKeys {
		p, _ := new(big.Int).SetString(modp2048, 16)
		return domain{p: p, g: big.NewInt(2)}.der()
	}
	var made dsa.Parameters
	if err := dsa.GenerateParameters(&made, rand.Reader, dsa.L2048N256); err != nil {
		return nil, fmt.Errorf("DSA parameters: %v", err)
	}
	return domain{p: made.P, q: made.Q, g: made.G}.der()
}

// GenerateKey makes domain parameters or a secret key; see newDomain and newSecret.
func (s *service) GenerateKey(_ context.Context, request *pb.GenerateKeyRequest) (*pb.GenerateKeyResponse, error) {
	m, err := choose(request.GetMech(), ep11.CanGenerate)
	if err != nil {
		return nil, err
	}
	if m.keys != dsaKeys && m.keys != dhKeys {
		return s.card.newSecret(m, request.GetTemplate())
	}
	params, err := newDomain(m, request.GetTemplate())
	if err != nil {
		return nil, err
	}
	return &pb.GenerateKeyResponse{KeyBytes: params, Key: &pb.KeyBlob{KeyBlobs: [][]byte{params}}}, nil
}

// newDomainPair makes a key pair over the group of the public template.
func (c *Card) newDomainPair(of kind, private, public keyTemplate) (*pb.GenerateKeyPairResponse, error) {
	if len(public.structure) == 0 {
		return nil, refuse(ep11.CodeTemplateIncomplete, "the public template lacks CKA_IBM_STRUCT_PARAMS")
	}
	d, _, ok := readDomain(public.structure, of, false)
	if !ok {
		return nil, refuse(ep11.CodeDomainParamsInvalid, "CKA_IBM_STRUCT_PARAMS are no domain parameters of the mechanism")
	}
	order := d.q
	if order == nil {
		order = new(big.Int).Rsh(d.p, 1)
	}
	x, err := rand.Int(rand.Reader, new(big.Int).Sub(order, big.NewInt(1)))
	if err != nil {
		return nil, fmt.Errorf("secret of a key pair: %v", err)
	}
	x.Add(x, big.NewInt(1))
	secret, err := d.der(x)
	if err != nil {
		return nil, fmt.Errorf("key pair: %v", err)
	}
	half := publicKey{kind: of, attributes: public.attributes, domain: &d, y: new(big.Int).Exp(d.g, x, d.p)}
	return c.pair(key{kind: of, attributes: private.attributes, secret: secret}, half)
}

// domain reads the group and the secret of a blob.
func (k key) domain() (domain, *big.Int, error) {
	d, x, ok := readDomain(k.secret, k.kind, true)
	if !ok {
		return domain{}, nil, refuse(ep11.CodeKeyTypeInconsistent, "the key is not one of DSA or Diffie-Hellman")
	}
	return d, x, nil
}

// domainIdentifier is the AlgorithmIdentifier of DSA and Diffie-Hellman keys.
type domainIdentifier struct {
	Algorithm asn1.ObjectIdentifier
	Group     asn1.RawValue
}

type domainSPKI struct {
	Identifier domainIdentifier
	Key        asn1.BitString
}

// domainSPKI encodes a DSA or Diffie-Hellman key as a SubjectPublicKeyInfo.
func (k publicKey) domainSPKI() ([]byte, error) {
	params, err := k.domain.der()
	if err != nil {
		return nil, fmt.Errorf("public key: %v", err)
	}
	y, err := asn1.Marshal(k.y)
	if err != nil {
		return nil, fmt.Errorf("public key: %v", err)
	}
	oid := oidDH
	if k.kind == kindDSA {
		oid = oidDSA
	}
	return asn1.Marshal(domainSPKI{
		Identifier: domainIdentifier{Algorithm: oid, Group: asn1.RawValue{FullBytes: params}},
		Key:        asn1.BitString{Bytes: y, BitLength: 8 * len(y)},
	})
}

// readDomainSPKI reads what domainSPKI wrote.
func readDomainSPKI(der []byte) (publicKey, bool) {
	var read domainSPKI
	rest, err := asn1.Unmarshal(der, &read)
	if err != nil || len(rest) > 0 {
		return publicKey{}, false
	}
	of := kindDH
	switch {
	case read.Identifier.Algorithm.Equal(oidDSA):
		of = kindDSA
	case !read.Identifier.Algorithm.Equal(oidDH):
		return publicKey{}, false
	}
	d, _, ok := readDomain(read.Identifier.Group.FullBytes, of, false)
	var y *big.Int
	rest, err = asn1.Unmarshal(read.Key.Bytes, &y)
	if !ok || err != nil || len(rest) > 0 || !d.holds(y) {
		return publicKey{}, false
	}
	return publicKey{kind: of, domain: &d, y: y}, true
}

// holds reports whether y can be a public key: it is not 0, 1, p-1 or more.
func (d domain) holds(y *big.Int) bool {
	one := big.NewInt(1)
	return y.Cmp(one) > 0 && y.Cmp(new(big.Int).Sub(d.p, one)) < 0
}

// signDSA returns r and s, each as long as q.
func signDSA(k key, digest []byte) ([]byte, error) {
	d, x, err := k.domain()
	if err != nil {
		return nil, err
	}
	private := &dsa.PrivateKey{PublicKey: dsa.PublicKey{Parameters: dsa.Parameters{P: d.p, Q: d.q, G: d.g}}, X: x}
	size := d.q.BitLen() / 8
	r, s, err := dsa.Sign(rand.Reader, private, digest[:min(len(digest), size)])
	if err != nil {
		return nil, fmt.Errorf("DSA signature: %v", err)
	}
	signature := make([]byte, 2*size)
	r.FillBytes(signature[:size])
	s.FillBytes(signature[size:])
	return signature, nil
}

func (k publicKey) verifyDSA(digest, signature []byte) bool {
	public := &dsa.PublicKey{Parameters: dsa.Parameters{P: k.domain.p, Q: k.domain.q, G: k.domain.g}, Y: k.y}
	size := k.domain.q.BitLen() / 8
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	return dsa.Verify(public, digest[:min(len(digest), size)], r, s)
}

// deriveDH derives a secret key from a key and the integer of another's public key.
func (c *Card) deriveDH(m mechanism, base []byte, attrs map[uint64]*pb.AttributeValue) (*pb.DeriveKeyResponse, error) {
	t, of, err := readSecretTemplate(attrs)
	if err != nil {
		return nil, err
	}
	size, err := t.secretSize(of)
	if err != nil {
		return nil, err
	}
	k, err := c.openKey(base)
	if err != nil {
		return nil, err
	}
	defer clear(k.secret)
	if err := k.wants(ep11.BlobDerive); err != nil {
		return nil, err
	}
	if err := m.checkKey(k.kind); err != nil {
		return nil, err
	}
	d, x, err := k.domain()
	if err != nil {
		return nil, err
	}
	y := new(big.Int).SetBytes(m.other)
	if !d.holds(y) {
		return nil, m.bad("it is not a public key of the key's group")
	}
	shared := y.Exp(y, x, d.p).FillBytes(make([]byte, (d.p.BitLen()+7)/8))
	defer clear(shared)
	secret := append([]byte(nil), shared[len(shared)-size:]...) // PKCS #11 removes bytes from the front
	return c.derivedSecret(key{kind: of, attributes: t.attributes, secret: secret})
}
