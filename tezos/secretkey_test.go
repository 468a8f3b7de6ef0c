package tezos_test

import (
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	tzgo "blockwatch.cc/tzgo/tezos"

	"pawl/tezos"
)

// noPassphrase must not be called for a clear key.
func noPassphrase() ([]byte, error) { return nil, errors.New("a passphrase was asked for") }

func phrase(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

// Published keys. octez: src/lib_signer_backends/test/unix/test_encrypted.ml; tzgo:
// tezos/key_test.go of v1.18.4; sandbox: the keys of Octez's sandboxed node.
var secretTexts = []struct{ source, text, passphrase, public string }{
	{"octez", "edsk3kMNLNdzLPbbABASDLARft8JRZ3Wpwibn8SMAb4KmuWSMJmAFd", "", ""},
	{"octez", "edsk3Kqr8VHRx9kmR8Pj5qRGcmvQH34cForiMaMz1Ahhq5DkZp7FxJ", "", ""},
	{"octez", "edsk2mBu4w9sMGhryvvXK53dXgpcNdZWi8pJQ1QL2rAgRPrE5y12az", "", ""},
	{"octez", "spsk24attf9uuQ7PUKFHxTm6E3TMqB6SPkFiMbXPBur7JNrvupW2xg", "", ""},
	{"octez", "spsk2H32XfWL7MkW58r76q6Yu5tJg77YGgVyjwq7EvLUHhn4JmAtEG", "", ""},
	{"octez", "spsk3KQ56REAUGc6Gn87xCRnWyPwR2Un667vegQVuU16ZcgNyLCooh", "", ""},
	{"octez", "p2sk2YQcwF5h7qgRztocEMrfizUwZaM41f4v7zWneiig2Y5AxajqYC", "", ""},
	{"octez", "p2sk2XiSoQC9tvejVBDJyvkbHUq2kvcQHdJJ2wM8rii228DkjKV2b5", "", ""},
	{"octez", "p2sk3ZsfsEaxDNn74orv91Ruu35fomzF373aT9ForA4fDo54c47o6H", "", ""},
	{
		"tzgo", "edsk4FTF78Qf1m2rykGpHqostAiq5gYW4YZEoGUSWBTJr2njsDHSnd", "",
		"edpkv45regue1bWtuHnCgLU8xWKLwa9qRqv4gimgJKro4LSc3C5VjV",
	},
	{
		"tzgo", "spsk2oTAhiaSywh9ctt8yZLRxL3bo8Mayd3hKFi5iBaoqj2R8bx7ow", "",
		"sppk7auhfZa5wAcR8hk3WCw47kHgG3Pp8zaP3ctdAqdDd2dBAeZBof1",
	},
	{
		"tzgo", "p2sk35q9MJHLN1SBHNhKq7oho1vnZL28bYfsSKDUrDn2e4XVcp6ohZ", "",
		"p2pk64zMPtYav6yiaHV2DhSQ65gbKMr3gkLQtK7TTQCpJEVUhxxEnxo",
	},
	{
		"tzgo", "edesk1uiM6BaysskGto8pRtzKQqFqsy1sea1QRjTzaQYuBxYNhuN6eqEU78TGRXZocsVRJYcN7AaU9JDykwUd8KW", "foo",
		"edpkttVn1coEZNjcjjAF36jDXDB377imNiKCHqjdXSt85eVN779jfX",
	},
	{
		"tzgo", "spesk246GnDVaqGoYZvKbjrWM1g6xUXnyETXtwZgEYFnP8BQXcaS4rfQQco7C94D1yBmcL1v46Sqy8fXrhBSM7TW", "foo",
		"sppk7aSJpAzeXNTaobig65si221WTqgPh8mJsCJSAiZU7asJkWBVGyx",
	},
	{
		"tzgo", "p2esk27ocLPLp1JkTWfxByXysGyB7MBDURYJAzAGJLR3XSEV9Nq8wFFdDVXVTwvCwR7Ne2dcUveamjXbvZf3on6T", "foo",
		"p2pk66vAYU7rN1ckJMp38Z9pXCrkiZCVyi6KyeMwhY69h5WDPHdMecH",
	},
	{
		"sandbox", "edskRhxswacLW6jF6ULavDdzwqnKJVS4UcDTNiCyiH6H8ZNnn2pmNviL7pRNz9kRxxaWQFzEQEcZExGHKbwmuaAcoMegj5T99z", "",
		"edpkuSLWfVU1Vq7Jg9FucPyKmma6otcMHac9zG4oU1KMHSTBpJuGQ2",
	},
	{
		"sandbox", "edskRuR1azSfboG86YPTyxrQgosh5zChf5bVDmptqLTb5EuXAm9rsnDYfTKhq7rDQujdn5WWzwUMeV3agaZ6J2vPQT58jJAJPi", "",
		"edpkuBknW28nW72KG6RoHtYW7p12T6GKc7nAbwYX5m8Wd9sDVC9yav",
	},
	{
		"sandbox", "edsk3gUfUPyBSfrS9CCgmCiQsTCHGkviBDusMxDJstFtojtc1zcpsh", "",
		"edpkuBknW28nW72KG6RoHtYW7p12T6GKc7nAbwYX5m8Wd9sDVC9yav",
	},
}

// Each published key is read. Its public key is the published one or, where none was
// published, the one that tzgo computes.
func TestParseSecretKeyReadsPublishedKeys(t *testing.T) {
	t.Parallel()
	for _, c := range secretTexts {
		ask := noPassphrase
		if c.passphrase != "" {
			ask = phrase(c.passphrase)
		}
		want := c.public
		if want == "" {
			want = tzgo.MustParsePrivateKey(c.text).Public().String()
		}
		for _, text := range []string{c.text, " \n" + c.text + "\r\n", "unencrypted:" + c.text, "encrypted:" + c.text} {
			key, err := tezos.ParseSecretKey([]byte(text), ask)
			if err != nil {
				t.Errorf("%s %s…: %v", c.source, c.text[:5], err)
				continue
			}
			if got := key.PublicKey().String(); got != want {
				t.Errorf("%s %s…: public key %s, want %s", c.source, c.text[:5], got, want)
			}
		}
	}
}

// Encrypted keys of Octez's test_encrypted.ml, each with the clear key in it.
func TestParseSecretKeyDecryptsAsOctez(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{
			"edesk1oGXxunJ5FTGpQ6o1xdop8VGKdT36Fj7LwWF9HLjzEqaCC4V6tdRVN1jaeJTfCHS8bYf7U2YhMK2yW6jSUy",
			"edsk3kMNLNdzLPbbABASDLARft8JRZ3Wpwibn8SMAb4KmuWSMJmAFd",
		},
		{
			"edesk1s4xEifbUdUkghHHimbNUuyQ4eidDVJdc8JtPRUon758hBqZNZsQxadUDFRSRiUdLoFqBG35HAiLKafyczw",
			"edsk3Kqr8VHRx9kmR8Pj5qRGcmvQH34cForiMaMz1Ahhq5DkZp7FxJ",
		},
		{
			"edesk1zY5jEs4QXrF9tXxFq1mfW9PkatdRxCKQ2Q598y5LLz65nQj4eWxefYFp8YLerya1haRdGe5NWckHDb5ApM",
			"edsk2mBu4w9sMGhryvvXK53dXgpcNdZWi8pJQ1QL2rAgRPrE5y12az",
		},
		{
			"spesk2CXQHDbzrcNatRzmg83Dto6kX6BWwpP2zGs4Zks9LDsXzaX6mAYRj5ZrrdgyZQap4DS9YRRLNSpaVC2TSsk",
			"spsk24attf9uuQ7PUKFHxTm6E3TMqB6SPkFiMbXPBur7JNrvupW2xg",
		},
		{
			"spesk1upiFp23osWSUTgHcx8DCVpTrMr9xtdqVQkQDWj5sFG7vqcWLDaNv9AKKcF27Nb266YfuAGF2hEbcyAxHmK",
			"spsk2H32XfWL7MkW58r76q6Yu5tJg77YGgVyjwq7EvLUHhn4JmAtEG",
		},
		{
			"spesk1w7d68hzTWJusk5Xn5oz8EgDXbotDW9BXb5ksFjr8Jd94Kxnu5yKAhgRszojhMUoJ1EEt5BtPpGpkgCjELq",
			"spsk3KQ56REAUGc6Gn87xCRnWyPwR2Un667vegQVuU16ZcgNyLCooh",
		},
		{
			"p2esk2JMFpR9yaSpgsaKQYLqFnv16t4gowJ4cgjj7D7iMfoaJz2vZuH7Tdi11MrX6FC2yhfs2nvy5VRxAvzH1STE",
			"p2sk2YQcwF5h7qgRztocEMrfizUwZaM41f4v7zWneiig2Y5AxajqYC",
		},
		{
			"p2esk1nfobVL73mY5Y18W8Ltb3Vm6Nf5Th7trN3yA3ucyyP4AH93XfyRatkh9AxxaDtnju1EtArykjroEQHDT97k",
			"p2sk2XiSoQC9tvejVBDJyvkbHUq2kvcQHdJJ2wM8rii228DkjKV2b5",
		},
		{
			"p2esk2Ge1jrVak7NhxksimzaQjRCTLx5vxUZ4Akgq3spGQLx6N41h6aKXeEYDgxN5eztnPwD6QiCHCfVAKXLPNm8",
			"p2sk3ZsfsEaxDNn74orv91Ruu35fomzF373aT9ForA4fDo54c47o6H",
		},
	} {
		key, err := tezos.ParseSecretKey([]byte(c[0]), phrase("ahThie5H"))
		if err != nil {
			t.Errorf("%s…: %v", c[0][:8], err)
			continue
		}
		clearKey, err := tezos.ParseSecretKey([]byte(c[1]), noPassphrase)
		if err != nil {
			t.Fatal(err)
		}
		if string(key.Bytes()) != string(clearKey.Bytes()) || key.PublicKey() != clearKey.PublicKey() {
			t.Errorf("%s… is not %s…", c[0][:8], c[1][:8])
		}
	}
}

// The passphrase is zeroed, and an error of the function that asks for it is passed on.
func TestPassphrase(t *testing.T) {
	t.Parallel()
	text := []byte("edesk1oGXxunJ5FTGpQ6o1xdop8VGKdT36Fj7LwWF9HLjzEqaCC4V6tdRVN1jaeJTfCHS8bYf7U2YhMK2yW6jSUy")
	for _, words := range []string{"ahThie5H", "ahThie5h", "ahThie5H ", ""} {
		answer := []byte(words)
		key, err := tezos.ParseSecretKey(text, func() ([]byte, error) { return answer, nil })
		if right := words == "ahThie5H"; right != (err == nil) || !right && !errors.Is(err, tezos.ErrWrongPassphrase) ||
			right != (key != nil) {
			t.Errorf("%q: %v", words, err)
		}
		if string(answer) != strings.Repeat("\x00", len(words)) {
			t.Errorf("%q: not zeroed", words)
		}
	}
	gone := errors.New("nobody there")
	if key, err := tezos.ParseSecretKey(text, func() ([]byte, error) { return nil, gone }); !errors.Is(err, gone) ||
		key != nil {
		t.Errorf("no passphrase: %v", err)
	}
}

func TestParseSecretKeyRefuses(t *testing.T) {
	t.Parallel()
	const good = "edsk3kMNLNdzLPbbABASDLARft8JRZ3Wpwibn8SMAb4KmuWSMJmAFd"
	for name, c := range map[string]struct{ text, want string }{
		"nothing":         {"", "not a secret key"},
		"hex":             {strings.Repeat("0f", 32), "not a secret key"},
		"a mistyped key":  {strings.Replace(good, "NLN", "NLM", 1), "not base58check"},
		"not base58":      {strings.Replace(good, "NLN", "N0N", 1), "not base58check"},
		"beyond ASCII":    {strings.Replace(good, "NL", "é", 1), "not base58check"},
		"too large":       {"edsk" + strings.Repeat("z", 50), "not base58check"},
		"cut short":       {good[:53], "edsk… has 53 characters, want 54 or 98"},
		"one more":        {good + "1", "edsk… has 55 characters, want 54 or 98"},
		"two keys":        {good + "\n" + good, "edsk… has 109 characters"},
		"spsk cut short":  {"spsk24attf9uuQ7PUKFHxTm6E3TMqB6SPkFiMbXPBur7JNrvupW2x", "spsk… has 53 characters, want 54"},
		"edesk cut short": {"edesk1oGX", "edesk… has 9 characters, want 88"},
		"tz4":             {"BLsk1o1S8oAG76r3o3aJr1gbVhNdDnAMsdy1yMfwHLWwUHfAeyEXHV", "tz4"},
		"tz4 encrypted": {
			"BLesk1ExnCaFxVcGFvKFQrPs2AADo2KpukB6bhA8SLASRzZ58uqvSNUNyzdNdya5NPgE1BAFwcN3wtyFv76r1GJ9", "tz4",
		},
		"tz5":          {"mdsk1", "tz5"},
		"a public key": {"edpkuBknW28nW72KG6RoHtYW7p12T6GKc7nAbwYX5m8Wd9sDVC9yav", "public key"},
		"no PEM":       {"-----BEGIN NOTHING", "does not end"},
		"prefix of other": {
			"edsk" + "3kMNLNdzLPbbABASDLARft8JRZ3Wpwibn8SMAb4KmuWSMJmAFdPbbABASDLARft8JRZ3Wpwibn8SMAb4KmuWSMJmAFd12345"[:94],
			"not base58check",
		},
		"98 of other keys": {otherHalf(t), "belongs to another key"},
		"a digit of -1":    {minusOne(t), "not base58check"},
		"another magic":    {encodeSecret("\x0d\x0f\x3a\x08", make([]byte, 32)), "not base58check"},
		"zero scalar":      {encodeSecret("\x11\xa2\xe0\xc9", make([]byte, 32)), "group order"},
		"order of P-256":   {encodeSecret("\x10\x51\xee\xbd", elliptic.P256().Params().N.Bytes()), "group order"},
	} {
		key, err := tezos.ParseSecretKey([]byte(c.text), noPassphrase)
		if err == nil || key != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
			continue
		}
		if len(c.text) > 20 && strings.Contains(err.Error(), c.text[6:16]) {
			t.Errorf("%s: the error quotes it: %v", name, err)
		}
	}
}

// otherHalf returns an edsk of 98 characters whose public half belongs to another seed.
func otherHalf(t *testing.T) string {
	t.Helper()
	seed := make([]byte, 32)
	public := ed25519.NewKeyFromSeed([]byte(strings.Repeat("x", 32)))[32:]
	return encodeSecret("\x2b\xf6\x4e\x07", append(seed, public...))
}

// minusOne returns a good key in which the digits 1 and z are replaced by 2 and a
// character before 1.
func minusOne(t *testing.T) string {
	t.Helper()
	seed := make([]byte, 32)
	for {
		text := encodeSecret("\x0d\x0f\x3a\x07", seed)
		if at := strings.Index(text, "1z"); at > 4 {
			return text[:at] + "20" + text[at+2:]
		}
		if seed[31]++; seed[31] == 0 {
			seed[30]++
		}
	}
}

func TestNewSecretKey(t *testing.T) {
	t.Parallel()
	order, _ := hex.DecodeString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141") // SEC 2 section 2.4.1
	one := append(make([]byte, 31), 1)
	for _, c := range []struct {
		kind tezos.KeyKind
		raw  []byte
		ok   bool
	}{
		{tezos.Ed25519, make([]byte, 32), true},
		{tezos.Ed25519, make([]byte, 31), false},
		{tezos.Ed25519, make([]byte, 33), false},
		{tezos.Secp256k1, one, true},
		{tezos.Secp256k1, make([]byte, 32), false},
		{tezos.Secp256k1, order, false},
		{tezos.P256, one, true},
		{tezos.P256, make([]byte, 32), false},
		{tezos.P256, elliptic.P256().Params().N.Bytes(), false},
		{tezos.BLS12381, one, false},
		{tezos.MLDSA44, one, false},
	} {
		key, err := tezos.NewSecretKey(c.kind, c.raw)
		if (err == nil) != c.ok || (key != nil) != c.ok {
			t.Errorf("%v %x: %v", c.kind, c.raw, err)
		}
	}
}

// The point of the scalar 1 is the generator, of SEC 2 section 2.4.1 and FIPS 186-4
// section D.1.2.3. An Ed25519 key has no other form.
func TestPointIsUncompressed(t *testing.T) {
	t.Parallel()
	one := append(make([]byte, 31), 1)
	for kind, want := range map[tezos.KeyKind]string{
		tezos.Secp256k1: "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798" +
			"483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
		tezos.P256: "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296" +
			"4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
	} {
		key, err := tezos.NewSecretKey(kind, one)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(key.PublicKey().Point()); got != want {
			t.Errorf("%v: %s, want %s", kind, got, want)
		}
	}
	key, err := tezos.NewSecretKey(tezos.Ed25519, one)
	if err != nil {
		t.Fatal(err)
	}
	if public := key.PublicKey(); string(public.Point()) != string(public.Bytes()) {
		t.Errorf("tz1: %x", public.Point())
	}
}

var _ slog.LogValuer = tezos.SecretKey{}

func TestSecretKeyIsNeverPrinted(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("s", 32)
	key, err := tezos.NewSecretKey(tezos.Ed25519, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	marshalled, err := json.Marshal(map[string]any{"key": key, "value": *key})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", key, "value", *key)
	printed := []string{string(marshalled), log.String(), key.String(), key.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		printed = append(printed, fmt.Sprintf(verb, key), fmt.Sprintf(verb, *key),
			fmt.Sprintf(verb, struct{ K *tezos.SecretKey }{key}))
	}
	for _, text := range printed {
		for _, leak := range []string{secret[:4], hex.EncodeToString([]byte(secret[:4])), "115 115"} {
			if strings.Contains(text, leak) {
				t.Errorf("printed as %s", text)
			}
		}
	}
	key.Zero()
	if string(key.Bytes()) != strings.Repeat("\x00", 32) {
		t.Error("not zeroed")
	}
}
