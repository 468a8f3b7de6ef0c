package sqlite_test

import (
	"errors"
	"sync"
	"testing"

	"pawl/ratchet"
	"pawl/tezos"
)

// TestTenThousandConflicts has 10,000 different payloads ask for one slot.
func TestTenThousandConflicts(t *testing.T) {
	t.Parallel()
	const payloads = 10_000
	path := newFile(t)
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 0)
	var c card
	winners := conflict(t, db, payloads, &c)
	if len(winners) != 1 {
		t.Fatalf("%d payloads of one slot were signed: %v", len(winners), winners)
	}
	if calls := c.Calls.Load(); calls != 1 {
		t.Errorf("%d sign calls, want 1", calls)
	}
	abandon(t, db)

	db = open(t, path, options{})
	var later card
	for payload, first := range winners {
		release, err := db.Sign(t.Context(), block(100, 0), bytesNumber(payload), later.Sign(bytesNumber(payload)))
		if err != nil || release.Signature != first {
			t.Errorf("after a kill payload %d got %+v, %v, want %s", payload, release, err, first)
		}
	}
	for payload, second := range conflict(t, db, payloads, &later) {
		if first, won := winners[payload]; !won || second != first {
			t.Errorf("after a kill payload %d got %s, before it %s", payload, second, first)
		}
	}
	if calls := later.Calls.Load(); calls != 0 {
		t.Errorf("%d sign calls after a kill, want none", calls)
	}
}

// conflict asks for all payloads at once and returns those that were signed.
func conflict(t *testing.T, db *DB, payloads int, c *card) map[int]tezos.Signature {
	t.Helper()
	var (
		mu      sync.Mutex
		winners = make(map[int]tezos.Signature)
		all     sync.WaitGroup
		start   = make(chan struct{})
	)
	for payload := range payloads {
		all.Go(func() {
			<-start
			d := bytesNumber(payload)
			release, err := db.Sign(t.Context(), block(100, 0), d, c.Sign(d))
			switch {
			case err == nil:
				mu.Lock()
				defer mu.Unlock()
				winners[payload] = release.Signature
			case !errors.Is(err, ratchet.ErrRefused) && !errors.Is(err, ratchet.ErrQueueFull):
				t.Errorf("payload %d: %v", payload, err)
			}
		})
	}
	close(start)
	all.Wait()
	return winners
}
