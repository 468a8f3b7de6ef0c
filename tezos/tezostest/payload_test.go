package tezostest_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	"pawl/tezos"
	"pawl/tezos/tezostest"
)

// Published keys of the three kinds.
var keys = []string{
	"edpkuNAzCD3GStoazVVQZ1Xb9yvREPTCh97jgcd5d6g1ekJn7Kzk6i",
	"sppk7bGD91TUq16Fee3Qic3VBZbzQ5hMhqDery4ghd1Gww2aT2cLcYJ",
	"p2pk66EnR4uFKpTmZj9z5Fg9J2J8KmLb7LCwZe5QPySs8JurcTP1PXM",
}

func TestConsensus(t *testing.T) {
	t.Parallel()
	other := tezos.ChainID{1, 2, 3, 4}
	for _, kind := range []tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation} {
		for _, chain := range []tezos.ChainID{tezostest.Mainnet, other} {
			p := tezostest.Consensus(chain, kind, 77, 5, tezostest.PayloadHash(9))
			got, err := tezos.ParseRequest(p, tezos.PublicKeyHash{byte(tezos.P256)})
			if err != nil {
				t.Fatalf("%v: %v", kind, err)
			}
			want := tezos.Consensus{Kind: kind, ChainID: chain, Level: 77, Round: 5}
			if got != want {
				t.Errorf("%v: %+v, want %+v", kind, got, want)
			}
		}
	}
}

func TestVariantsConflict(t *testing.T) {
	t.Parallel()
	for kind, build := range map[tezos.Kind]func(level, round int32, variant uint64) []byte{
		tezos.Block:          tezostest.Block,
		tezos.Preattestation: tezostest.Preattestation,
		tezos.Attestation:    tezostest.Attestation,
	} {
		one, two := build(7, 1, 0), build(7, 1, 1<<40)
		if want := tezostest.Consensus(tezostest.Mainnet, kind, 7, 1, tezostest.PayloadHash(0)); !bytes.Equal(one, want) {
			t.Errorf("%v: %x, want %x", kind, one, want)
		}
		first, err := tezos.ParseRequest(one, tezos.PublicKeyHash{})
		if err != nil {
			t.Fatal(err)
		}
		second, err := tezos.ParseRequest(two, tezos.PublicKeyHash{})
		if err != nil || first != second || bytes.Equal(one, two) {
			t.Errorf("%v: %+v and %+v, %v: want one slot and other bytes", kind, first, second, err)
		}
	}
}

func TestOperations(t *testing.T) {
	t.Parallel()
	for _, text := range keys {
		key, err := tezos.ParsePublicKey(text)
		if err != nil {
			t.Fatal(err)
		}
		for want, p := range map[tezos.OperationKind][]byte{
			"reveal":       tezostest.Reveal(key),
			"transaction":  tezostest.Transaction(key.Hash()),
			"failing_noop": tezostest.Noop(100),
		} {
			request, err := tezos.ParseRequest(p, key.Hash())
			if err != nil {
				t.Errorf("%s of %s: %v", want, text, err)
				continue
			}
			operation, ok := request.(tezos.Operation)
			if !ok || len(operation.Contents) != 1 || operation.Contents[0].Kind != want {
				t.Errorf("%s of %s: %+v", want, text, request)
			}
		}
	}
	for _, size := range []int{38, 39, 32_705} {
		if got := len(tezostest.Noop(size)); got != size {
			t.Errorf("%d bytes, want %d", got, size)
		}
	}
}

func TestQuoted(t *testing.T) {
	t.Parallel()
	p := tezostest.Attestation(1, 0, 0)
	if got, want := string(tezostest.Quoted(p)), fmt.Sprintf("%q\n", hex.EncodeToString(p)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
