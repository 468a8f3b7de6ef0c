package fault_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pawl/softcard"
	"pawl/tezos"
)

// hsmSignatureBits are those of every tz1, tz2 and tz3 signature.
const hsmSignatureBits = 512

// hsmCorruption is what becomes of each signature of a key, and what to call that.
type hsmCorruption struct {
	name   string // of its class, for the report
	detail string // which one
	spoil  func(signature []byte) []byte
}

// hsmLane is a key that gets bad signatures: the next so many are corrupted.
type hsmLane struct {
	*hsmRig
	key    tezos.PublicKey
	random *rand.Rand
	how    atomic.Pointer[hsmCorruption]
	left   atomic.Int64
	done   int
}

// spoil is the fault's. A probe of the daemon may meet it too.
func (l *hsmLane) spoil(signature []byte) []byte {
	how := l.how.Load()
	if how == nil || l.left.Add(-1) < 0 {
		return signature
	}
	l.corrupted.Add(1)
	return how.spoil(slices.Clone(signature))
}

// corrupt has the next so many signatures of the key corrupted.
func (l *hsmLane) corrupt(how *hsmCorruption, times int64) {
	l.left.Store(times)
	l.how.Store(how)
}

// TestHSMCorruptions has the card send signatures with every bit of the 512 flipped,
// one at a time, and others of random damage, for a key of each curve at the same
// time. Nothing of that may leave the daemon.
func TestHSMCorruptions(t *testing.T) {
	t.Parallel()
	h := newHSMRig(t)
	defer h.judge(t)
	random := partHSM.random()
	lanes := make([]*hsmLane, len(h.keys))
	faults := make([]*softcard.Fault, len(h.keys))
	for i, key := range h.keys {
		lanes[i] = &hsmLane{hsmRig: h, key: key, random: rand.New(rand.NewPCG(random.Uint64(), 0))}
		faults[i] = &softcard.Fault{Call: "SignSingle", Key: h.blobs[key.Hash()], Spoil: lanes[i].spoil}
	}
	h.soft.Card.SetFaults(faults...)
	began := time.Now()
	var all sync.WaitGroup
	for _, lane := range lanes {
		all.Go(func() { lane.run(t, began) })
	}
	all.Wait()
	for _, lane := range lanes {
		t.Logf("%v: %d corruptions", lane.key.Hash(), lane.done)
	}
	if got, least := h.corrupted.Load(), int64(len(lanes)*hsmSignatureBits*2); got < least {
		t.Errorf("%d corrupted signatures were sent, want at least %d", got, least)
	}
	h.soft.Card.SetFaults()
	for _, key := range h.keys {
		h.waitReady(t, key)
	}
}

// run does all bits in a random order, and then whatever else, as long as there is time.
func (l *hsmLane) run(t *testing.T, began time.Time) {
	t.Helper()
	for _, bit := range l.random.Perm(hsmSignatureBits) {
		if t.Failed() {
			return
		}
		l.bothTries(t, &hsmCorruption{"one bit of a signature flipped", fmt.Sprintf("bit %d", bit), softcard.FlipBits(bit)})
	}
	for n := 0; !t.Failed() && partOfHSM.goesOn(began, n, 100); n++ {
		if l.random.IntN(4) == 0 {
			l.firstTry(t, l.damage())
		} else {
			l.bothTries(t, l.damage())
		}
	}
}

// damage is one at random. It is the same for each signature that it meets.
func (l *hsmLane) damage() *hsmCorruption {
	switch l.random.IntN(5) {
	case 0:
		bits := l.random.Perm(hsmSignatureBits)[:2+l.random.IntN(7)]
		return &hsmCorruption{"some bits of a signature flipped", fmt.Sprint("bits ", bits), softcard.FlipBits(bits...)}
	case 1:
		return hsmXored("some bytes of a signature changed", l.mask(1+l.random.IntN(8)))
	case 2:
		return hsmXored("all of a signature is random", l.mask(hsmSignatureBits/8))
	case 3:
		size := l.random.IntN(hsmSignatureBits / 4)
		if size == hsmSignatureBits/8 {
			size++
		}
		return &hsmCorruption{"a signature of another length", fmt.Sprint(size, " bytes"), softcard.Resize(size)}
	}
	return &hsmCorruption{"the halves of a signature swapped", "", func(s []byte) []byte { return slices.Concat(s[32:], s[:32]) }}
}

// mask is a mask of random bytes, so many of which are not zero.
func (l *hsmLane) mask(size int) []byte {
	mask := make([]byte, hsmSignatureBits/8)
	for _, i := range l.random.Perm(len(mask))[:size] {
		mask[i] = byte(1 + l.random.IntN(255))
	}
	return mask
}

func hsmXored(name string, mask []byte) *hsmCorruption {
	return &hsmCorruption{name, fmt.Sprintf("mask %x", mask), func(s []byte) []byte {
		for i := range s {
			s[i] ^= mask[i]
		}
		return s
	}}
}

// bothTries has a slot signed badly by both tries of the daemon.
func (l *hsmLane) bothTries(t *testing.T, how *hsmCorruption) {
	t.Helper()
	a, when := l.slot(how)
	l.corrupt(how, 1<<62)
	got := l.want(t, when, a, http.StatusInternalServerError)
	l.corrupt(nil, 0)
	l.recovered(t, when, got)
	total.happened(partHSM, how.name, "500; then the other payload of the slot was signed")
}

// firstTry has it signed badly once. A probe may come in between and take the bad one.
func (l *hsmLane) firstTry(t *testing.T, how *hsmCorruption) {
	t.Helper()
	a, when := l.slot(how)
	l.corrupt(how, 1)
	got := l.want(t, when+", once", a, http.StatusOK)
	l.corrupt(nil, 0)
	l.recovered(t, when, got)
	total.happened(partHSM, how.name+", once", "signed by the second try")
}

// slot is the next to ask for, and what to call that.
func (l *hsmLane) slot(how *hsmCorruption) (a ask, when string) {
	l.done++
	a = l.next(l.key, kinds[l.done%len(kinds)])
	a.variant = l.random.IntN(2)
	return a, fmt.Sprintf("%v, %s %s", l.key.Hash(), how.name, how.detail)
}
