package softcard

import (
	"crypto"
	_ "crypto/sha1"   //nolint:gosec // CKM_ECDSA_SHA1 is one of the mechanisms a card has
	_ "crypto/sha256" // SHA-224 and SHA-256
	_ "crypto/sha512" // SHA-384 and SHA-512

	"pawl/signer/grep11"
	"pawl/signer/grep11/pb"
)

// mechanism is one line of the card's list.
type mechanism struct {
	id               uint64
	minBits, maxBits uint64
	flags            uint64
	edwards          bool        // signs with Ed25519 keys, else with ECDSA keys
	hash             crypto.Hash // hashes the data before it signs; 0: signs the data
}

const (
	ecFlags   = grep11.CanECPrime | grep11.CanECNamedCurve | grep11.CanECUncompressed
	signFlags = grep11.CanSign | grep11.CanVerify | ecFlags
	ecBits    = 256 // the size of all three curves
)

// mechanisms is the card's list. CKM_RSA_PKCS stands first with a card's key
// sizes because IBM's clients demand just that, and with no flag: it can do
// nothing here, and asking it to is CKR_MECHANISM_INVALID.
var mechanisms = []mechanism{
	{id: grep11.MechRSAPKCS, minBits: 512, maxBits: 4096},
	{id: grep11.MechECKeyPairGen, minBits: ecBits, maxBits: ecBits, flags: grep11.CanGenerateKeyPair | ecFlags},
	{id: grep11.MechECDSA, minBits: ecBits, maxBits: ecBits, flags: signFlags},
	{id: grep11.MechECDSASHA1, minBits: ecBits, maxBits: ecBits, flags: signFlags, hash: crypto.SHA1},
	{id: grep11.MechECDSASHA224, minBits: ecBits, maxBits: ecBits, flags: signFlags, hash: crypto.SHA224},
	{id: grep11.MechECDSASHA256, minBits: ecBits, maxBits: ecBits, flags: signFlags, hash: crypto.SHA256},
	{id: grep11.MechECDSASHA384, minBits: ecBits, maxBits: ecBits, flags: signFlags, hash: crypto.SHA384},
	{id: grep11.MechECDSASHA512, minBits: ecBits, maxBits: ecBits, flags: signFlags, hash: crypto.SHA512},
	{id: grep11.MechIBMEd25519SHA512, minBits: ecBits, maxBits: ecBits, flags: signFlags, edwards: true},
}

// lookUp finds a mechanism of the list that can do what is wanted.
func lookUp(id, wanted uint64) (mechanism, error) {
	for _, m := range mechanisms {
		if m.id == id && m.flags&wanted == wanted {
			return m, nil
		}
	}
	return mechanism{}, refuse(grep11.CodeMechanismInvalid, "mechanism 0x%x is unknown or not for this call", id)
}

// choose finds the mechanism of a request. None of the card's mechanisms takes a
// parameter; an empty one is none.
func choose(m *pb.Mechanism, wanted uint64) (mechanism, error) {
	found, err := lookUp(m.GetMechanism(), wanted)
	if err != nil {
		return mechanism{}, err
	}
	raw, isBytes := m.GetParameter().(*pb.Mechanism_ParameterB)
	if m.GetParameter() != nil && (!isBytes || len(raw.ParameterB) > 0) {
		return mechanism{}, refuse(grep11.CodeMechanismParamInvalid, "mechanism 0x%x takes no parameter", found.id)
	}
	return found, nil
}

// checkKey refuses a mechanism that does not fit the key's curve. To EP11 every
// one of the three is of the key type CKK_EC: it is the mechanism that is wrong.
func (m mechanism) checkKey(c curve) error {
	if m.edwards != (c == edwards25519) {
		return refuse(grep11.CodeMechanismInvalid, "mechanism 0x%x does not fit the key's curve", m.id)
	}
	return nil
}

// message is what the key signs when it is given data.
func (m mechanism) message(data []byte) ([]byte, error) {
	if m.hash != 0 {
		h := m.hash.New()
		h.Write(data)
		return h.Sum(nil), nil
	}
	if len(data) == 0 && !m.edwards {
		return nil, refuse(grep11.CodeDataLenRange, "CKM_ECDSA wants a digest, the data is empty")
	}
	return data, nil
}

func (m mechanism) info() *pb.MechanismInfo {
	return &pb.MechanismInfo{MinKeySize: m.minBits, MaxKeySize: m.maxBits, Flags: m.flags}
}
