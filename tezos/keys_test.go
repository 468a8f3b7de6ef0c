package tezos_test

import (
	"encoding/hex"
	"maps"
	"strings"
	"testing"

	"blockwatch.cc/tzgo/base58"
	tzgo "blockwatch.cc/tzgo/tezos"

	"pawl/tezos"
)

// Published public keys with their hashes.
var publishedKeys = map[string]string{
	"p2pk66EnR4uFKpTmZj9z5Fg9J2J8KmLb7LCwZe5QPySs8JurcTP1PXM": "tz3gvQDEZfYakYEcqaL3ESQGbbNhwVHXAQmd",
	"sppk7bGD91TUq16Fee3Qic3VBZbzQ5hMhqDery4ghd1Gww2aT2cLcYJ": "tz2Bjvy8z8ackCt2mQns2LrZ6Yc5BKe4dCpk",
	"edpkvWoG8zRAgfPpQtWhf6VEMifvBsmGriKKRXfmHJv1kBWT6oucKn":  "tz1hjmoX6vQhfboTyTRSaqep4yeGbsb3LN7z",
	"edpkuNAzCD3GStoazVVQZ1Xb9yvREPTCh97jgcd5d6g1ekJn7Kzk6i":  "tz1VqJrj8f5G9Z7eK8d2U5mXAs5oBXCsrJqc",
}

func parseKey(tb testing.TB, s string) tezos.PublicKey {
	tb.Helper()
	key, err := tezos.ParsePublicKey(s)
	if err != nil {
		tb.Fatalf("%s: %v", s, err)
	}
	return key
}

func TestPublishedKeys(t *testing.T) {
	t.Parallel()
	pairs := maps.Clone(publishedKeys)
	for _, v := range readVectors(t) {
		if text := v.get("public_key"); text != "" && strings.HasPrefix(v.name, "calc-") && v.accepted() {
			pairs[text] = v.get("key")
		}
	}
	kinds := map[tezos.KeyKind]bool{}
	for text, hash := range pairs {
		key := parseKey(t, text)
		kinds[key.Kind()] = true
		if got := key.Hash(); got.String() != hash || got.Kind() != key.Kind() {
			t.Errorf("%s hashes to %s, want %s", text, got, hash)
		}
		if got := key.String(); got != text {
			t.Errorf("String() = %s, want %s", got, text)
		}
		again, err := tezos.NewPublicKey(key.Kind(), key.Bytes())
		if err != nil || again != key {
			t.Errorf("%s is not the key of its bytes: %v", text, err)
		}
	}
	if len(kinds) != 4 {
		t.Errorf("kinds tried: %v, want tz1 to tz4", kinds)
	}
}

// tzgo makes and encodes keys independently of this package.
func TestKeysAgreeWithTzgo(t *testing.T) {
	t.Parallel()
	for _, kind := range []tzgo.KeyType{tzgo.KeyTypeEd25519, tzgo.KeyTypeSecp256k1, tzgo.KeyTypeP256} {
		for range 50 {
			secret, err := tzgo.GenerateKey(kind)
			if err != nil {
				t.Fatal(err)
			}
			public := secret.Public()
			key := parseKey(t, public.String())
			if got := key.Hash().String(); got != public.Address().String() {
				t.Errorf("%s hashes to %s, tzgo says %s", public, got, public.Address())
			}
			if got := key.String(); got != public.String() {
				t.Errorf("String() = %s, want %s", got, public)
			}
			message := tezos.NewMessage([]byte(key.String()))
			digest := message.Digest()
			made, err := secret.Sign(digest[:])
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{made.String(), made.Generic()} {
				sig, err := tezos.ParseSignature(text)
				if err != nil || sig.String() != text {
					t.Fatalf("%s: %v, %v", text, sig, err)
				}
				if err := key.Verify(message, sig); err != nil {
					t.Errorf("%s: %s: %v", key, text, err)
				}
			}
		}
	}
}

func TestHashes(t *testing.T) {
	t.Parallel()
	for i, text := range []string{
		tz1Key, "tz2Bjvy8z8ackCt2mQns2LrZ6Yc5BKe4dCpk", "tz3gvQDEZfYakYEcqaL3ESQGbbNhwVHXAQmd", tz4Key, tz5Key,
	} {
		h := parseHash(t, text)
		if int(h[0]) != i || int(h.Kind()) != i || h.Kind().String() != text[:3] {
			t.Errorf("%s: tag %d, kind %s", text, h[0], h.Kind())
		}
		marshalled, err := h.MarshalText()
		if err != nil || string(marshalled) != text || h.String() != text {
			t.Errorf("%s prints as %s and %s, %v", text, h, marshalled, err)
		}
	}
	bad := tezos.PublicKeyHash{5}
	if text, err := bad.MarshalText(); err == nil {
		t.Errorf("hash of no kind marshals to %s", text)
	}
	if bad.String() != "invalid public key hash" || bad.Kind().String() != "unknown" {
		t.Errorf("hash of no kind prints as %s of %s", bad, bad.Kind())
	}
}

func TestKeyKinds(t *testing.T) {
	t.Parallel()
	for i, text := range []string{"tz1", "tz2", "tz3", "tz4", "tz5"} {
		if kind, err := tezos.ParseKeyKind(text); err != nil || int(kind) != i || kind.String() != text {
			t.Errorf("ParseKeyKind(%q) = %v, %v", text, kind, err)
		}
	}
	for _, text := range []string{"", "tz", "tz0", "tz6", "TZ1", "tz1 ", "KT1"} {
		if kind, err := tezos.ParseKeyKind(text); err == nil {
			t.Errorf("ParseKeyKind(%q) = %v", text, kind)
		}
	}
}

func TestChainIDs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"NetXdQprcVkpaWU": "7a06a770", "NetXnHfVqm9iesp": "af1864d9", "NetXsqzbfFenSTS": "d052218e",
	} {
		id, err := tezos.ParseChainID(text)
		if err != nil || hex.EncodeToString(id[:]) != want || id.String() != text {
			t.Errorf("ParseChainID(%s) = %x (%s), %v; want %s", text, id[:], id, err, want)
		}
		if marshalled, err := id.MarshalText(); err != nil || string(marshalled) != text {
			t.Errorf("%s marshals to %s, %v", text, marshalled, err)
		}
	}
}

// Each text is wrong in one way.
func TestTextForms(t *testing.T) {
	t.Parallel()
	const signature = "edsigty5dLrEmQ5CT3as6fUJggZtRQfKYpKx6b2zwy7yHbLLUNLUEowsef1nA31s4AN78k8MKm1AzngcyT1RNoirkte2K9nFZ64"
	parsers := map[string]func(string) error{
		tz1Key:            func(s string) error { _, err := tezos.ParsePublicKeyHash(s); return err },
		"NetXdQprcVkpaWU": func(s string) error { _, err := tezos.ParseChainID(s); return err },
		"edpkuNAzCD3GStoazVVQZ1Xb9yvREPTCh97jgcd5d6g1ekJn7Kzk6i": func(s string) error {
			_, err := tezos.ParsePublicKey(s)
			return err
		},
		signature: func(s string) error { _, err := tezos.ParseSignature(s); return err },
	}
	for good, parse := range parsers {
		if err := parse(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
		for defect, text := range map[string]string{
			"empty":               "",
			"prefix only":         good[:3],
			"one character short": good[:len(good)-1],
			"trailing character":  good + "1",
			"trailing space":      good + " ",
			"leading space":       " " + good,
			"leading one":         "1" + good,
			"wrong checksum":      good[:len(good)-1] + other(good[len(good)-1]),
			"mistyped inside":     good[:10] + other(good[10]) + good[11:],
			"letter not in use":   good[:10] + "0" + good[11:],
			"two bytes a letter":  good[:10] + "\u0142" + good[12:],
			"nul":                 good[:10] + "\x00" + good[11:],
			"other prefix":        "BLsig" + good[5:],
			"secret key":          "edsk3gUfUPyBSfrS9CCgmCiQsTCHGkviBDusMxDJstFtojtc1zcpsh",
		} {
			if err := parse(text); err == nil {
				t.Errorf("%s of %s is accepted: %q", defect, good, text)
			} else if strings.Contains(err.Error(), "edsk3") {
				t.Errorf("error quotes a secret key: %v", err)
			}
		}
	}
}

func other(c byte) string {
	if c == '2' {
		return "3"
	}
	return "2"
}

// A decoder that takes characters beyond ASCII modulo 256 for digits would read an address
// from a text that no encoder writes, though its length and checksum are right.
func TestAliasOfADigit(t *testing.T) {
	t.Parallel()
	for b := range 256 {
		h := tezos.PublicKeyHash{0, byte(b)}
		text := h.String()
		if text[10] != '1' { // needs a zero digit, which an alias of two bytes can replace
			continue
		}
		alias := text[:10] + string(rune(text[11])+256) + text[12:]
		if len(base58.Decode(alias, nil)) != len(base58.Decode(text, nil)) {
			t.Fatalf("%q is no alias of %s", alias, text)
		}
		if got, err := tezos.ParsePublicKeyHash(alias); err == nil {
			t.Errorf("%q gives %s", alias, got)
		}
		return
	}
	t.Error("no address with a zero digit tried")
}

// The error says what is wrong, whatever the user has typed.
func TestTextErrors(t *testing.T) {
	t.Parallel()
	_, hash := tezos.ParsePublicKeyHash("KT1" + tz1Key[3:])
	_, long := tezos.ParsePublicKeyHash(tz1Key + strings.Repeat("1", 1<<20))
	_, key := tezos.ParsePublicKey(tz1Key)
	_, sig := tezos.ParseSignature(tz1Key)
	for want, got := range map[string]error{
		"public key hash: want tz1…, tz2…, tz3…, tz4… or tz5…":    hash,
		"public key hash: tz1… has 1048612 characters, want 36":   long,
		"public key: want edpk…, sppk…, p2pk… or BLpk…":           key,
		"signature: want edsig…, spsig1…, p2sig…, BLsig… or sig…": sig,
	} {
		if got == nil || got.Error() != want {
			t.Errorf("error %q, want %q", got, want)
		}
	}
}

// A text with a right checksum but a wrong number of bytes or a wrong prefix is refused.
func TestTextOfWrongContent(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 19, 21, 40} {
		text := base58.CheckEncode(make([]byte, size), []byte{6, 161, 159})
		if h, err := tezos.ParsePublicKeyHash(text); err == nil {
			t.Errorf("%d bytes give %s", size, h)
		}
	}
	// 36 characters that begin with tz1, but have other prefix bytes.
	for b := range byte(64) {
		text := base58.CheckEncode(append([]byte{b}, make([]byte, 19)...), []byte{6, 161, 160})
		if h, err := tezos.ParsePublicKeyHash(text); err == nil && h.String() != text {
			t.Errorf("%s gives %s", text, h)
		}
	}
}

func TestRawPublicKeys(t *testing.T) {
	t.Parallel()
	raw := func(text string) []byte { return parseKey(t, text).Bytes() }
	p256 := raw("p2pk66EnR4uFKpTmZj9z5Fg9J2J8KmLb7LCwZe5QPySs8JurcTP1PXM")
	secp := raw("sppk7bGD91TUq16Fee3Qic3VBZbzQ5hMhqDery4ghd1Gww2aT2cLcYJ")
	bls := raw(readVector(t, "testdata/calc-attestation-bls-tz4.txt").get("public_key"))
	first := func(b []byte, value byte) []byte { return append([]byte{value}, b[1:]...) }
	overPrime, _ := hex.DecodeString("9a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf" +
		"6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab")
	for name, c := range map[string]struct {
		kind tezos.KeyKind
		raw  []byte
	}{
		"tz1 empty":                 {tezos.Ed25519, nil},
		"tz1 of 33 bytes":           {tezos.Ed25519, make([]byte, 33)},
		"tz2 of 32 bytes":           {tezos.Secp256k1, secp[:32]},
		"tz2 uncompressed":          {tezos.Secp256k1, append([]byte{4}, make([]byte, 64)...)},
		"tz2 first byte 04":         {tezos.Secp256k1, first(secp, 4)},
		"tz2 x without y":           {tezos.Secp256k1, append([]byte{2}, append(make([]byte, 31), 5)...)},
		"tz2 x over the field":      {tezos.Secp256k1, first([]byte(strings.Repeat("\xff", 33)), 2)},
		"tz3 of 34 bytes":           {tezos.P256, append(p256, 0)},
		"tz3 first byte 00":         {tezos.P256, first(p256, 0)},
		"tz3 x without y":           {tezos.P256, append([]byte{2}, append(make([]byte, 31), 1)...)},
		"tz3 x over the field":      {tezos.P256, first([]byte(strings.Repeat("\xff", 33)), 2)},
		"tz4 of 47 bytes":           {tezos.BLS12381, bls[:47]},
		"tz4 without compressed":    {tezos.BLS12381, first(bls, bls[0]&0x7f)},
		"tz4 point at infinity":     {tezos.BLS12381, append([]byte{0xc0}, make([]byte, 47)...)},
		"tz4 x over the field":      {tezos.BLS12381, overPrime},
		"tz5":                       {tezos.MLDSA44, make([]byte, 1312)},
		"kind that does not exist":  {tezos.KeyKind(9), make([]byte, 32)},
		"tz4 all flags and all set": {tezos.BLS12381, []byte(strings.Repeat("\xff", 48))},
	} {
		if key, err := tezos.NewPublicKey(c.kind, c.raw); err == nil || key != (tezos.PublicKey{}) {
			t.Errorf("%s: gives %s, error %v", name, key, err)
		}
	}
	overPrime[47]-- // now below the prime
	if _, err := tezos.NewPublicKey(tezos.BLS12381, overPrime); err != nil {
		t.Errorf("tz4 x one below the prime: %v", err)
	}
	if _, err := tezos.ParsePublicKey("mdpk" + strings.Repeat("1", 1798)); err == nil {
		t.Error("mdpk is accepted")
	}
}

func TestCheckAddress(t *testing.T) {
	t.Parallel()
	contract := "KT1DieU51jzXLerQx5AqMCiLC1SsCeM8yRat"
	for _, text := range []string{tz1Key, tz4Key, tz5Key, contract} {
		if err := tezos.CheckAddress(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"", "KT1", contract + "1", contract[:35] + "u", "sr1" + contract[3:], "NetXdQprcVkpaWU",
	} {
		if err := tezos.CheckAddress(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
