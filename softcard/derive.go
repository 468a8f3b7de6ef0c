package softcard

import (
	"context"
	"crypto"
	"encoding/binary"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// DeriveKey makes a key from another one by CKM_IBM_BTC_DERIVE (BIP-32 and SLIP-0010),
// CKM_ECDH1_DERIVE or CKM_DH_PKCS_DERIVE. CheckSum is the chain code for the first, the
// check sum of the secret key for the others. A derived key has every usage that its
// template does not forbid.
func (s *service) DeriveKey(_ context.Context, request *pb.DeriveKeyRequest) (*pb.DeriveKeyResponse, error) {
	m, err := choose(request.GetMech(), ep11.CanDerive)
	if err != nil {
		return nil, err
	}
	base, err := blobOf(request.GetBaseKeyBytes(), request.GetBaseKey())
	if err != nil {
		return nil, err
	}
	if m.takes == btcParameter {
		return s.card.deriveBTC(m, base, request.GetTemplate())
	}
	if m.takes == dhParameter {
		return s.card.deriveDH(m, base, request.GetTemplate())
	}
	return s.card.deriveECDH(m, base, request.GetTemplate())
}

// deriveECDH derives a secret key from an EC key and another's public point.
func (c *Card) deriveECDH(
	m mechanism, base []byte, attrs map[uint64]*pb.AttributeValue,
) (*pb.DeriveKeyResponse, error) {
	t, of, err := readSecretTemplate(attrs)
	if err != nil {
		return nil, err
	}
	k, err := c.openPrivate(base)
	if err != nil {
		return nil, err
	}
	defer clear(k.secret)
	if err := permitted(k.attributes, ep11.BlobDerive); err != nil {
		return nil, err
	}
	if err := m.checkKey(kind(k.curve)); err != nil {
		return nil, err
	}
	if !k.curve.valid(m.ecdh.GetPublicData()) {
		return nil, m.bad("the public point is none of the key's curve, uncompressed")
	}
	shared, err := k.curve.agree(k.secret, m.ecdh.GetPublicData())
	if err != nil {
		return nil, err
	}
	defer clear(shared)
	size, err := t.secretSize(of)
	if err != nil {
		return nil, err
	}
	secret, err := m.kdf(shared, size)
	if err != nil {
		return nil, err
	}
	return c.derivedSecret(key{kind: of, attributes: t.attributes, secret: secret})
}

func (c *Card) derivedSecret(k key) (*pb.DeriveKeyResponse, error) {
	defer clear(k.secret)
	blob, message, err := c.issue(k)
	if err != nil {
		return nil, err
	}
	return &pb.DeriveKeyResponse{NewKeyBytes: blob, CheckSum: k.checkSum(), NewKey: message}, nil
}

// readSecretTemplate reads the template of a derived secret key.
func readSecretTemplate(attrs map[uint64]*pb.AttributeValue) (keyTemplate, kind, error) {
	keyType, err := lookInt(attrs, ep11.AttrKeyType)
	if err != nil {
		return keyTemplate{}, 0, err
	}
	of, ok := map[int64]kind{
		ep11.KeyTypeAES: kindAES, ep11.KeyTypeDES3: kindDES3, ep11.KeyTypeGenericSecret: kindGeneric,
	}[keyType]
	if !ok {
		return keyTemplate{}, 0, refuse(ep11.CodeTemplateInconsistent,
			"a key agreement does not give a key of type 0x%x", keyType)
	}
	t, err := readTemplate(attrs, shape{class: ep11.ClassSecretKey, keyType: keyType, origin: derived})
	return t, of, err
}

// ecdhHashes are the hashes of the key derivation functions.
var ecdhHashes = map[pb.ECDH1DeriveParm_KeyDerivationFunction]crypto.Hash{
	pb.ECDH1DeriveParm_CkdSha1Kdf:   crypto.SHA1,
	pb.ECDH1DeriveParm_CkdSha224Kdf: crypto.SHA224,
	pb.ECDH1DeriveParm_CkdSha256Kdf: crypto.SHA256,
	pb.ECDH1DeriveParm_CkdSha384Kdf: crypto.SHA384,
	pb.ECDH1DeriveParm_CkdSha512Kdf: crypto.SHA512,
}

// kdf makes size bytes of a shared secret: its last bytes (PKCS #11 v2.40, mechanisms
// 2.3.9, removes bytes from the front), or the output of ANSI X9.63's function (SEC 1
// section 3.6.1).
func (m mechanism) kdf(shared []byte, size int) (secret []byte, err error) {
	function := m.ecdh.GetKdf()
	if function == pb.ECDH1DeriveParm_CkdNull || function == pb.ECDH1DeriveParm_CkdIbmHybridNull {
		switch {
		case len(m.ecdh.GetSharedData()) > 0:
			return nil, m.bad("shared data without a derivation function")
		case size > len(shared):
			return nil, refuse(ep11.CodeTemplateInconsistent,
				"CKA_VALUE_LEN %d, the agreement gives %d bytes", size, len(shared))
		}
		return append(secret, shared[len(shared)-size:]...), nil
	}
	hash, ok := ecdhHashes[function]
	if !ok {
		return nil, m.bad("no derivation function %d", function)
	}
	for counter := uint32(1); len(secret) < size; counter++ {
		h := hash.New()
		h.Write(shared)
		h.Write(binary.BigEndian.AppendUint32(nil, counter))
		h.Write(m.ecdh.GetSharedData())
		secret = h.Sum(secret)
	}
	return secret[:size], nil
}
