package fault_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"pawl/ratchet"
	"pawl/tezos"
)

// TestConflictingRequests has 500 clients, each on a connection of its own, ask
// for different payloads of one slot: one gets a signature. After kill -9 and a
// restart all ask again: the same one gets the same bytes.
func TestConflictingRequests(t *testing.T) {
	t.Parallel()
	const callers = 500
	r := newRig(t)
	crowds := make([][]ask, len(r.keys))
	for i, key := range r.keys {
		mark := ratchet.Mark{Key: key.Hash(), ChainID: chain, Kind: tezos.Block, Level: 34, Round: 3}
		for variant := range callers {
			crowds[i] = append(crowds[i], ask{mark, variant})
		}
	}
	first := r.start(t)
	winners := make([]answer, len(crowds))
	for i, crowd := range crowds {
		winners[i] = onlyWinner(t, r.postAll(first, crowd, nil))
	}
	first.kill()

	second := r.start(t)
	for i, crowd := range crowds {
		answers := r.postAll(second, crowd, nil)
		// Whoever found the queue full asks again, a few at a time.
		for j, a := range answers {
			if a.status == http.StatusServiceUnavailable {
				answers[j] = r.post(second, a.ask)
			}
		}
		if got := onlyWinner(t, answers); got != winners[i] {
			t.Errorf("after the restart %v, want %v", got, winners[i])
		}
	}
	for _, a := range slices.Concat(crowds...) {
		if made := r.card.between(a.digest(), second.started, time.Now()); len(made) > 0 {
			t.Errorf("%v: the card signed again after the restart", a)
		}
	}
	if err := r.oracle.verdict(); err != nil {
		t.Error(err)
	}
}

// onlyWinner wants one answer with a signature and refusals for all others.
func onlyWinner(t *testing.T, answers []answer) (winner answer) {
	t.Helper()
	count := make(map[int]int)
	for _, a := range answers {
		count[a.status]++
		if a.status == http.StatusOK {
			winner = a
		}
		if a.err != nil {
			t.Error(a)
		}
	}
	if count[http.StatusOK] != 1 || count[http.StatusConflict]+count[http.StatusServiceUnavailable] != len(answers)-1 {
		t.Errorf("%d requests got %v, want one 200 and otherwise 409 and 503", len(answers), count)
	}
	return winner
}
