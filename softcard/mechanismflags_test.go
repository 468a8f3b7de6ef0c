package softcard_test

import (
	"crypto/dsa" //nolint:staticcheck // IBM's examples use it
	"crypto/rand"
	"encoding/asn1"
	"slices"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

// trial is what a mechanism is tried with: a parameter and keys that fit.
type trial struct {
	*bench
	m               *pb.Mechanism
	public, private []byte // the same secret key twice, for secret keys
	wraps           []byte // the key to wrap, and the MAC key
	data            []byte
	signature       []byte // of SignSingle
	ciphered        []byte // of EncryptSingle
	wrapped         []byte // of WrapKey, if the mechanism wraps
}

// abilities are the flags with the calls that each promises, in an order in which earlier
// calls make what later ones need.
var abilities = []struct {
	flag  uint64
	calls map[string]func(*trial) error
}{
	{ep11.CanGenerate, map[string]func(*trial) error{"GenerateKey": func(r *trial) error {
		_, err := r.GenerateKey(r.tb.Context(), &pb.GenerateKeyRequest{Mech: r.m})
		return err
	}}},
	{ep11.CanGenerateKeyPair, map[string]func(*trial) error{"GenerateKeyPair": func(r *trial) error {
		_, err := r.GenerateKeyPair(r.tb.Context(), &pb.GenerateKeyPairRequest{Mech: r.m})
		return err
	}}},
	{ep11.CanDigest, map[string]func(*trial) error{"DigestSingle": func(r *trial) error {
		_, err := r.DigestSingle(r.tb.Context(), &pb.DigestSingleRequest{Mech: r.m, Data: r.data})
		return err
	}, "DigestInit": func(r *trial) error {
		_, err := r.DigestInit(r.tb.Context(), &pb.DigestInitRequest{Mech: r.m})
		return err
	}}},
	{ep11.CanSign, map[string]func(*trial) error{"SignSingle": func(r *trial) (err error) {
		r.signature, err = r.sign(r.m, r.private, r.data)
		return err
	}, "SignInit": func(r *trial) error {
		_, err := r.SignInit(r.tb.Context(), &pb.SignInitRequest{Mech: r.m, PrivKeyBytes: r.private})
		return err
	}}},
	{ep11.CanVerify, map[string]func(*trial) error{"VerifySingle": func(r *trial) error {
		return r.verify(r.m, r.public, r.data, r.signature)
	}, "VerifyInit": func(r *trial) error {
		_, err := r.VerifyInit(r.tb.Context(), &pb.VerifyInitRequest{Mech: r.m, PubKeyBytes: r.public})
		return err
	}}},
	{ep11.CanEncrypt, map[string]func(*trial) error{"EncryptSingle": func(r *trial) error {
		response, err := r.EncryptSingle(r.tb.Context(), &pb.EncryptSingleRequest{Mech: r.m, KeyBytes: r.public, Plain: r.data})
		r.ciphered = response.GetCiphered()
		return err
	}, "EncryptInit": func(r *trial) error {
		_, err := r.EncryptInit(r.tb.Context(), &pb.EncryptInitRequest{Mech: r.m, KeyBytes: r.public})
		return err
	}}},
	{ep11.CanDecrypt, map[string]func(*trial) error{"DecryptSingle": func(r *trial) error {
		_, err := r.DecryptSingle(r.tb.Context(), &pb.DecryptSingleRequest{Mech: r.m, KeyBytes: r.private, Ciphered: r.ciphered})
		return err
	}, "DecryptInit": func(r *trial) error {
		_, err := r.DecryptInit(r.tb.Context(), &pb.DecryptInitRequest{Mech: r.m, KeyBytes: r.private})
		return err
	}}},
	{ep11.CanWrap, map[string]func(*trial) error{"WrapKey": func(r *trial) error {
		response, err := r.WrapKey(r.tb.Context(), &pb.WrapKeyRequest{Mech: r.m, KeyBytes: r.wraps, KeKBytes: r.public, MacKeyBytes: r.wraps})
		if err == nil {
			r.wrapped = response.GetWrapped()
		}
		return err
	}}},
	{ep11.CanUnwrap, map[string]func(*trial) error{"UnwrapKey": func(r *trial) error {
		request := &pb.UnwrapKeyRequest{Mech: r.m, KeKBytes: r.private, MacKeyBytes: r.wraps, Wrapped: r.wrapped}
		if r.m.GetMechanism() != ep11.MechIBMTransportKey {
			request.Template = template{ep11.AttrKeyType: ep11.KeyTypeAES}.attributes(r.tb)
		}
		_, err := r.UnwrapKey(r.tb.Context(), request)
		return err
	}}},
	{ep11.CanDerive, map[string]func(*trial) error{"DeriveKey": func(r *trial) error {
		wanted := template{ep11.AttrKeyType: ep11.KeyTypeAES, ep11.AttrValueLen: 16}
		if r.m.GetMechanism() == ep11.MechIBMBTCDerive {
			wanted = derivation("")
		}
		_, err := r.derive(r.m, r.private, wanted)
		return err
	}}},
}

// trials makes what each listed mechanism is tried with. HMAC and mechanisms without a key
// get a generic secret.
func trials(b *bench) func(id uint64) *trial {
	b.tb.Helper()
	usage := template{ep11.AttrDerive: true, ep11.AttrIBMUseAsData: true}
	ec, edwards, rsa := b.ecPair(testCurves[2], private().but(usage)), b.ecPair(testCurves[0], private()), b.rsaPair(1024, 65537, nil, nil)
	dh, err := b.domainPair(ep11.MechDHPKCSKeyPairGen, b.params(ep11.MechDHPKCSParameterGen), ep11.AttrDerive, ep11.AttrDerive)
	if err != nil {
		b.tb.Fatal(err)
	}
	signs, err := b.domainPair(ep11.MechDSAKeyPairGen, smallDSA(b.tb), ep11.AttrVerify, ep11.AttrSign)
	if err != nil {
		b.tb.Fatal(err)
	}
	generic, des3 := b.bringSecret(ep11.KeyTypeGenericSecret, make([]byte, 32)), b.bringSecret(ep11.KeyTypeDES3, make([]byte, 24))
	bound, plain := b.aes(16, all().but(template{ep11.AttrIBMAttrBound: true})), b.aes(16, all())
	spki := ec.GetPubKeyBytes()[:testCurves[2].spki]
	parameters := map[uint64]*pb.Mechanism{}
	for _, m := range []*pb.Mechanism{
		oaep(ep11.MechSHA256, pb.RSAOAEPParm_CkgMgf1Sha256, ""),
		pss(ep11.MechRSAPKCSPSS, ep11.MechSHA256, pb.RSAPSSParm_CkgMgf1Sha256, 32),
		pss(ep11.MechSHA1RSAPKCSPSS, ep11.MechSHA1, pb.RSAPSSParm_CkgMgf1Sha1, 20),
		pss(ep11.MechSHA224RSAPKCSPSS, ep11.MechSHA224, pb.RSAPSSParm_CkgMgf1Sha224, 28),
		pss(ep11.MechSHA256RSAPKCSPSS, ep11.MechSHA256, pb.RSAPSSParm_CkgMgf1Sha256, 32),
		pss(ep11.MechSHA384RSAPKCSPSS, ep11.MechSHA384, pb.RSAPSSParm_CkgMgf1Sha384, 48),
		pss(ep11.MechSHA512RSAPKCSPSS, ep11.MechSHA512, pb.RSAPSSParm_CkgMgf1Sha512, 0),
		withIV(ep11.MechAESCBC, zeroIV), withIV(ep11.MechAESCBCPad, zeroIV),
		withIV(ep11.MechDES3CBC, zeroIV[:8]), withIV(ep11.MechDES3CBCPad, zeroIV[:8]),
		withIV(ep11.MechDHPKCSDerive, []byte{5}), withIV(ep11.MechECDH1Derive, spki[len(spki)-65:]),
		btc(pb.BTCDeriveParm_CkSLIP0010PRV2PRV, hardened, make([]byte, 32)), schnorr(schnorrKinds[0]),
	} {
		parameters[m.GetMechanism()] = m
	}
	return func(id uint64) *trial {
		r := &trial{bench: b, m: parameters[id], public: generic, private: generic, wraps: plain, data: make([]byte, 32)}
		if r.m == nil {
			r.m = mech(id)
		}
		switch {
		case id == ep11.MechIBMTransportKey:
			r.wrapped = spki
		case id == ep11.MechIBMAttrBoundWrap:
			r.public, r.private, r.wraps = bound, bound, bound
		case id == ep11.MechIBMEd25519SHA512:
			r.public, r.private = edwards.GetPubKeyBytes(), edwards.GetPrivKeyBytes()
		case id == ep11.MechDHPKCSDerive:
			r.private = dh.GetPrivKeyBytes()
		case slices.Contains([]uint64{ep11.MechDSA, ep11.MechDSASHA1}, id):
			r.public, r.private = signs.GetPubKeyBytes(), signs.GetPrivKeyBytes()
		case slices.Contains([]uint64{ep11.MechAESECB, ep11.MechAESCBC, ep11.MechAESCBCPad}, id):
			r.public, r.private = b.kek, b.kek
		case slices.Contains([]uint64{ep11.MechDES3ECB, ep11.MechDES3CBC, ep11.MechDES3CBCPad}, id):
			r.public, r.private = des3, des3
		case id <= ep11.MechSHA224RSAPKCSPSS: // RSA mechanisms have the lowest numbers
			r.public, r.private = rsa.GetPubKeyBytes(), rsa.GetPrivKeyBytes()
		case id >= ep11.MechECKeyPairGen && id <= ep11.MechECDH1Derive || id >= ep11.MechIBMECDSASHA224 && id <= ep11.MechIBMECDSASHA512,
			id == ep11.MechIBMECDSAOther, id == ep11.MechIBMBTCDerive:
			r.public, r.private = ec.GetPubKeyBytes(), ec.GetPrivKeyBytes()
		}
		return r
	}
}

// smallDSA is a group that is quick to make.
func smallDSA(tb testing.TB) []byte {
	tb.Helper()
	var made dsa.Parameters
	if err := dsa.GenerateParameters(&made, rand.Reader, dsa.L1024N160); err != nil {
		tb.Fatal(err)
	}
	der, err := asn1.Marshal(made)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// Every listed mechanism is tried in every call: its flags are those of the calls that
// serve it, and the other calls fail with CKR_MECHANISM_INVALID.
func TestMechanismInfoTellsWhatIsServed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	list, err := b.GetMechanismList(t.Context(), &pb.GetMechanismListRequest{})
	if err != nil || len(list.GetMechs()) == 0 {
		t.Fatalf("%d mechanisms: %v", len(list.GetMechs()), err)
	}
	of := trials(b)
	for _, id := range list.GetMechs() {
		info, err := b.GetMechanismInfo(t.Context(), &pb.GetMechanismInfoRequest{Mech: id})
		if err != nil {
			t.Fatalf("0x%x: %v", id, err)
		}
		flags, r := info.GetMechInfo().GetFlags(), of(id)
		for _, a := range abilities {
			for call, try := range a.calls {
				atOnce := id == ep11.MechIBMECDSAOther && (call == "SignInit" || call == "VerifyInit")
				switch err := try(r); {
				case flags&a.flag == 0 || atOnce:
					if got := codeOf(t, err); got != ep11.CodeMechanismInvalid {
						t.Errorf("0x%x, which is not flagged for %s: %v", id, call, got)
					}
				case err != nil && (a.flag&(ep11.CanGenerate|ep11.CanGenerateKeyPair) == 0 || codeOf(t, err) != ep11.CodeTemplateIncomplete):
					t.Errorf("0x%x, %s: %v", id, call, err)
				}
			}
			flags &^= a.flag
		}
		if other := flags &^ (ep11.CanECPrime | ep11.CanECNamedCurve | ep11.CanECUncompressed); other != 0 {
			t.Errorf("0x%x: flags 0x%x are of no call", id, other)
		}
	}
}
