package softcard

import (
	"crypto"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// parameterType is the kind of parameter that a mechanism takes.
type parameterType int

const (
	noParameter parameterType = iota
	ivParameter
	oaepParameter
	pssParameter
	ecdhParameter
	btcParameter
	dhParameter
	schnorrParameter
)

// parameter is the parameter of a request. Each field belongs to some mechanisms only.
type parameter struct {
	iv      []byte
	rsaHash crypto.Hash // of OAEP and PSS, for digest and mask
	label   []byte      // of OAEP
	salt    int         // of PSS, in bytes
	other   []byte      // of Diffie-Hellman: the other side's public integer, big-endian
	ecdh    *pb.ECDH1DeriveParm
	btc     *pb.BTCDeriveParm
	schnorr pb.ECSGParm_ECSGType // 0 for other mechanisms
}

// read reads the parameter. An empty byte string counts as none.
func (m *mechanism) read(wire *pb.Mechanism) error {
	switch m.takes {
	case ivParameter:
		if m.iv = wire.GetParameterB(); len(m.iv) != m.block() {
			return m.bad("an initialisation vector of %d bytes, want %d", len(m.iv), m.block())
		}
		return nil
	case oaepParameter:
		return m.readOAEP(wire.GetRSAOAEPParameter())
	case pssParameter:
		return m.readPSS(wire.GetRSAPSSParameter())
	case ecdhParameter:
		return m.readECDH(wire)
	case btcParameter:
		if m.btc = wire.GetBTCDeriveParameter(); m.btc == nil {
			return m.bad("no BTC derivation parameter")
		}
		return nil
	case dhParameter:
		if m.other = wire.GetParameterB(); len(m.other) == 0 {
			return m.bad("no public integer")
		}
		return nil
	case schnorrParameter:
		return m.readSchnorr(wire.GetECSGParameter())
	case noParameter:
	}
	raw, isBytes := wire.GetParameter().(*pb.Mechanism_ParameterB)
	if wire.GetParameter() != nil && (!isBytes || len(raw.ParameterB) > 0) {
		return m.bad("it takes none")
	}
	return nil
}

func (m *mechanism) bad(format string, args ...any) error {
	return refuse(ep11.CodeMechanismParamInvalid, "parameter of mechanism 0x%x: "+format, append([]any{m.id}, args...)...)
}

// rsaHashes are the hashes of OAEP and PSS by their digest and mask numbers. Both mask
// enumerations use the same numbers.
var rsaHashes = []struct {
	mech uint64
	mask int32
	hash crypto.Hash
}{
	{ep11.MechSHA1, int32(pb.RSAOAEPParm_CkgMgf1Sha1), crypto.SHA1},
	{ep11.MechSHA224, int32(pb.RSAOAEPParm_CkgMgf1Sha224), crypto.SHA224},
	{ep11.MechSHA256, int32(pb.RSAOAEPParm_CkgMgf1Sha256), crypto.SHA256},
	{ep11.MechSHA384, int32(pb.RSAOAEPParm_CkgMgf1Sha384), crypto.SHA384},
	{ep11.MechSHA512, int32(pb.RSAOAEPParm_CkgMgf1Sha512), crypto.SHA512},
	{ep11.MechIBMSHA3T224, int32(pb.RSAOAEPParm_CkgIbmMgf1Sha3_224), crypto.SHA3_224},
	{ep11.MechIBMSHA3T256, int32(pb.RSAOAEPParm_CkgIbmMgf1Sha3_256), crypto.SHA3_256},
	{ep11.MechIBMSHA3T384, int32(pb.RSAOAEPParm_CkgIbmMgf1Sha3_384), crypto.SHA3_384},
	{ep11.MechIBMSHA3T512, int32(pb.RSAOAEPParm_CkgIbmMgf1Sha3_512), crypto.SHA3_512},
}

// setHash takes the hash of a pair. Cards accept only pairs of one hash.
func (m *mechanism) setHash(mech uint64, mask int32) error {
	for _, h := range rsaHashes {
		if h.mech == lowID(mech) && h.mask == mask {
			m.rsaHash = h.hash
			return nil
		}
	}
	return m.bad("no pair of hash and mask: 0x%x and %d", mech, mask)
}

func (m *mechanism) readOAEP(p *pb.RSAOAEPParm) error {
	if p == nil {
		return m.bad("no OAEP parameter")
	}
	if p.GetEncodingParmType() == pb.RSAOAEPParm_CkzNoDataSpecified && len(p.GetEncodingParm()) > 0 {
		return m.bad("an encoding parameter that is said to be none")
	}
	m.label = p.GetEncodingParm()
	return m.setHash(p.GetHashMech(), int32(p.GetMgf()))
}

func (m *mechanism) readPSS(p *pb.RSAPSSParm) error {
	if p == nil {
		return m.bad("no PSS parameter")
	}
	if err := m.setHash(p.GetHashMech(), int32(p.GetMgf())); err != nil {
		return err
	}
	if m.hash != 0 && m.hash != m.rsaHash {
		return m.bad("%v for a mechanism of %v", m.rsaHash, m.hash)
	}
	if p.GetSaltByteCount() > maxRSABits/8 {
		return m.bad("a salt of %d bytes", p.GetSaltByteCount())
	}
	m.salt = int(p.GetSaltByteCount()) //nolint:gosec // bounded above
	return nil
}

// readECDH reads a public point alone, as IBM's clients send it, or one with a derivation
// function.
func (m *mechanism) readECDH(wire *pb.Mechanism) error {
	if m.ecdh = wire.GetECDH1DeriveParameter(); m.ecdh == nil {
		m.ecdh = &pb.ECDH1DeriveParm{Kdf: pb.ECDH1DeriveParm_CkdNull, PublicData: wire.GetParameterB()}
	}
	if len(m.ecdh.GetPublicData()) == 0 {
		return m.bad("no public point")
	}
	return nil
}
