package softcard

import (
	"crypto"
	_ "crypto/sha1"   //nolint:gosec // cards offer SHA-1
	_ "crypto/sha256" // SHA-224 and SHA-256
	_ "crypto/sha3"
	_ "crypto/sha512" // SHA-384 and SHA-512

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// family says which keys a mechanism works with.
type family int

const (
	noKeys      family = iota
	ecdsaKeys          // on secp256k1 and the NIST curves
	edwardsKeys        // Ed25519
	rsaKeys
	aesKeys
	des3Keys
	macKeys // AES keys and generic secrets
	dsaKeys
	dhKeys
)

// mechanism is one that the card serves. Choose adds the parameter of a request.
type mechanism struct {
	id               uint64
	minBits, maxBits uint64 // in bytes for block ciphers
	flags            uint64
	keys             family
	hash             crypto.Hash // hashes the data before signing; 0 signs the data itself
	mode             mode        // of a block cipher, or RSA's padding
	takes            parameterType
	unlisted         bool // served, and not in the list of cards

	parameter
}

const (
	ecFlags     = ep11.CanECPrime | ep11.CanECNamedCurve | ep11.CanECUncompressed
	signFlags   = ep11.CanSign | ep11.CanVerify
	cipherFlags = ep11.CanEncrypt | ep11.CanDecrypt
	wrapFlags   = ep11.CanWrap | ep11.CanUnwrap

	minECBits      = 224 // P-224
	maxECBits      = 521 // P-521
	ecBits         = 256 // of mechanisms for curves of 256 bits only
	minRSABits     = 512 // as cards say, though they make none below 1024
	maxRSABits     = 4096
	maxSecretBytes = 256 // of a generic secret
)

// mechanisms is all that the card serves, in the order of its list. CKM_RSA_PKCS stands first because IBM's
// clients demand it there.
var mechanisms = []mechanism{
	{
		id: ep11.MechRSAPKCS, minBits: minRSABits, maxBits: maxRSABits,
		flags: signFlags | cipherFlags | wrapFlags, keys: rsaKeys, mode: rsaPKCS1,
	},
	{
		id: ep11.MechRSAPKCSOAEP, minBits: minRSABits, maxBits: maxRSABits,
		flags: cipherFlags | wrapFlags, keys: rsaKeys, mode: rsaOAEP, takes: oaepParameter,
	},
	{
		id: ep11.MechRSAPKCSKeyPairGen, minBits: minRSABits, maxBits: maxRSABits,
		flags: ep11.CanGenerateKeyPair, keys: rsaKeys,
	},
	rsaSign(ep11.MechSHA1RSAPKCS, rsaPKCS1, crypto.SHA1),
	rsaSign(ep11.MechSHA224RSAPKCS, rsaPKCS1, crypto.SHA224),
	rsaSign(ep11.MechSHA256RSAPKCS, rsaPKCS1, crypto.SHA256),
	rsaSign(ep11.MechSHA384RSAPKCS, rsaPKCS1, crypto.SHA384),
	rsaSign(ep11.MechSHA512RSAPKCS, rsaPKCS1, crypto.SHA512),
	rsaSign(ep11.MechRSAPKCSPSS, rsaPSS, 0),
	rsaSign(ep11.MechSHA1RSAPKCSPSS, rsaPSS, crypto.SHA1),
	rsaSign(ep11.MechSHA224RSAPKCSPSS, rsaPSS, crypto.SHA224),
	rsaSign(ep11.MechSHA256RSAPKCSPSS, rsaPSS, crypto.SHA256),
	rsaSign(ep11.MechSHA384RSAPKCSPSS, rsaPSS, crypto.SHA384),
	rsaSign(ep11.MechSHA512RSAPKCSPSS, rsaPSS, crypto.SHA512),
	primeField(ep11.MechDSAParameterGen, dsaKeys, ep11.CanGenerate),
	primeField(ep11.MechDSAKeyPairGen, dsaKeys, ep11.CanGenerateKeyPair),
	primeField(ep11.MechDSA, dsaKeys, signFlags),
	{
		id: ep11.MechDSASHA1, minBits: minPrimeBits, maxBits: maxPrimeBits,
		flags: signFlags, keys: dsaKeys, hash: crypto.SHA1,
	},
	primeField(ep11.MechDHPKCSParameterGen, dhKeys, ep11.CanGenerate),
	primeField(ep11.MechDHPKCSKeyPairGen, dhKeys, ep11.CanGenerateKeyPair),
	{
		id: ep11.MechDHPKCSDerive, minBits: minPrimeBits, maxBits: maxPrimeBits,
		flags: ep11.CanDerive, keys: dhKeys, takes: dhParameter,
	},
	blockCipher(ep11.MechAESKeyGen, aesKeys, 0, ep11.CanGenerate),
	blockCipher(ep11.MechAESECB, aesKeys, ecb, cipherFlags|wrapFlags),
	blockCipher(ep11.MechAESCBC, aesKeys, cbc, cipherFlags|wrapFlags),
	blockCipher(ep11.MechAESCBCPad, aesKeys, cbcPad, cipherFlags|wrapFlags),
	blockCipher(ep11.MechDES3KeyGen, des3Keys, 0, ep11.CanGenerate),
	blockCipher(ep11.MechDES3ECB, des3Keys, ecb, cipherFlags|wrapFlags),
	blockCipher(ep11.MechDES3CBC, des3Keys, cbc, cipherFlags|wrapFlags),
	blockCipher(ep11.MechDES3CBCPad, des3Keys, cbcPad, cipherFlags|wrapFlags),
	{id: ep11.MechGenericSecretKeyGen, minBits: 8, maxBits: 8 * maxSecretBytes, flags: ep11.CanGenerate, keys: macKeys},
	{id: ep11.MechSHA1, flags: ep11.CanDigest, hash: crypto.SHA1},
	{id: ep11.MechSHA224, flags: ep11.CanDigest, hash: crypto.SHA224},
	{id: ep11.MechSHA256, flags: ep11.CanDigest, hash: crypto.SHA256},
	{id: ep11.MechSHA384, flags: ep11.CanDigest, hash: crypto.SHA384},
	{id: ep11.MechSHA512, flags: ep11.CanDigest, hash: crypto.SHA512},
	{id: ep11.MechSHA512T224, flags: ep11.CanDigest, hash: crypto.SHA512_224},
	{id: ep11.MechSHA512T256, flags: ep11.CanDigest, hash: crypto.SHA512_256},
	{id: ep11.MechIBMSHA512T224, flags: ep11.CanDigest, hash: crypto.SHA512_224},
	{id: ep11.MechIBMSHA512T256, flags: ep11.CanDigest, hash: crypto.SHA512_256},
	{id: ep11.MechIBMSHA3T224, flags: ep11.CanDigest, hash: crypto.SHA3_224},
	{id: ep11.MechIBMSHA3T256, flags: ep11.CanDigest, hash: crypto.SHA3_256},
	{id: ep11.MechIBMSHA3T384, flags: ep11.CanDigest, hash: crypto.SHA3_384},
	{id: ep11.MechIBMSHA3T512, flags: ep11.CanDigest, hash: crypto.SHA3_512},
	hmacOf(ep11.MechSHA1HMAC, crypto.SHA1),
	hmacOf(ep11.MechSHA224HMAC, crypto.SHA224),
	hmacOf(ep11.MechSHA256HMAC, crypto.SHA256),
	hmacOf(ep11.MechSHA384HMAC, crypto.SHA384),
	hmacOf(ep11.MechSHA512HMAC, crypto.SHA512),
	hmacOf(ep11.MechSHA512T224HMAC, crypto.SHA512_224),
	hmacOf(ep11.MechSHA512T256HMAC, crypto.SHA512_256),
	hmacOf(ep11.MechIBMSHA512T224HMAC, crypto.SHA512_224),
	hmacOf(ep11.MechIBMSHA512T256HMAC, crypto.SHA512_256),
	hmacOf(ep11.MechIBMSHA3T224HMAC, crypto.SHA3_224),
	hmacOf(ep11.MechIBMSHA3T256HMAC, crypto.SHA3_256),
	hmacOf(ep11.MechIBMSHA3T384HMAC, crypto.SHA3_384),
	hmacOf(ep11.MechIBMSHA3T512HMAC, crypto.SHA3_512),
	{id: ep11.MechECKeyPairGen, minBits: minECBits, maxBits: maxECBits, flags: ep11.CanGenerateKeyPair | ecFlags},
	ecSign(ep11.MechECDSA, ecdsaKeys, 0),
	ecSign(ep11.MechECDSASHA1, ecdsaKeys, crypto.SHA1),
	ecSign(ep11.MechECDSASHA224, ecdsaKeys, crypto.SHA224),
	ecSign(ep11.MechECDSASHA256, ecdsaKeys, crypto.SHA256),
	ecSign(ep11.MechECDSASHA384, ecdsaKeys, crypto.SHA384),
	ecSign(ep11.MechECDSASHA512, ecdsaKeys, crypto.SHA512),
	ecSign(ep11.MechIBMECDSASHA224, ecdsaKeys, crypto.SHA224),
	ecSign(ep11.MechIBMECDSASHA256, ecdsaKeys, crypto.SHA256),
	ecSign(ep11.MechIBMECDSASHA384, ecdsaKeys, crypto.SHA384),
	ecSign(ep11.MechIBMECDSASHA512, ecdsaKeys, crypto.SHA512),
	{
		id: ep11.MechECDH1Derive, minBits: minECBits, maxBits: maxECBits,
		flags: ep11.CanDerive | ecFlags, keys: ecdsaKeys, takes: ecdhParameter,
	},
	ecSign(ep11.MechIBMEd25519SHA512, edwardsKeys, 0),
	schnorr(ep11.MechIBMECDSAOther),
	{id: ep11.MechIBMAttrBoundWrap, flags: wrapFlags},
	{id: ep11.MechIBMTransportKey, flags: ep11.CanUnwrap, unlisted: true},
	{id: ep11.MechIBMBTCDerive, minBits: ecBits, maxBits: ecBits, flags: ep11.CanDerive | ecFlags, takes: btcParameter},
}

// primeField makes an entry for DSA or Diffie-Hellman.
func primeField(id uint64, keys family, flags uint64) mechanism {
	return mechanism{id: id, minBits: minPrimeBits, maxBits: maxPrimeBits, flags: flags, keys: keys}
}

func rsaSign(id uint64, padding mode, hash crypto.Hash) mechanism {
	m := mechanism{
		id: id, minBits: minRSABits, maxBits: maxRSABits,
		flags: signFlags, keys: rsaKeys, hash: hash, mode: padding,
	}
	if padding == rsaPSS {
		m.takes = pssParameter
	}
	return m
}

func ecSign(id uint64, keys family, hash crypto.Hash) mechanism {
	m := mechanism{id: id, minBits: minECBits, maxBits: maxECBits, flags: signFlags | ecFlags, keys: keys, hash: hash}
	if keys == edwardsKeys {
		m.minBits, m.maxBits = ecBits, ecBits
	}
	return m
}

func schnorr(id uint64) mechanism {
	m := ecSign(id, ecdsaKeys, 0)
	m.minBits, m.maxBits, m.takes = ecBits, ecBits, schnorrParameter
	return m
}

func hmacOf(id uint64, hash crypto.Hash) mechanism {
	return mechanism{id: id, minBits: 8, maxBits: 8 * maxSecretBytes, flags: signFlags, keys: macKeys, hash: hash}
}

// blockCipher makes an entry for AES or triple DES.
func blockCipher(id uint64, keys family, by mode, flags uint64) mechanism {
	m := mechanism{id: id, minBits: 16, maxBits: 32, flags: flags, keys: keys, mode: by}
	if keys == des3Keys {
		m.minBits, m.maxBits = des3Size, des3Size
	}
	if by == cbc || by == cbcPad {
		m.takes = ivParameter
	}
	return m
}

// lookUp finds a mechanism that has the wanted abilities.
func lookUp(id, wanted uint64) (mechanism, error) {
	for _, m := range mechanisms {
		if m.id == lowID(id) && m.flags&wanted == wanted {
			return m, nil
		}
	}
	return mechanism{}, refuse(ep11.CodeMechanismInvalid, "mechanism 0x%x is unknown or not for this call", id)
}

// choose finds the mechanism of a request and reads its parameter.
func choose(wire *pb.Mechanism, wanted uint64) (mechanism, error) {
	if wire == nil { // it would read as 0, CKM_RSA_PKCS_KEY_PAIR_GEN
		return mechanism{}, refuse(ep11.CodeMechanismInvalid, "the request names no mechanism")
	}
	m, err := lookUp(wire.GetMechanism(), wanted)
	if err != nil {
		return mechanism{}, err
	}
	return m, m.read(wire)
}

// checkKey refuses a mechanism that does not fit the key: its type or its curve.
func (m mechanism) checkKey(k kind) error {
	on, isEC := k.curve()
	if isEC && (m.keys == ecdsaKeys || m.keys == edwardsKeys) {
		if (on == edwards25519) != (m.keys == edwardsKeys) || m.takes == schnorrParameter && on.size() != scalarSize {
			return refuse(ep11.CodeKeyTypeInconsistent, "mechanism 0x%x does not fit the key's curve", m.id)
		}
		return nil
	}
	fits := m.keys == rsaKeys && k == kindRSA ||
		m.keys == aesKeys && k == kindAES ||
		m.keys == des3Keys && k == kindDES3 ||
		m.keys == macKeys && (k == kindAES || k == kindGeneric) ||
		m.keys == dsaKeys && k == kindDSA ||
		m.keys == dhKeys && k == kindDH
	if !fits {
		return refuse(ep11.CodeKeyTypeInconsistent, "mechanism 0x%x is not for a key of type 0x%x", m.id, k.keyType())
	}
	return nil
}

// message returns what the key signs for data.
func (m mechanism) message(data []byte) ([]byte, error) {
	switch {
	case m.hash != 0:
		h := m.hash.New()
		h.Write(data)
		return h.Sum(nil), nil
	case m.takes == schnorrParameter: // it hashes more than the data: the nonce's point comes first
	case (m.keys == ecdsaKeys || m.keys == dsaKeys) && len(data) == 0:
		return nil, refuse(ep11.CodeDataLenRange, "mechanism 0x%x wants a digest, the data is empty", m.id)
	case m.mode == rsaPSS && len(data) != m.rsaHash.Size():
		return nil, refuse(ep11.CodeDataLenRange, "a digest of %d bytes, %v has %d", len(data), m.rsaHash, m.rsaHash.Size())
	}
	return data, nil
}

func (m mechanism) info() *pb.MechanismInfo {
	return &pb.MechanismInfo{MinKeySize: m.minBits, MaxKeySize: m.maxBits, Flags: m.flags}
}
