package grep11_test

import (
	"encoding/hex"
	"fmt"
	"testing"

	"pawl/signer/grep11"
	"pawl/softcard"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// dialSoftcard runs a software card until the test ends.
func dialSoftcard(t *testing.T, dialect grep11.Dialect) *grep11.Client {
	t.Helper()
	return dialCard(t, cardtest.New(t, 1), dialect)
}

func dialCard(t *testing.T, card *softcard.Card, dialect grep11.Dialect) *grep11.Client {
	t.Helper()
	cfg := cardtest.Serve(t, card, "").Config()
	cfg.Dialect = dialect
	return cardtest.Dial(t, cfg)
}

// signs checks that a key of the card makes signatures that its public key verifies.
func signs(t *testing.T, client *grep11.Client, generated grep11.Generated) {
	t.Helper()
	key, err := client.Key(generated.PublicKey, generated.Blob)
	if err != nil {
		t.Fatal(err)
	}
	message := tezos.NewMessage([]byte("on the card"))
	signature, err := key.Sign(t.Context(), message)
	if err != nil {
		t.Fatalf("%v: %v", generated.PublicKey, err)
	}
	if err := generated.PublicKey.Verify(message, signature); err != nil {
		t.Errorf("%v: %v", generated.PublicKey, err)
	}
}

func TestImportOnTheSoftwareCard(t *testing.T) {
	t.Parallel()
	for _, dialect := range []grep11.Dialect{grep11.Both, grep11.V1, grep11.V2} {
		client := dialSoftcard(t, dialect)
		for _, kind := range importKinds {
			secret := secretOf(t, kind)
			imported, err := client.Import(t.Context(), secret)
			if err != nil {
				t.Fatalf("%s %v: %v", dialect, kind, err)
			}
			if imported.PublicKey != secret.PublicKey() {
				t.Errorf("%s %v: %v, want %v", dialect, kind, imported.PublicKey, secret.PublicKey())
			}
			header, err := imported.Blob.Header()
			if err != nil || header.BornInHSM() || header.Extractable {
				t.Errorf("%s %v: %+v, %v", dialect, kind, header, err)
			}
			signs(t, client, imported)
		}
	}
}

// The test vectors of SLIP-0010: the public key for a seed, a curve and a path.
var slip10 = []struct {
	seed   string
	kind   tezos.KeyKind
	path   []uint32
	public string
}{
	{slipSeed, tezos.Secp256k1, []uint32{h0}, "035a784662a4a20a65bf6aab9ae98a6c068a81c52e4b032c0fb5400c706cfccc56"},
	{slipSeed, tezos.Secp256k1, []uint32{h0, 1}, "03501e454bf00751f24b1b489aa925215d66af2234e3891c3b21a52bedb3cd711c"},
	{
		slipSeed, tezos.Secp256k1,
		[]uint32{h0, 1, h0 + 2},
		"0357bfe1e341d01c69fe5654309956cbea516822fba8a601743a012a7896ee8dc2",
	},
	{
		slipSeed, tezos.Secp256k1,
		[]uint32{h0, 1, h0 + 2, 2},
		"02e8445082a72f29b75ca48748a914df60622a609cacfce8ed0e35804560741d29",
	},
	{
		slipSeed, tezos.Secp256k1,
		[]uint32{h0, 1, h0 + 2, 2, 1000000000},
		"022a471424da5e657499d1ff51cb43c47481a03b1e77f951fe64cec9f5a48f7011",
	},
	{slipSeed, tezos.P256, []uint32{h0}, "0384610f5ecffe8fda089363a41f56a5c7ffc1d81b59a612d0d649b2d22355590c"},
	{slipSeed, tezos.P256, []uint32{h0, 1}, "03526c63f8d0b4bbbf9c80df553fe66742df4676b241dabefdef67733e070f6844"},
	{slipSeed, tezos.P256, []uint32{h0, 1, h0 + 2}, "0359cf160040778a4b14c5f4d7b76e327ccc8c4a6086dd9451b7482b5a4972dda0"},
	{
		slipSeed, tezos.P256,
		[]uint32{h0, 1, h0 + 2, 2},
		"029f871f4cb9e1c97f9f4de9ccd0d4a2f2a171110c61178f84430062230833ff20",
	},
	{
		slipSeed, tezos.P256,
		[]uint32{h0, 1, h0 + 2, 2, 1000000000},
		"02216cd26d31147f72427a453c443ed2cde8a1e53c9cc44e5ddf739725413fe3f4",
	},
	// derivation retry
	{slipSeed, tezos.P256, []uint32{h0 + 28578}, "02519b5554a4872e8c9c1c847115363051ec43e93400e030ba3c36b52a3e70a5b7"},
	// derivation retry
	{
		slipSeed, tezos.P256,
		[]uint32{h0 + 28578, 33941},
		"0235bfee614c0d5b2cae260000bb1d0d84b270099ad790022c1ae0b2e782efe120",
	},
	{slipSeed, tezos.Ed25519, []uint32{h0}, "8c8a13df77a28f3445213a0f432fde644acaa215fc72dcdf300d5efaa85d350c"},
	{slipSeed, tezos.Ed25519, []uint32{h0, h0 + 1}, "1932a5270f335bed617d5b935c80aedb1a35bd9fc1e31acafd5372c30f5c1187"},
	{
		slipSeed, tezos.Ed25519,
		[]uint32{h0, h0 + 1, h0 + 2},
		"ae98736566d30ed0e9d2f4486a64bc95740d89c7db33f52121f8ea8f76ff0fc1",
	},
	{
		slipSeed, tezos.Ed25519,
		[]uint32{h0, h0 + 1, h0 + 2, h0 + 2},
		"8abae2d66361c879b900d204ad2cc4984fa2aa344dd7ddc46007329ac76c429c",
	},
	{
		slipSeed, tezos.Ed25519,
		[]uint32{h0, h0 + 1, h0 + 2, h0 + 2, h0 + 1000000000},
		"3c24da049451555d51a7014a37337aa4e12d41e485abccfa46b47dfb2af54b7a",
	},
}

const (
	h0       = grep11.Hardened
	slipSeed = "000102030405060708090a0b0c0d0e0f"
)

func TestDerivePublishedVectors(t *testing.T) {
	t.Parallel()
	client := dialSoftcard(t, grep11.Both)
	for _, c := range slip10 {
		seed, err := hex.DecodeString(c.seed)
		if err != nil {
			t.Fatal(err)
		}
		blob, err := client.ImportSeed(t.Context(), seed)
		if err != nil {
			t.Fatal(err)
		}
		derived, err := client.Derive(t.Context(), c.kind, blob, c.path)
		if err != nil {
			t.Errorf("%v %v: %v", c.kind, c.path, err)
			continue
		}
		if got := hex.EncodeToString(derived.PublicKey.Bytes()); got != c.public {
			t.Errorf("%v %v: %s, want %s", c.kind, c.path, got, c.public)
		}
		signs(t, client, derived)
	}
}

// A seed that the card made derives a different key for each path, and the same one each time.
func TestDeriveFromAGeneratedSeed(t *testing.T) {
	t.Parallel()
	for _, dialect := range []grep11.Dialect{grep11.V1, grep11.V2} {
		client := dialSoftcard(t, dialect)
		seed, err := client.GenerateSeed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[tezos.PublicKey]string)
		for _, kind := range importKinds {
			for _, path := range [][]uint32{{h0}, {h0 + 1}, {h0, h0}} {
				first, err := client.Derive(t.Context(), kind, seed, path)
				if err != nil {
					t.Fatalf("%s %v %v: %v", dialect, kind, path, err)
				}
				again, err := client.Derive(t.Context(), kind, seed, path)
				if err != nil || again.PublicKey != first.PublicKey {
					t.Errorf("%s %v %v: %v, then %v, %v", dialect, kind, path, first.PublicKey, again.PublicKey, err)
				}
				if other, double := seen[first.PublicKey]; double {
					t.Errorf("%v %v is %s", kind, path, other)
				}
				seen[first.PublicKey] = fmt.Sprint(kind, path)
				signs(t, client, first)
			}
		}
	}
}
