package sqlite_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"pawl/tezos"
)

// BenchmarkSign measures durable signatures without an HSM: one request at a
// time, and 64 at once on 64 keys, which share their commits.
func BenchmarkSign(b *testing.B) {
	for _, goroutines := range []int{1, 64} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			db := open(b, newFile(b), options{MaxLevelGap: 1<<31 - 1})
			for n := range goroutines {
				register(b, db, keyNumber(n), mainnet, 0)
			}
			b.ResetTimer()
			var all sync.WaitGroup
			for n := range goroutines {
				all.Go(func() { signLevels(b, db, keyNumber(n), b.N/goroutines+1) })
			}
			all.Wait()
		})
	}
}

func signLevels(b *testing.B, db *DB, key tezos.PublicKeyHash, levels int) {
	b.Helper()
	d := bytesNumber(0)
	signature := signatureFrom(d, 0)
	sign := func(context.Context, tezos.Message) (tezos.Signature, error) { return signature, nil }
	for level := range levels {
		m := block(int32(level), 0)
		m.Key = key
		if _, err := db.Sign(context.Background(), m, d, sign); err != nil {
			b.Error(err)
			return
		}
	}
}
