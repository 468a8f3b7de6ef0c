package fault_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/softcard"
	"pawl/tezos"
)

// hsmFault is a fault that one key suffers while the others sign.
type hsmFault struct {
	name   string
	fault  func(t *testing.T, h *hsmRig, key tezos.PublicKey) *softcard.Fault
	status int             // of a request meanwhile
	slow   bool            // it takes seconds, of waiting
	line   bool            // the connection ends, which all keys share
	kinds  []tezos.KeyKind // of the key; nil is each
}

// hsmFor is a fault that is the same for any key.
func hsmFor(make func() *softcard.Fault) func(*testing.T, *hsmRig, tezos.PublicKey) *softcard.Fault {
	return func(*testing.T, *hsmRig, tezos.PublicKey) *softcard.Fault { return make() }
}

// hsmSpoils is a fault by which every signature is another one.
func hsmSpoils(spoil func(signature []byte) []byte) func(*testing.T, *hsmRig, tezos.PublicKey) *softcard.Fault {
	return hsmFor(func() *softcard.Fault { return &softcard.Fault{Spoil: spoil} })
}

var hsmFaults = []hsmFault{
	{name: "a signature of another message", status: 500, fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{OtherMessage: true} })},
	{name: "a signature of another message, once", status: 200, fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{OtherMessage: true, Times: 1} })},
	{name: "a signature of another key", status: 500, fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{OtherKey: true} })},
	{name: "a signature of another key, once", status: 200, fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{OtherKey: true, Times: 1} })},
	{name: "the reply to an earlier request", status: 500, fault: earlierReply},
	{name: "an empty signature", status: 500, fault: hsmSpoils(softcard.Resize(0))},
	{name: "a signature of one byte", status: 500, fault: hsmSpoils(softcard.Resize(1))},
	{name: "a short signature", status: 500, fault: hsmSpoils(softcard.Resize(63))},
	{name: "a long signature", status: 500, fault: hsmSpoils(softcard.Resize(65))},
	{name: "a signature of 1 MiB", status: 500, fault: hsmSpoils(softcard.Resize(1 << 20))},
	{name: "a reply over gRPC's 4 MiB", status: 500, fault: hsmSpoils(softcard.Resize(5 << 20))},
	{name: "zeros for a signature", status: 500, fault: hsmSpoils(func([]byte) []byte { return make([]byte, 64) })},
	{name: "ones for a signature", status: 500, fault: hsmSpoils(func([]byte) []byte { return bytes.Repeat([]byte{0xff}, 64) })},
	{name: "r = 0", status: 500, fault: hsmSpoils(func(s []byte) []byte { return slices.Concat(make([]byte, 32), s[32:]) })},
	{name: "s = 0", status: 500, fault: hsmSpoils(func(s []byte) []byte { return slices.Concat(s[:32], make([]byte, 32)) })},
	{
		name: "high S", status: 200, kinds: []tezos.KeyKind{tezos.Secp256k1, tezos.P256},
		fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{HighS: true} }),
	},
	{
		name: "S over the order", status: 500, kinds: []tezos.KeyKind{tezos.Ed25519},
		fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{HighS: true} }),
	},
	{name: "a delay of 300 ms", status: 200, slow: true, fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{Delay: 300 * time.Millisecond} })},
	{name: "a hang", status: 500, slow: true, fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{Hang: true} })},
	{name: "a reply after 2.5 s, once", status: 200, slow: true, fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{Late: 2500 * time.Millisecond, Times: 1} })},
	{name: "Unavailable", status: 500, slow: true, fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{Err: softcard.Unavailable()} })},
	{name: "Unavailable, once", status: 200, slow: true, fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{Err: softcard.Unavailable(), Times: 1} })},
	{name: "the connection cut after the request", status: 500, slow: true, line: true, fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{Cut: true} })},
	{name: "the connection cut after the request, once", status: 200, slow: true, line: true, fault: hsmFor(func() *softcard.Fault { return &softcard.Fault{Cut: true, Times: 1} })},
}

// earlierReply has the card give the signature of a payload that it signed before.
func earlierReply(t *testing.T, h *hsmRig, key tezos.PublicKey) *softcard.Fault {
	t.Helper()
	earlier := h.want(t, "an earlier request", h.next(key, tezos.Preattestation), http.StatusOK)
	made := h.card.between(earlier.digest(), time.Time{}, time.Now())
	if len(made) == 0 {
		t.Fatalf("%v: the card has made no signature", earlier)
	}
	return &softcard.Fault{Spoil: func([]byte) []byte { return made[0].raw }}
}

// TestHSMFaultsOfAKey breaks the card for one key at a time. No bad signature leaves,
// the other keys hardly feel it, /readyz tells, and when it is over the key signs again
// without a restart.
func TestHSMFaultsOfAKey(t *testing.T) {
	t.Parallel()
	h := newHSMRig(t)
	defer h.judge(t)
	random := partHSM.random()
	began := time.Now()
	quiet := h.beside(t, tezos.PublicKeyHash{}, func() {})
	t.Logf("nothing broken: %v", quiet)
	quiet.within(t, "nothing broken", quiet)
	for round := 0; !t.Failed() && partOfHSM.goesOn(began, round, 1); round++ {
		for _, key := range h.keys {
			h.quickFaults(t, random, key, quiet)
		}
		for _, f := range hsmFaults {
			if f.slow {
				key := h.keys[random.IntN(len(h.keys))]
				beside := h.beside(t, key.Hash(), func() { h.suffer(t, random, f, key) })
				t.Logf("%s: other keys meanwhile: %v", f.name, beside)
				if !f.line {
					beside.within(t, f.name, quiet)
				}
			}
		}
		h.fatalCodes(t, random, h.keys[random.IntN(len(h.keys))])
		h.transientCodes(t)
	}
}

// quickFaults has one key suffer all that takes no waiting.
func (h *hsmRig) quickFaults(t *testing.T, random *rand.Rand, key tezos.PublicKey, quiet hsmLatencies) {
	t.Helper()
	beside := h.beside(t, key.Hash(), func() {
		for _, f := range hsmFaults {
			if !f.slow && (f.kinds == nil || slices.Contains(f.kinds, key.Kind())) {
				h.suffer(t, random, f, key)
			}
		}
	})
	t.Logf("%v gets wrong answers: other keys meanwhile: %v", key.Hash(), beside)
	beside.within(t, "wrong answers", quiet)
}

// suffer breaks the card for one key, asks, mends it and asks again. Of a slow fault it
// asks for a block and both votes at once, so that the key takes all that it can of what
// the keys share.
func (h *hsmRig) suffer(t *testing.T, random *rand.Rand, f hsmFault, key tezos.PublicKey) {
	t.Helper()
	when := fmt.Sprintf("%v, %s", key.Hash(), f.name)
	fault := f.fault(t, h, key)
	fault.Call, fault.Key = "SignSingle", h.blobs[key.Hash()]
	h.soft.Card.SetFaults(fault)
	var asks []ask
	for _, kind := range kinds {
		asks = append(asks, h.next(key, kind))
	}
	if !f.slow {
		random.Shuffle(len(asks), func(i, j int) { asks[i], asks[j] = asks[j], asks[i] })
		asks = asks[:1]
	}
	answers := h.postAll(h.daemon, asks, nil)
	outcome := "signed"
	if f.status != http.StatusOK {
		outcome = "500 and not ready; then the other payload of the slot was signed"
		h.unready(t, key, "")
	}
	h.soft.Card.SetFaults()
	for _, got := range answers {
		if got.err != nil || got.status != f.status {
			t.Errorf("%s: %v, want %d", when, got, f.status)
		}
		h.recovered(t, when, got)
	}
	h.waitReady(t, key)
	if fault.Hits() == 0 {
		t.Errorf("%s: the fault has hit nothing", when)
	}
	total.happenedTimes(partHSM, f.name, outcome, len(asks))
}

// unready waits until the key that has just failed is not ready. A probe that was on
// its way when the card broke may have called it ready: then one more request tells.
func (h *hsmRig) unready(t *testing.T, key tezos.PublicKey, reason string) {
	t.Helper()
	if h.readiness(t).Keys[key.Hash().String()].Ready {
		t.Logf("%v: ready after a failure, by an older probe", key.Hash())
		h.want(t, "broken and called ready", h.next(key, tezos.Block), http.StatusInternalServerError)
	}
	h.waitUnready(t, key, reason)
}

// hsmCodes are the return codes that have a name, and one that has none.
func hsmCodes() (fatal, transient []ep11.Code) {
	fatal = []ep11.Code{0x80019999}
	for _, first := range []ep11.Code{0, 0x80010000, 0x80040000} { // PKCS #11, EP11, GREP11
		for code := first; code < first+0x400; code++ {
			switch {
			case strings.HasPrefix(code.String(), "CKR 0x"): // it has no name
			case grep11.Transient(&grep11.Error{Code: code}):
				transient = append(transient, code)
			default:
				fatal = append(fatal, code)
			}
		}
	}
	return fatal, transient
}

// fatalCodes has the card refuse with each code that is not to be tried again.
func (h *hsmRig) fatalCodes(t *testing.T, random *rand.Rand, key tezos.PublicKey) {
	t.Helper()
	fatal, _ := hsmCodes()
	if len(fatal) < 80 {
		t.Errorf("only %d return codes", len(fatal))
	}
	for _, code := range fatal {
		when := fmt.Sprintf("%v, %v", key.Hash(), code)
		fault := &softcard.Fault{Call: "SignSingle", Key: h.blobs[key.Hash()], Err: softcard.Refusal(code)}
		h.soft.Card.SetFaults(fault)
		got := h.want(t, when, h.next(key, kinds[random.IntN(len(kinds))]), http.StatusInternalServerError)
		h.unready(t, key, code.String())
		h.soft.Card.SetFaults()
		h.recovered(t, when, got)
		h.waitReady(t, key)
	}
	total.happenedTimes(partHSM, "each Grep11Error that is final", "500 and not ready; then the other payload of the slot was signed", len(fatal))
}

// transientCodes has the card refuse with each code that is to be tried again, in as
// many slots at once: once, and by both tries.
func (h *hsmRig) transientCodes(t *testing.T) {
	t.Helper()
	_, transient := hsmCodes()
	if len(transient) < 5 {
		t.Errorf("only %d transient return codes", len(transient))
	}
	for codes := range slices.Chunk(transient, len(h.keys)*len(kinds)) {
		h.refuse(t, codes, 1, http.StatusOK)
		total.happenedTimes(partHSM, "each Grep11Error that is transient, once", "signed by the second try", len(codes))
		h.refuse(t, codes, 0, http.StatusInternalServerError)
		total.happenedTimes(partHSM, "each Grep11Error that is transient", "500; then the other payload of the slot was signed", len(codes))
	}
	for _, key := range h.keys {
		h.waitReady(t, key)
	}
}

// refuse has a slot for each code refused so many times.
func (h *hsmRig) refuse(t *testing.T, codes []ep11.Code, times, status int) {
	t.Helper()
	asks := make([]ask, len(codes))
	faults := make([]*softcard.Fault, len(codes))
	for i, code := range codes {
		asks[i] = h.next(h.keys[i%len(h.keys)], kinds[i/len(h.keys)])
		digest := asks[i].digest()
		faults[i] = &softcard.Fault{Call: "SignSingle", Data: digest[:], Err: softcard.Refusal(code), Times: times}
	}
	h.soft.Card.SetFaults(faults...)
	answers := h.postAll(h.daemon, asks, nil)
	h.soft.Card.SetFaults()
	for i, a := range answers {
		tries := max(1, 2-times)
		if codes[i] == ep11.CodeIBMBlobkeyConflict && times == 0 {
			tries *= 2 // each asks once more at once
		}
		if a.err != nil || a.status != status || faults[i].Hits() != tries {
			t.Errorf("%v, %d times: %v after %d refusals, want %d after %d", codes[i], times, a, faults[i].Hits(), status, tries)
		}
		h.recovered(t, codes[i].String(), a)
	}
}

const (
	// besideLeast is how many requests of the others there are at least: p99 means little of fewer.
	besideLeast = 100
	// besidePause is between two requests of a key.
	besidePause = 5 * time.Millisecond
	// besideLimit is below the two seconds of a try: who waits for a try of a broken key takes longer.
	besideLimit = time.Second
)

// hsmLatencies are how long answers took, sorted.
type hsmLatencies struct {
	took     []time.Duration
	repeated int // requests that had to be made again
}

func (l hsmLatencies) p99() time.Duration { return l.took[len(l.took)*99/100] }

func (l hsmLatencies) String() string {
	return fmt.Sprintf("%d requests, p50 %v, p99 %v, longest %v, %d repeated", len(l.took),
		l.took[len(l.took)/2].Round(time.Microsecond), l.p99().Round(time.Microsecond), l.took[len(l.took)-1].Round(time.Microsecond), l.repeated)
}

// within wants them near what they were when nothing was broken.
func (l hsmLatencies) within(t *testing.T, when string, quiet hsmLatencies) {
	t.Helper()
	if limit := max(10*quiet.p99(), besideLimit); l.p99() > limit || l.repeated > 0 {
		t.Errorf("%s: other keys: %v; want a p99 within %v and none repeated, for quiet was %v", when, l, limit, quiet)
	}
}

// beside asks for the keys other than the broken one while do runs.
func (h *hsmRig) beside(t *testing.T, broken tezos.PublicKeyHash, do func()) (all hsmLatencies) {
	t.Helper()
	var over atomic.Bool
	var others sync.WaitGroup
	each := make([]hsmLatencies, len(h.keys))
	for i, key := range h.keys {
		if key.Hash() == broken {
			continue
		}
		others.Go(func() {
			for len(each[i].took) < besideLeast || !over.Load() {
				h.bystand(t, key, &each[i])
				time.Sleep(besidePause)
			}
		})
	}
	func() {
		defer others.Wait()
		defer over.Store(true)
		do()
	}()
	for _, l := range each {
		all.took = append(all.took, l.took...)
		all.repeated += l.repeated
	}
	slices.Sort(all.took)
	return all
}

// bystand gets one signature.
func (h *hsmRig) bystand(t *testing.T, key tezos.PublicKey, l *hsmLatencies) {
	t.Helper()
	began := time.Now()
	a := h.next(key, tezos.Attestation)
	got := h.ask(a)
	for tries := 1; tries < 5 && got.err == nil && got.status >= http.StatusInternalServerError; tries++ {
		l.repeated++
		got = h.ask(a)
	}
	if got.err != nil || got.status != http.StatusOK {
		t.Errorf("another key: %v, want 200", got)
	}
	l.took = append(l.took, time.Since(began))
}
