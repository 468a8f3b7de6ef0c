package softcard_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

const hardened = 1 << 31

func btc(kind pb.BTCDeriveParm_BTCDeriveType, index uint64, chain []byte) *pb.Mechanism {
	return &pb.Mechanism{Mechanism: ep11.MechIBMBTCDerive, Parameter: &pb.Mechanism_BTCDeriveParameter{
		BTCDeriveParameter: &pb.BTCDeriveParm{Type: kind, ChildKeyIndex: index, ChainCode: chain, Version: 1},
	}}
}

// derivation is the template of IBM's clients, with an extractable key.
func derivation(params string) template {
	t := template{
		ep11.AttrVerify: true, ep11.AttrDerive: true, ep11.AttrKeyType: ep11.KeyTypeEC, ep11.AttrValueLen: 0,
		ep11.AttrIBMUseAsData: true, ep11.AttrExtractable: true,
	}
	if params != "" {
		t[ep11.AttrECParams] = params
	}
	return t
}

func (b *bench) derive(m *pb.Mechanism, base []byte, t template) (*pb.DeriveKeyResponse, error) {
	b.tb.Helper()
	return b.DeriveKey(b.tb.Context(), &pb.DeriveKeyRequest{Mech: m, BaseKeyBytes: base, Template: t.attributes(b.tb)})
}

// scalar takes the secret of an EC key out of the card. In the PKCS #8 it follows the
// version of RFC 5915's structure.
func (b *bench) scalar(key []byte) []byte {
	b.tb.Helper()
	_, after, found := bytes.Cut(b.take(key), []byte("\x02\x01\x01\x04\x20"))
	if !found {
		b.tb.Fatal("no secret of 32 bytes in the PKCS #8")
	}
	return after[:32]
}

// point returns a public key in the short form of the vectors.
func (c testCurve) point(pub []byte) string {
	if c.order == "" {
		return "00" + hex.EncodeToString(pub[c.spki-32:c.spki])
	}
	long := pub[c.spki-65 : c.spki]
	return hex.EncodeToString(append([]byte{2 + long[64]&1}, long[1:33]...))
}

// vectorLines returns the lines of a file of vectors, without comments.
func vectorLines(tb testing.TB, name string) (lines [][]string) {
	tb.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] != "#" {
			lines = append(lines, fields)
		}
	}
	return lines
}

// index is the last step of a path; a hardened one has its bit set.
func index(tb testing.TB, path string) uint64 {
	tb.Helper()
	last := path[strings.LastIndex(path, "/")+1:]
	digits, isHardened := strings.CutSuffix(last, "'")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		tb.Fatal(err)
	}
	if isHardened {
		n += hardened
	}
	return n
}

// tree holds the chains of one seed so far.
type tree struct {
	*bench
	curve        testCurve
	seed         []byte
	params       string // of the templates
	master, priv pb.BTCDeriveParm_BTCDeriveType
	pub          pb.BTCDeriveParm_BTCDeriveType
	nodes        map[string]*pb.DeriveKeyResponse
}

// at derives the chain of a path, and also its public key from the parent. The master has
// no parent.
func (r *tree) at(path string) (private, public *pb.DeriveKeyResponse) {
	r.tb.Helper()
	m, base := btc(r.master, 0, nil), r.seed
	if path != "m" {
		parent := r.nodes[path[:strings.LastIndex(path, "/")]]
		m, base = btc(r.priv, index(r.tb, path), parent.GetCheckSum()), parent.GetNewKeyBytes()
		var err error
		if public, err = r.derive(btc(r.pub, index(r.tb, path), parent.GetCheckSum()), base, derivation(r.params)); err != nil {
			r.tb.Fatalf("%s, public: %v", path, err)
		}
		sameBlob(r.tb, public.GetNewKeyBytes(), public.GetNewKey())
	}
	private, err := r.derive(m, base, derivation(r.params))
	if err != nil {
		r.tb.Fatalf("%s: %v", path, err)
	}
	sameBlob(r.tb, private.GetNewKeyBytes(), private.GetNewKey())
	r.nodes[path] = private
	return private, public
}

func (r *tree) check(path, chain, secret, point string) {
	r.tb.Helper()
	private, public := r.at(path)
	if got := hex.EncodeToString(private.GetCheckSum()); got != chain {
		r.tb.Errorf("%s: chain code %s, want %s", path, got, chain)
	}
	if got := hex.EncodeToString(r.scalar(private.GetNewKeyBytes())); got != secret {
		r.tb.Errorf("%s: private key %s, want %s", path, got, secret)
	}
	if public == nil {
		return
	}
	if got := r.curve.point(public.GetNewKeyBytes()); got != point {
		r.tb.Errorf("%s: public key %s, want %s", path, got, point)
	}
	if got := hex.EncodeToString(public.GetCheckSum()); got != chain {
		r.tb.Errorf("%s: chain code of the public key %s, want %s", path, got, chain)
	}
	data := make([]byte, 32)
	signature, err := r.sign(mech(r.curve.mech), private.GetNewKeyBytes(), data)
	if err != nil { // the template does not ask for CKA_SIGN, as IBM's clients do not
		r.tb.Fatalf("%s: %v", path, err)
	}
	if err := r.verify(mech(r.curve.mech), public.GetNewKeyBytes(), data, signature); err != nil {
		r.tb.Errorf("%s: the derived public key does not verify: %v", path, err)
	}
}

func TestSLIP10Vectors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	byName := map[string]testCurve{"ed25519": testCurves[0], "secp256k1": testCurves[1], "nist256p1": testCurves[2]}
	var r *tree
	chains, fromPublic := 0, 0
	for _, line := range vectorLines(t, "slip-0010.txt") {
		if curve, ok := byName[line[0]]; ok {
			r = &tree{
				bench: b, curve: curve, params: curve.params, seed: b.bringSecret(ep11.KeyTypeGenericSecret, unhex(t, line[1])),
				master: pb.BTCDeriveParm_CkSLIP0010MASTERK, priv: pb.BTCDeriveParm_CkSLIP0010PRV2PRV, pub: pb.BTCDeriveParm_CkSLIP0010PRV2PUB,
				nodes: map[string]*pb.DeriveKeyResponse{},
			}
			continue
		}
		r.check(line[0], line[1], line[2], line[3])
		chains++
		if r.checkFromPublic(pb.BTCDeriveParm_CkSLIP0010PUB2PUB, line[0], line[1], line[3]) {
			fromPublic++
		}
	}
	if chains != 40 || fromPublic != 11 {
		t.Errorf("%d chains, %d of them from public to public; the document has 40 and 11", chains, fromPublic)
	}
}

// extended splits an extended key of BIP-32: version 4, depth 1, fingerprint 4, number 4,
// chain code 32, key 33, check 4.
func extended(tb testing.TB, text string) (chain, key string) {
	tb.Helper()
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	n := new(big.Int)
	for _, digit := range text {
		n.Mul(n, big.NewInt(58)).Add(n, big.NewInt(int64(strings.IndexRune(alphabet, digit))))
	}
	raw := n.FillBytes(make([]byte, 82))
	sum := sha256.Sum256(raw[:78])
	sum = sha256.Sum256(sum[:])
	if !bytes.Equal(sum[:4], raw[78:]) {
		tb.Fatalf("%s: the check does not fit", text)
	}
	return hex.EncodeToString(raw[13:45]), hex.EncodeToString(raw[45:78])
}

func TestBIP32Vectors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var r *tree
	chains, fromPublic := 0, 0
	for _, line := range vectorLines(t, "bip-0032.txt") {
		if len(line) == 1 {
			r = &tree{
				bench: b, curve: testCurves[1], seed: b.bringSecret(ep11.KeyTypeGenericSecret, unhex(t, line[0])),
				master: pb.BTCDeriveParm_CkBIP0032MASTERK, priv: pb.BTCDeriveParm_CkBIP0032PRV2PRV, pub: pb.BTCDeriveParm_CkBIP0032PRV2PUB,
				nodes: map[string]*pb.DeriveKeyResponse{},
			}
			continue
		}
		chain, point := extended(t, line[1])
		_, secret := extended(t, line[2])
		r.check(line[0], chain, secret[2:], point)
		chains++
		if r.checkFromPublic(pb.BTCDeriveParm_CkBIP0032PUB2PUB, line[0], chain, point) {
			fromPublic++
		}
	}
	if chains != 12 || fromPublic != 5 {
		t.Errorf("%d chains, %d of them from public to public; want 12 and 5", chains, fromPublic)
	}
}

// checkFromPublic derives the public key from the parent's public key, if the step is not
// hardened and the parent is not the master.
func (r *tree) checkFromPublic(kind pb.BTCDeriveParm_BTCDeriveType, path, chain, point string) bool {
	r.tb.Helper()
	if path == "m" || index(r.tb, path) >= hardened {
		return false
	}
	parent := path[:strings.LastIndex(path, "/")]
	if parent == "m" {
		return false
	}
	_, public := r.at(parent)
	child, err := r.derive(btc(kind, index(r.tb, path), public.GetCheckSum()), public.GetNewKeyBytes(), derivation(r.params))
	if err != nil {
		r.tb.Fatalf("%s from public to public: %v", path, err)
	}
	if got := r.curve.point(child.GetNewKeyBytes()); got != point {
		r.tb.Errorf("%s from public to public: %s, want %s", path, got, point)
	}
	if got := hex.EncodeToString(child.GetCheckSum()); got != chain {
		r.tb.Errorf("%s from public to public: chain code %s, want %s", path, got, chain)
	}
	return true
}

func TestDerivedHeadersAreAsSeen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	seed := b.bringSecret(ep11.KeyTypeGenericSecret, make([]byte, 32))
	made, err := b.derive(btc(pb.BTCDeriveParm_CkSLIP0010MASTERK, 0, nil), seed, derivation(ep11.CurveP256))
	if err != nil {
		t.Fatal(err)
	}
	if got := binary.BigEndian.Uint64(made.GetNewKeyBytes()[48:]); got != 0x9d85 { // as on cards
		t.Errorf("attributes 0x%x, want 0x9d85", got)
	}
	made, err = b.derive(btc(pb.BTCDeriveParm_CkSLIP0010MASTERK, 0, nil), seed, derivation(ep11.CurveP256).but(template{ep11.AttrSign: false}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.sign(mech(ep11.MechECDSA), made.GetNewKeyBytes(), make([]byte, 32))
	wantCode(t, err, ep11.CodeKeyFunctionNotPermitted)
}

func TestEachWrongDerivationHasItsCode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	seed := b.bringSecret(ep11.KeyTypeGenericSecret, make([]byte, 32))
	chain := make([]byte, 32)
	const (
		master, private, public = pb.BTCDeriveParm_CkSLIP0010MASTERK, pb.BTCDeriveParm_CkSLIP0010PRV2PRV, pb.BTCDeriveParm_CkSLIP0010PRV2PUB
		bipMaster, bipPrivate   = pb.BTCDeriveParm_CkBIP0032MASTERK, pb.BTCDeriveParm_CkBIP0032PRV2PRV
		bipFromPublic           = pb.BTCDeriveParm_CkBIP0032PUB2PUB
		slipFromPublic          = pb.BTCDeriveParm_CkSLIP0010PUB2PUB
	)
	made := map[string][]byte{}
	publics := map[string][]byte{}
	for _, curve := range testCurves {
		r, err := b.derive(btc(master, 0, nil), seed, derivation(curve.params))
		if err != nil {
			t.Fatal(err)
		}
		made[curve.params] = r.GetNewKeyBytes()
		p, err := b.derive(btc(public, hardened, chain), r.GetNewKeyBytes(), derivation(curve.params))
		if err != nil {
			t.Fatal(err)
		}
		publics[curve.params] = p.GetNewKeyBytes()
	}
	version2 := btc(master, 0, nil)
	version2.GetBTCDeriveParameter().Version = 2
	pair := testCurves[1].pair(t, direct(b.card))
	for _, test := range []struct {
		name string
		m    *pb.Mechanism
		base []byte
		t    template
		want ep11.Code
	}{
		{"no parameter", mech(ep11.MechIBMBTCDerive), seed, derivation(ep11.CurveP256), ep11.CodeMechanismParamInvalid},
		{"version 2", version2, seed, derivation(ep11.CurveP256), ep11.CodeMechanismParamInvalid},
		{"type 0", btc(0, 0, nil), seed, derivation(ep11.CurveP256), ep11.CodeMechanismParamInvalid},
		{"type 9", btc(9, 0, nil), seed, derivation(ep11.CurveP256), ep11.CodeMechanismParamInvalid},
		{"Ed25519 from public to public", btc(slipFromPublic, 0, chain), publics[ep11.CurveEd25519], derivation(ep11.CurveEd25519), ep11.CodeMechanismParamInvalid},
		{"SLIP-0010, hardened from a public key", btc(slipFromPublic, hardened, chain), publics[ep11.CurveP256], derivation(""), ep11.CodeMechanismParamInvalid},
		{"SLIP-0010 from public to public on another curve", btc(slipFromPublic, 0, chain), publics[ep11.CurveP256], derivation(ep11.CurveSecp256k1), ep11.CodeTemplateInconsistent},
		{"index over 32 bits", btc(private, 1<<32, chain), made[ep11.CurveP256], derivation(ep11.CurveP256), ep11.CodeMechanismParamInvalid},
		{"no chain code", btc(private, 0, nil), made[ep11.CurveP256], derivation(ep11.CurveP256), ep11.CodeMechanismParamInvalid},
		{"short chain code", btc(private, 0, chain[1:]), made[ep11.CurveP256], derivation(ep11.CurveP256), ep11.CodeMechanismParamInvalid},
		{"Ed25519, not hardened", btc(private, 0, chain), made[ep11.CurveEd25519], derivation(ep11.CurveEd25519), ep11.CodeMechanismParamInvalid},
		{"Ed25519, public, not hardened", btc(public, 0, chain), made[ep11.CurveEd25519], derivation(ep11.CurveEd25519), ep11.CodeMechanismParamInvalid},
		{"hardened from a public key", btc(bipFromPublic, hardened, chain), publics[ep11.CurveSecp256k1], derivation(""), ep11.CodeMechanismParamInvalid},
		{"SLIP-0010 master without curve", btc(master, 0, nil), seed, derivation(""), ep11.CodeTemplateIncomplete},
		{"SLIP-0010 master on P-384", btc(master, 0, nil), seed, derivation(ep11.CurveP384), ep11.CodeCurveNotSupported},
		{"BIP-32 master on P-256", btc(bipMaster, 0, nil), seed, derivation(ep11.CurveP256), ep11.CodeCurveNotSupported},
		{"BIP-32 child on P-256", btc(bipPrivate, 0, chain), made[ep11.CurveP256], derivation(""), ep11.CodeCurveNotSupported},
		{"BIP-32 from public to public on P-256", btc(bipFromPublic, 0, chain), publics[ep11.CurveP256], derivation(""), ep11.CodeCurveNotSupported},
		{"another curve than the parent's", btc(private, 0, chain), made[ep11.CurveP256], derivation(ep11.CurveSecp256k1), ep11.CodeTemplateInconsistent},
		{"another key type", btc(master, 0, nil), seed, derivation(ep11.CurveP256).but(template{ep11.AttrKeyType: ep11.KeyTypeAES}), ep11.CodeTemplateInconsistent},
		{"child of a seed", btc(private, 0, chain), seed, derivation(ep11.CurveP256), ep11.CodeKeyTypeInconsistent},
		{"master of an EC key", btc(master, 0, nil), made[ep11.CurveP256], derivation(ep11.CurveP256), ep11.CodeKeyTypeInconsistent},
		{"child of a public key", btc(private, 0, chain), publics[ep11.CurveP256], derivation(ep11.CurveP256), ep11.CodeKeyTypeInconsistent},
		{"public child of a private key", btc(bipFromPublic, 0, chain), made[ep11.CurveSecp256k1], derivation(""), ep11.CodeKeyTypeInconsistent},
		{"short seed", btc(master, 0, nil), b.bringSecret(ep11.KeyTypeGenericSecret, make([]byte, 15)), derivation(ep11.CurveP256), ep11.CodeKeySizeRange},
		{"long seed", btc(master, 0, nil), b.bringSecret(ep11.KeyTypeGenericSecret, make([]byte, 65)), derivation(ep11.CurveP256), ep11.CodeKeySizeRange},
		{"seed without DERIVE", btc(master, 0, nil), b.aes(32, all().but(template{ep11.AttrDerive: nil})), derivation(ep11.CurveP256), ep11.CodeKeyFunctionNotPermitted},
		{"seed without USE_AS_DATA", btc(master, 0, nil), b.aes(32, all().but(template{ep11.AttrIBMUseAsData: nil})), derivation(ep11.CurveP256), ep11.CodeKeyFunctionNotPermitted},
		{"key pair that is to sign", btc(private, hardened, chain), pair.GetPrivKeyBytes(), derivation(ep11.CurveSecp256k1), ep11.CodeKeyFunctionNotPermitted},
		{"public key that is to verify", btc(bipFromPublic, 0, chain), pair.GetPubKeyBytes(), derivation(""), ep11.CodeKeyFunctionNotPermitted},
		{"no key", btc(master, 0, nil), nil, derivation(ep11.CurveP256), ep11.CodeArgumentsBad},
		{"another card's seed", btc(master, 0, nil), newBench2(t), derivation(ep11.CurveP256), ep11.CodeIBMWKIDMismatch},
		{"BLS key derivation", mech(0x80070002), seed, derivation(ep11.CurveP256), ep11.CodeMechanismInvalid},
	} {
		_, err := b.derive(test.m, test.base, test.t)
		if got := codeOf(t, err); got != test.want {
			t.Errorf("%s: %v, want %v (%v)", test.name, got, test.want, err)
		}
	}
}

// As a Java example does: a pair made for derivation, and a random chain code.
func TestKeyPairsHaveChildren(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pair := b.ecPair(testCurves[1], private().but(template{ep11.AttrDerive: true, ep11.AttrIBMUseAsData: true}))
	chain := make([]byte, 32)
	if _, err := rand.Read(chain); err != nil {
		t.Fatal(err)
	}
	wanted := derivation(ep11.CurveSecp256k1).but(template{ep11.AttrValueLen: 32, ep11.AttrExtractable: false})
	private, err := b.derive(btc(pb.BTCDeriveParm_CkSLIP0010PRV2PRV, 1+hardened, chain), pair.GetPrivKeyBytes(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	public, err := b.derive(btc(pb.BTCDeriveParm_CkSLIP0010PRV2PUB, 1+hardened, chain), pair.GetPrivKeyBytes(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := b.sign(mech(ep11.MechECDSA), private.GetNewKeyBytes(), make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if !testCurves[1].verifies(t, public.GetNewKeyBytes(), make([]byte, 32), signature) {
		t.Error("the derived public key is not that of the derived private key")
	}
}
