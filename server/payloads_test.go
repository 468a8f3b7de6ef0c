package server_test

import (
	"encoding/hex"
	"testing"

	"pawl/tezos/tezostest"
)

// quoted returns payload as octez-client sends it.
func quoted(payload []byte) string { return string(tezostest.Quoted(payload)) }

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// block returns step 1 of the watermark scenario.
func block(t *testing.T) []byte {
	t.Helper()
	return unhex(t, scenario(t)[0].Hex)
}
