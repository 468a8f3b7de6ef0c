package fault_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pawl/internal/ep11"
	"pawl/ratchet"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// partOfHSM is what each of the three tests of partHSM may take.
var partOfHSM = part{partHSM.name, partHSM.share / 3}

// hsmPatience is how long readiness may take to follow. It should within three
// seconds; the rest is for a machine that does other things too.
const hsmPatience = 20 * time.Second

// hsmRig is a rig with a card that can be broken, behind a wire that can stop, and
// one daemon that is never started again.
type hsmRig struct {
	*rig
	soft   *cardtest.Server
	wire   *hsmWire
	blobs  map[tezos.PublicKeyHash][]byte
	daemon *daemon

	mu        sync.Mutex
	levels    map[hsmSlotKey]int32 // that were asked for
	corrupted atomic.Int64         // signatures that were sent to the daemon
}

// hsmSlotKey is a key and a kind: what has a watermark of its own.
type hsmSlotKey struct {
	key  tezos.PublicKeyHash
	kind tezos.Kind
}

func newHSMRig(t *testing.T, patches ...patch) *hsmRig {
	t.Helper()
	h := &hsmRig{
		rig:    &rig{dir: t.TempDir(), pawl: buildPatched(t, patches...), card: newCardLog()},
		blobs:  make(map[tezos.PublicKeyHash][]byte),
		levels: make(map[hsmSlotKey]int32),
	}
	h.soft = h.startCard(t)
	h.wire = newHSMWire(t, h.soft.Address)
	behindWire := h.soft.Config()
	behindWire.Address = h.wire.address
	h.configure(t, behindWire)
	h.oracle = newOracle(h.keys)
	h.readBlobs(t)
	h.setClock(t, 0)
	h.daemon = h.start(t)
	for _, key := range h.keys {
		h.waitReady(t, key)
	}
	return h
}

// readBlobs takes the private keys' blobs from keys.json.
func (h *hsmRig) readBlobs(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(h.config())
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Keys map[string]struct {
			Blob string `json:"secret_key"`
		}
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	for _, key := range h.keys {
		blob, err := ep11.ParseBlob(config.Keys[key.Hash().String()].Blob)
		if err != nil {
			t.Fatal(err)
		}
		h.blobs[key.Hash()] = blob
	}
}

// next is a slot that nobody has asked for.
func (h *hsmRig) next(key tezos.PublicKey, kind tezos.Kind) ask {
	h.mu.Lock()
	defer h.mu.Unlock()
	slot := hsmSlotKey{key.Hash(), kind}
	h.levels[slot]++
	level := h.levels[slot]
	return ask{mark: ratchet.Mark{Key: slot.key, ChainID: chainOf(key, int(level)), Kind: kind, Level: level}}
}

// ask asks the daemon, and tells the oracle.
func (h *hsmRig) ask(a ask) answer { return h.post(h.daemon, a) }

// want asks, and wants this status.
func (h *hsmRig) want(t *testing.T, when string, a ask, status int) answer {
	t.Helper()
	got := h.ask(a)
	if got.err != nil || got.status != status {
		t.Errorf("%s: %v, want %d", when, got, status)
	}
	return got
}

// rival is the payload that conflicts with a's.
func (a ask) rival() ask { return ask{a.mark, 1 - a.variant} }

// recovered asks again now that nothing is broken. What failed has burnt nothing: the
// other payload of its slot is signed, and then the first one is refused. What was
// signed is answered with the same bytes; the oracle compares them.
func (h *hsmRig) recovered(t *testing.T, when string, a answer) {
	t.Helper()
	when += ", when it was over"
	if a.status == http.StatusOK {
		h.want(t, when, a.ask, http.StatusOK)
		h.want(t, when, a.rival(), http.StatusConflict)
		return
	}
	h.want(t, when, a.rival(), http.StatusOK)
	h.want(t, when, a.ask, http.StatusConflict)
}

// hsmReadiness is the answer of /readyz.
type hsmReadiness struct {
	Ready bool
	Keys  map[string]struct {
		Ready  bool
		Reason string
	}
}

// readiness asks /readyz, and looks whether its parts agree.
func (h *hsmRig) readiness(t *testing.T) (r hsmReadiness) {
	t.Helper()
	res, err := h.daemon.client.Get(h.daemon.admin + "/readyz")
	if err != nil {
		t.Fatalf("/readyz: %v; the daemon's log:\n%s", err, h.daemon.log)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
		t.Fatalf("/readyz: %v", err)
	}
	all := true
	for _, key := range r.Keys {
		all = all && key.Ready
	}
	if r.Ready != all || r.Ready != (res.StatusCode == http.StatusOK) || len(r.Keys) != len(h.keys) {
		t.Errorf("/readyz contradicts itself: %d %+v", res.StatusCode, r)
	}
	return r
}

// waitReady waits until the key can sign, as /readyz says.
func (h *hsmRig) waitReady(t *testing.T, key tezos.PublicKey) {
	t.Helper()
	reason := ""
	for began := time.Now(); time.Since(began) < hsmPatience; time.Sleep(5 * time.Millisecond) {
		state := h.readiness(t).Keys[key.Hash().String()]
		if state.Ready {
			return
		}
		reason = state.Reason
	}
	t.Fatalf("%v is not ready after %v: %s", key.Hash(), hsmPatience, reason)
}

// waitUnready waits until the key cannot sign for this reason, as /readyz says.
func (h *hsmRig) waitUnready(t *testing.T, key tezos.PublicKey, reason string) {
	t.Helper()
	last := "it is ready"
	for began := time.Now(); time.Since(began) < hsmPatience; time.Sleep(5 * time.Millisecond) {
		state := h.readiness(t).Keys[key.Hash().String()]
		if !state.Ready && strings.Contains(state.Reason, reason) {
			return
		}
		last = state.Reason
	}
	t.Fatalf("%v should be unready by %q; after %v: %s", key.Hash(), reason, hsmPatience, last)
}

// judge ends a test: what was released is what it should be.
func (h *hsmRig) judge(t *testing.T) {
	t.Helper()
	h.oracle.stands(t, h.daemon)
	unreleased, err := h.oracle.merge(h.card)
	if err != nil {
		t.Error(err)
	}
	total.add(func(all *tally) { all.hsmCorruptions += int(h.corrupted.Load()) })
	t.Logf("corrupted_signatures=%d signatures_of_card=%d unreleased=%d released=%d slots=%d seed=%d",
		h.corrupted.Load(), h.card.total(), unreleased, h.oracle.releases, len(h.oracle.slots), *campaignSeed)
}
