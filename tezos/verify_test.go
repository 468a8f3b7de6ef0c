package tezos_test

import (
	"crypto/elliptic"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	secp256k1ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"pawl/tezos"
)

// signed is a vector with a key and its signature of the payload.
type signed struct {
	name    string
	key     tezos.PublicKey
	message tezos.Message
	text    string
}

func readSigned(tb testing.TB) []signed {
	tb.Helper()
	var all []signed
	for _, v := range readVectors(tb) {
		if v.get("signature") != "" && !strings.HasPrefix(v.get("signature"), "mdsig") {
			all = append(all, signed{v.name, parseKey(tb, v.get("public_key")), tezos.NewMessage(v.payload), v.get("signature")})
		}
	}
	return all
}

func (s signed) signature(tb testing.TB) tezos.Signature {
	tb.Helper()
	sig, err := tezos.ParseSignature(s.text)
	if err != nil {
		tb.Fatalf("%s: %v", s.name, err)
	}
	return sig
}

func TestSignatureVectors(t *testing.T) {
	t.Parallel()
	tried := map[tezos.KeyKind]int{}
	for _, s := range readSigned(t) {
		tried[s.key.Kind()]++
		if s.key.Kind() == tezos.BLS12381 {
			wantUnverified(t, s)
			continue
		}
		sig := s.signature(t)
		if sig.String() != s.text {
			t.Errorf("%s: prints as %s, want %s", s.name, sig, s.text)
		}
		if err := s.key.Verify(s.message, sig); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		low := sig.LowS()
		if err := s.key.Verify(s.message, low); err != nil {
			t.Errorf("%s: low s: %v", s.name, err)
		}
		if low.LowS() != low {
			t.Errorf("%s: LowS twice differs", s.name)
		}
	}
	if tried[tezos.Ed25519] < 5 || tried[tezos.Secp256k1] < 1 || tried[tezos.P256] < 2 || tried[tezos.BLS12381] < 3 {
		t.Errorf("too few signatures tried: %v", tried)
	}
}

// wantUnverified checks that a tz4 signature is read and written, but not verified yet.
func wantUnverified(t *testing.T, s signed) {
	t.Helper()
	sig := s.signature(t)
	if sig.String() != s.text || len(sig.Bytes()) != 96 || sig.LowS() != sig {
		t.Errorf("%s: %s of %d bytes, low s %s, want %s", s.name, sig, len(sig.Bytes()), sig.LowS(), s.text)
	}
	if err := s.key.Verify(s.message, sig); err == nil || errors.Is(err, tezos.ErrBadSignature) {
		t.Errorf("%s: verified: %v", s.name, err)
	}
}

// A signature does not verify if a bit of it, or of the payload, is changed.
func TestVerifyRefusesEveryFlippedBit(t *testing.T) {
	t.Parallel()
	for _, s := range oneOfEach(t) {
		raw := s.signature(t).Bytes()
		for bit := range 8 * len(raw) {
			flipped := slices.Clone(raw)
			flipped[bit/8] ^= 1 << (bit % 8)
			wantBad(t, s, newSignature(t, s.key.Kind(), flipped), "flipped bit")
		}
		other := s
		payload := s.message.Payload()
		payload[len(payload)-1] ^= 1
		other.message = tezos.NewMessage(payload)
		wantBad(t, other, s.signature(t), "other payload")
	}
}

// oneOfEach returns a signature of a tz1, a tz2 and a tz3 key.
func oneOfEach(tb testing.TB) []signed {
	tb.Helper()
	var chosen []signed
	for _, kind := range []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256} {
		all := readSigned(tb)
		i := slices.IndexFunc(all, func(s signed) bool { return s.key.Kind() == kind })
		if i < 0 {
			tb.Fatalf("no signature of a %s key", kind)
		}
		chosen = append(chosen, all[i])
	}
	return chosen
}

func newSignature(tb testing.TB, kind tezos.KeyKind, raw []byte) tezos.Signature {
	tb.Helper()
	sig, err := tezos.NewSignature(kind, raw)
	if err != nil {
		tb.Fatal(err)
	}
	return sig
}

func wantBad(t *testing.T, s signed, sig tezos.Signature, why string) {
	t.Helper()
	if err := s.key.Verify(s.message, sig); !errors.Is(err, tezos.ErrBadSignature) {
		t.Errorf("%s: %s: error %v, want ErrBadSignature (%s)", s.name, why, err, sig)
	}
}

// withS returns the signature with another s.
func withS(tb testing.TB, kind tezos.KeyKind, sig tezos.Signature, s *big.Int) tezos.Signature {
	tb.Helper()
	raw := sig.Bytes()
	s.FillBytes(raw[32:])
	return newSignature(tb, kind, raw)
}

func TestHighS(t *testing.T) {
	t.Parallel()
	for _, s := range oneOfEach(t)[1:] {
		kind := s.key.Kind()
		order := groupOrder(kind)
		low := s.signature(t).LowS()
		twin := new(big.Int).Sub(order, new(big.Int).SetBytes(low.Bytes()[32:]))
		high := withS(t, kind, low, twin)
		if high.LowS() != low || high == low {
			t.Errorf("%s: low s of the twin is not the signature", s.name)
		}
		if kind == tezos.P256 {
			if err := s.key.Verify(s.message, high); err != nil {
				t.Errorf("tz3 high s: %v", err)
			}
			continue
		}
		wantBad(t, s, high, "high s")
		generic, err := tezos.ParseSignature(genericText(t, high))
		if err != nil {
			t.Fatal(err)
		}
		wantBad(t, s, generic, "generic high s")
	}
}

func groupOrder(kind tezos.KeyKind) *big.Int {
	if kind == tezos.P256 {
		return elliptic.P256().Params().N
	}
	// SEC 2, section 2.4.1.
	order, _ := new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)
	return order
}

func TestScalarsOutOfRange(t *testing.T) {
	t.Parallel()
	for _, s := range oneOfEach(t)[1:] {
		kind := s.key.Kind()
		order := groupOrder(kind)
		sig := s.signature(t).LowS()
		over := new(big.Int).Add(order, big.NewInt(1))
		most := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
		for name, value := range map[string]*big.Int{
			"zero":      big.NewInt(0),
			"order":     order,
			"order + 1": over,
			"2^256-1":   most,
		} {
			bad := withS(t, kind, sig, value)
			wantBad(t, s, bad, "s is "+name)
			if bad.LowS() != bad {
				t.Errorf("%s: LowS changes s = %s", kind, name)
			}
			raw := sig.Bytes()
			value.FillBytes(raw[:32])
			wantBad(t, s, newSignature(t, kind, raw), "r is "+name)
		}
		wantBad(t, s, newSignature(t, kind, make([]byte, 64)), "r and s are zero")
	}
}

// Half of the group order is the largest low s.
func TestLowSBoundary(t *testing.T) {
	t.Parallel()
	for _, kind := range []tezos.KeyKind{tezos.Secp256k1, tezos.P256} {
		half := new(big.Int).Rsh(groupOrder(kind), 1)
		zero := newSignature(t, kind, make([]byte, 64))
		low := withS(t, kind, zero, half)
		high := withS(t, kind, zero, new(big.Int).Add(half, big.NewInt(1)))
		if low.LowS() != low || high.LowS() != low {
			t.Errorf("%s: low s of n/2 is %x, of n/2+1 %x", kind, low.LowS().Bytes(), high.LowS().Bytes())
		}
	}
}

func TestLowSLeavesOthers(t *testing.T) {
	t.Parallel()
	raw := slices.Repeat([]byte{0xf0}, 64)
	ed := newSignature(t, tezos.Ed25519, raw)
	if ed.LowS() != ed {
		t.Error("tz1 signature changes")
	}
	generic, err := tezos.ParseSignature(genericText(t, ed))
	if err != nil || generic.LowS() != generic {
		t.Errorf("generic signature changes: %v", err)
	}
}

func TestSignatureOfAnotherKind(t *testing.T) {
	t.Parallel()
	all := oneOfEach(t)
	for i, s := range all {
		raw := s.signature(t).Bytes()
		wrong := newSignature(t, all[(i+1)%3].key.Kind(), raw)
		wantBad(t, s, wrong, "signature of another kind")
	}
}

func TestTz4CannotBeVerified(t *testing.T) {
	t.Parallel()
	v := readVector(t, "testdata/calc-attestation-bls-tz4.txt")
	key := parseKey(t, v.get("public_key"))
	for _, s := range oneOfEach(t) {
		err := key.Verify(s.message, s.signature(t))
		if err == nil || errors.Is(err, tezos.ErrBadSignature) {
			t.Errorf("%s signature at a tz4 key: %v", s.key.Kind(), err)
		}
	}
}

func TestNewSignature(t *testing.T) {
	t.Parallel()
	for kind, want := range map[tezos.KeyKind]int{
		tezos.Ed25519:   64,
		tezos.Secp256k1: 64,
		tezos.P256:      64,
		tezos.BLS12381:  96,
	} {
		for _, size := range []int{0, 1, 32, 63, 64, 65, 95, 96, 97, 2420} {
			if _, err := tezos.NewSignature(kind, make([]byte, size)); size != want && err == nil {
				t.Errorf("%s signature of %d bytes is accepted", kind, size)
			}
		}
		raw := []byte(strings.Repeat("\xff", want))
		if got := newSignature(t, kind, raw).Bytes(); !slices.Equal(got, raw) {
			t.Errorf("%s: bytes changed to %x", kind, got)
		}
	}
	for _, kind := range []tezos.KeyKind{tezos.MLDSA44, 77} {
		for _, size := range []int{0, 64, 96} {
			if _, err := tezos.NewSignature(kind, make([]byte, size)); err == nil {
				t.Errorf("%s signature of %d bytes is accepted", kind, size)
			}
		}
	}
}

// TestScalarsPlusTheOrder: r and s that only a reduction would make right are refused. Small ones
// are needed, so that the sum fits into 32 bytes; the key is the one that they belong to.
func TestScalarsPlusTheOrder(t *testing.T) {
	t.Parallel()
	message := tezos.NewMessage([]byte("a message"))
	digest := message.Digest()
	for small, tried := int64(1), 0; tried < 5; small++ {
		compact := make([]byte, 65) // a recovery code, r and s
		compact[0] = 27 + 4
		r, s := big.NewInt(small), big.NewInt(small+7)
		r.FillBytes(compact[1:33])
		s.FillBytes(compact[33:])
		found, _, err := secp256k1ecdsa.RecoverCompact(compact, digest[:])
		if err != nil {
			continue // no point has such an x
		}
		tried++
		key, err := tezos.NewPublicKey(tezos.Secp256k1, found.SerializeCompressed())
		if err != nil {
			t.Fatal(err)
		}
		if err := key.Verify(message, newSignature(t, tezos.Secp256k1, compact[1:])); err != nil {
			t.Fatalf("r %v and s %v: %v, want a good signature", r, s, err)
		}
		order := groupOrder(tezos.Secp256k1)
		for name, scalars := range map[string][2]*big.Int{
			"r":       {new(big.Int).Add(r, order), s},
			"s":       {r, new(big.Int).Add(s, order)},
			"r and s": {new(big.Int).Add(r, order), new(big.Int).Add(s, order)},
		} {
			raw := make([]byte, 64)
			scalars[0].FillBytes(raw[:32])
			scalars[1].FillBytes(raw[32:])
			if err := key.Verify(message, newSignature(t, tezos.Secp256k1, raw)); !errors.Is(err, tezos.ErrBadSignature) {
				t.Errorf("%s over the order: %v, want %v", name, err, tezos.ErrBadSignature)
			}
		}
	}
}
