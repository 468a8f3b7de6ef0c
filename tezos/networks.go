package tezos

import (
	"fmt"
	"strings"
)

// Network is a public network and its chain.
type Network struct {
	Name    string // as octez-node config init --network takes it
	ChainID ChainID
}

// networks are the public networks that octez-node knew by name from 2022 to Octez 25. Each id
// is the first four bytes of the BLAKE2b-256 hash of the genesis block's hash, which is in
// src/lib_node_config/config_file.ml.
var networks = [...]Network{
	{"mainnet", ChainID{0x7a, 0x06, 0xa7, 0x70}},    // NetXdQprcVkpaWU
	{"shadownet", ChainID{0xd0, 0x52, 0x21, 0x8e}},  // NetXsqzbfFenSTS
	{"ghostnet", ChainID{0xaf, 0x18, 0x64, 0xd9}},   // NetXnHfVqm9iesp
	{"seoulnet", ChainID{0x77, 0xfe, 0x09, 0xb1}},   // NetXd56aBs1aeW3
	{"tallinnnet", ChainID{0x7e, 0x4a, 0xec, 0x6d}}, // NetXe8DbhW9A1eS
}

// ParseChain reads a chain id, or the name of a public network in any case: mainnet, shadownet,
// ghostnet, seoulnet or tallinnnet.
func ParseChain(s string) (ChainID, error) {
	names := make([]string, len(networks))
	for i, n := range networks {
		if strings.EqualFold(s, n.Name) {
			return n.ChainID, nil
		}
		names[i] = n.Name
	}
	if !strings.HasPrefix(s, chainIDPrefix.text) {
		return ChainID{}, fmt.Errorf("neither a chain id, NetX…, nor one of %s: octez-client rpc get "+
			"/chains/main/chain_id tells the id", strings.Join(names, ", "))
	}
	return ParseChainID(s)
}

// Networks returns the networks that [ParseChain] knows by name.
func Networks() []Network { return append([]Network(nil), networks[:]...) }
