package tezos_test

import (
	"encoding/hex"
	"fmt"

	"pawl/tezos"
)

func Example() {
	key, err := tezos.ParsePublicKeyHash("tz1KqTpEZ7Yob7QbPE4Hy4Wo8fHG8LhKxZSx")
	if err != nil {
		fmt.Println(err)
		return
	}
	payload, err := hex.DecodeString("12b3d79f993222f293d2f293230ec36b0bef1caead619f1a7206ff54a0c198f07ae25bb151" +
		"140014000000220000000458335430566f4b95401c110f33e74d3a324f83ad6003ed9d5e93ce617fa11e44")
	if err != nil {
		fmt.Println(err)
		return
	}

	request, err := tezos.ParseRequest(payload, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	if c, ok := request.(tezos.Consensus); ok {
		fmt.Println(c.Kind, c.ChainID, c.Level, c.Round)
	}

	_, err = tezos.ParseRequest(payload[:79], key)
	fmt.Println(err)
	// Output:
	// preattestation NetXo5iVw1vBoxM 34 4
	// malformed payload: unknown consensus layout: tag 0x14, 79 bytes (offset 79)
}
