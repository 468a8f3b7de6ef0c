package ratchet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// A slot gets one signature. The same bytes get it again, without a call of the HSM; other bytes are
// refused.
func Example() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "ratchet")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder) //nolint:errcheck // of an example
	path := filepath.Join(folder, "ratchet.db")
	if err := sqlite.Create(ctx, path); err != nil {
		fmt.Println(err)
		return
	}
	store, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := ratchet.New(store, ratchet.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close() //nolint:errcheck // of an example

	m := ratchet.Mark{Key: ratchettest.Baker, ChainID: ratchettest.Mainnet, Kind: tezos.Block, Level: 34, Round: 4}
	payload, other := tezos.NewMessage([]byte("a block")), tezos.NewMessage([]byte("another block"))
	hsm := func(_ context.Context, m tezos.Message) (tezos.Signature, error) {
		fmt.Println("the HSM is asked")
		return ratchettest.SignatureFrom(m, 0), nil
	}
	_, err = r.Change(ctx, ratchet.Registering(ratchet.Registration{Key: m.Key, ChainID: m.ChainID, FromLevel: 30}))
	fmt.Println(err)
	for _, message := range []tezos.Message{payload, payload, other} {
		release, err := r.Sign(ctx, m, message, hsm)
		fmt.Println(release.Stored, err)
	}
	// Output:
	// <nil>
	// the HSM is asked
	// false <nil>
	// true <nil>
	// false block level 34 and round 4 already signed with different data
}

func ExampleRefusedError() {
	err := error(&ratchet.RefusedError{
		Reason: ratchet.BelowWatermark,
		Mark:   ratchet.Mark{Kind: tezos.Block, Level: 34, Round: 3},
		Level:  34, Round: 4,
	})
	fmt.Println(err)
	fmt.Println(errors.Is(err, ratchet.ErrRefused))
	// Output:
	// block level 34 and round 3 not above high watermark (34,4)
	// true
}
