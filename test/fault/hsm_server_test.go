package fault_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"pawl/softcard"
	"pawl/tezos"
)

// TestHSMFaultsOfTheServer breaks the whole card for all keys: it is restarted in the
// middle of calls, is away, and gives its replies when their calls are over. The daemon
// comes back by itself each time.
func TestHSMFaultsOfTheServer(t *testing.T) {
	t.Parallel()
	h := newHSMRig(t)
	defer h.judge(t)
	random := partHSM.random()
	began := time.Now()
	for round := 0; !t.Failed() && partOfHSM.goesOn(began, round, 1); round++ {
		h.restartBeforeSigning(t)
		h.restartAfterSigning(t)
		h.politeRestart(t)
		h.away(t)
		h.lateReplies(t, random)
	}
}

// restartBeforeSigning ends the card while it has three calls and has signed nothing.
func (h *hsmRig) restartBeforeSigning(t *testing.T) {
	t.Helper()
	fault := &softcard.Fault{Call: "SignSingle", Hang: true, Times: len(h.keys)}
	h.restart(t, "restarted before it signed", fault, func() bool { return fault.Hits() == len(h.keys) })
}

// restartAfterSigning ends it when it has signed and not yet answered.
func (h *hsmRig) restartAfterSigning(t *testing.T) {
	t.Helper()
	before := h.card.total()
	fault := &softcard.Fault{Call: "SignSingle", Late: 300 * time.Millisecond, Times: len(h.keys)}
	h.restart(t, "restarted after it signed", fault, func() bool { return h.card.total() >= before+len(h.keys) })
}

// hsmRetryPause is what a transient fault lets pass before the second try (signer/hsm.go):
// a card that is back by then costs no slot.
const hsmRetryPause = time.Second

// restart ends the card without a word once all calls are there, and starts it again.
func (h *hsmRig) restart(t *testing.T, name string, fault *softcard.Fault, there func() bool) {
	t.Helper()
	asks := h.oneEach()
	h.soft.Card.SetFaults(fault)
	answers := make(chan []answer, 1)
	go func() { answers <- h.postAll(h.daemon, asks, nil) }()
	h.waitUntil(t, name, there)
	began := time.Now()
	h.soft.Card.Cut()
	h.soft.Stop()
	h.soft.Card.SetFaults()
	h.soft.Start(t)
	took := time.Since(began)
	status := http.StatusOK
	for _, a := range <-answers {
		if took > hsmRetryPause/2 && a.status == http.StatusInternalServerError {
			status = a.status // the machine is slow, and both tries have found nobody
		} else if a.err != nil || a.status != http.StatusOK {
			t.Errorf("the card was %s in %v: %v, want 200", name, took, a)
		}
		h.recovered(t, name, a)
	}
	h.allReady(t)
	total.happenedTimes(partHSM, "the card "+name, fmt.Sprintf("%d", status), len(asks))
}

// politeRestart ends the card as an operator does: the calls in flight are answered.
func (h *hsmRig) politeRestart(t *testing.T) {
	t.Helper()
	asks := h.oneEach()
	before := h.card.total()
	h.soft.Card.SetFaults(&softcard.Fault{Call: "SignSingle", Late: 300 * time.Millisecond, Times: len(asks)})
	answers := make(chan []answer, 1)
	go func() { answers <- h.postAll(h.daemon, asks, nil) }()
	h.waitUntil(t, "signatures before a stop", func() bool { return h.card.total() >= before+len(asks) })
	h.soft.Stop()
	h.soft.Card.SetFaults()
	h.soft.Start(t)
	for _, a := range <-answers {
		if made := h.card.between(a.digest(), time.Time{}, time.Now()); a.status != http.StatusOK || len(made) != 1 {
			t.Errorf("the card was stopped politely: %v from %d signatures, want 200 from one", a, len(made))
		}
		h.recovered(t, "stopped politely", a)
	}
	h.allReady(t)
	total.happenedTimes(partHSM, "the card stopped politely", "signed", len(asks))
}

// away has the card gone for longer than a request waits.
func (h *hsmRig) away(t *testing.T) {
	t.Helper()
	h.soft.Card.Cut()
	h.soft.Stop()
	for _, key := range h.keys {
		h.waitUnready(t, key, "")
	}
	asks := h.oneEach()
	answers := h.postAll(h.daemon, asks, nil)
	for _, a := range answers {
		if a.err != nil || a.status != http.StatusInternalServerError {
			t.Errorf("no card: %v, want 500", a)
		}
	}
	h.soft.Start(t)
	h.allReady(t)
	for _, a := range answers {
		h.recovered(t, "no card", a)
	}
	total.happenedTimes(partHSM, "the card is away", "500 and no key ready; ready again by itself", len(asks))
}

// lateReplies keeps all that the card says until both tries of a request are over and
// another request of the slot is in flight: three replies come at once, of which two
// are to calls that nobody waits for.
func (h *hsmRig) lateReplies(t *testing.T, random *rand.Rand) {
	t.Helper()
	i := slices.IndexFunc(h.keys, func(k tezos.PublicKey) bool { return k.Kind() == tezos.P256 }) // its signatures differ each time
	a := h.next(h.keys[i], kinds[random.IntN(len(kinds))])
	letGo := h.wire.hold()
	defer letGo()
	late := make(chan answer, 1)
	go func() { late <- h.ask(a) }()
	for _, key := range h.keys {
		h.waitUnready(t, key, "")
	}
	got := <-late
	if got.err != nil || got.status != http.StatusInternalServerError {
		t.Errorf("no reply in time: %v, want 500", got)
	}
	go func() { late <- h.ask(a.rival()) }()
	signed := func() []signature { return h.card.between(a.rival().digest(), time.Time{}, time.Now()) }
	h.waitUntil(t, "the other payload is with the card", func() bool { return len(signed()) == 1 })
	letGo()
	got = <-late
	if made := signed(); got.status != http.StatusOK || len(made) != 1 || !made[0].is(got.signature) {
		t.Errorf("between late replies: %v from %d signatures, want the one that the card made", got, len(made))
	}
	if made := h.card.between(a.digest(), time.Time{}, time.Now()); len(made) != 2 {
		t.Errorf("%d late replies, want 2", len(made))
	}
	h.want(t, "after its late replies", a, http.StatusConflict)
	h.allReady(t)
	total.happened(partHSM, "replies after both tries, in the middle of another request", "500, and the other request got its own")
}

// oneEach is a new slot of each key.
func (h *hsmRig) oneEach() (asks []ask) {
	for _, key := range h.keys {
		asks = append(asks, h.next(key, tezos.Block))
	}
	return asks
}

func (h *hsmRig) allReady(t *testing.T) {
	t.Helper()
	for _, key := range h.keys {
		h.waitReady(t, key)
	}
}

func (h *hsmRig) waitUntil(t *testing.T, what string, there func() bool) {
	t.Helper()
	for began := time.Now(); !there(); time.Sleep(time.Millisecond) {
		if time.Since(began) > hsmPatience {
			t.Fatalf("%s: not after %v", what, hsmPatience)
		}
	}
}
