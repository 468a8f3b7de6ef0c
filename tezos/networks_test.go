package tezos_test

import (
	"strings"
	"testing"

	"blockwatch.cc/tzgo/base58"
	"golang.org/x/crypto/blake2b"

	"pawl/tezos"
)

// The hashes of genesis blocks, from Octez src/lib_node_config/config_file.ml and its copy in
// tezt/lib_tezos/node.ml.
var genesis = map[string]struct{ block, chain string }{
	"mainnet":    {"BLockGenesisGenesisGenesisGenesisGenesisf79b5d1CoW2", "NetXdQprcVkpaWU"},
	"shadownet":  {"BMJTFWBgqGUzsvW4JLS1XuCYnpH18pBsLb5UvPCv2eiNC5vUeps", "NetXsqzbfFenSTS"},
	"ghostnet":   {"BLockGenesisGenesisGenesisGenesisGenesis1db77eJNeJ9", "NetXnHfVqm9iesp"},
	"seoulnet":   {"BLQGRyv3v92oE9iM4BGWwWpy6NxcDFPb7NLsNeuRVr3TYidU7MC", "NetXd56aBs1aeW3"},
	"tallinnnet": {"BMQuJ7YgLaLUiyiSWmGma5LwkEFBAmksDFmocyEUe59yVav7wfC", "NetXe8DbhW9A1eS"},
}

// Each chain id is that of its genesis block.
func TestNetworks(t *testing.T) {
	t.Parallel()
	if got := len(tezos.Networks()); got != len(genesis) {
		t.Errorf("%d networks, want %d", got, len(genesis))
	}
	for _, network := range tezos.Networks() {
		want, known := genesis[network.Name]
		if !known {
			t.Errorf("%s: no genesis block is known", network.Name)
			continue
		}
		raw, _, err := base58.CheckDecode(want.block, 2, nil) // the prefix of block hashes has two bytes
		if err != nil || len(raw) != 32 {
			t.Fatalf("%s: %d bytes, %v", want.block, len(raw), err)
		}
		hash := blake2b.Sum256(raw)
		if got := tezos.ChainID(hash[:4]); got != network.ChainID || got.String() != want.chain {
			t.Errorf("%s: chain %v (% x), of the genesis block %v (% x), want %s", network.Name, network.ChainID,
				network.ChainID[:], got, got[:], want.chain)
		}
	}
}

func TestParseChain(t *testing.T) {
	t.Parallel()
	for name, want := range genesis {
		for _, text := range []string{name, strings.ToUpper(name), want.chain} {
			if got, err := tezos.ParseChain(text); err != nil || got.String() != want.chain {
				t.Errorf("%s: %v, %v, want %s", text, got, err, want.chain)
			}
		}
	}
	for text, want := range map[string]string{
		"":                "neither a chain id",
		"main":            "neither a chain id",
		"mainnet ":        "neither a chain id",
		"NetXdQprcVkpaWV": "not base58check",
		"NetX":            "has 4 characters, want 15",
	} {
		if got, err := tezos.ParseChain(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want an error with %q", text, got, err, want)
		}
	}
}
