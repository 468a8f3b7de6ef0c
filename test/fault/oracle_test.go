package fault_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pawl/ratchet"
	"pawl/tezos"
)

// oracle judges all that was ever released, on all chains: each slot has one payload
// and one signature, which verifies, which the card has made and which the key's own
// policy allows. It knows nothing of the daemon.
type oracle struct {
	keys     map[tezos.PublicKeyHash]tezos.PublicKey
	policies map[tezos.PublicKeyHash]keyPolicy // none: anything
	tally    *tally

	mu       sync.Mutex
	slots    map[ratchet.Mark]release
	marks    map[ratchet.Mark]position // of each key, chain and kind; the highest that was ever seen
	asked    map[tezos.Digest]bool
	releases int
	wrong    []error
}

// release is the one signature of a slot.
type release struct {
	payload   []byte
	signature string
}

// position is what may only rise.
type position struct{ level, round int32 }

func (p position) below(q position) bool {
	return p.level < q.level || p.level == q.level && p.round < q.round
}

var (
	errConflict   = errors.New("a second signature of a slot")
	errUnverified = errors.New("a signature that does not verify")
	errFallen     = errors.New("a mark fell")
	errUnknown    = errors.New("a signature that the card has not made")
	errForbidden  = errors.New("a signature that the key's policy forbids")
)

func newOracle(keys []tezos.PublicKey) *oracle {
	o := &oracle{
		keys: make(map[tezos.PublicKeyHash]tezos.PublicKey), policies: make(map[tezos.PublicKeyHash]keyPolicy), tally: &total,
		slots: make(map[ratchet.Mark]release), marks: make(map[ratchet.Mark]position),
		asked: make(map[tezos.Digest]bool),
	}
	for _, key := range keys {
		o.keys[key.Hash()], o.policies[key.Hash()] = key, policies[key.Kind()]
	}
	return o
}

// asks takes a payload that somebody asks a signature for.
func (o *oracle) asks(payload []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked[tezos.DigestOf(payload)] = true
}

// released takes a signature that somebody has got.
func (o *oracle) released(mark ratchet.Mark, payload []byte, signature string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.releases++
	o.note(mark, o.judge(mark, payload, signature))
	slot, here := mark, position{mark.Level, mark.Round}
	slot.Level, slot.Round = 0, 0
	if o.marks[slot].below(here) {
		o.marks[slot] = here
	}
}

// note keeps an error, if there is one.
func (o *oracle) note(mark ratchet.Mark, err error) {
	if err == nil {
		return
	}
	o.wrong = append(o.wrong, fmt.Errorf("%v %v (%d,%d): %w", mark.Key, mark.Kind, mark.Level, mark.Round, err))
	o.tally.add(func(t *tally) {
		if errors.Is(err, errUnverified) {
			t.unverified++
		} else {
			t.conflicts++
		}
	})
}

func (o *oracle) judge(mark ratchet.Mark, payload []byte, signature string) error {
	sig, err := tezos.ParseSignature(signature)
	if err != nil {
		return fmt.Errorf("%w: %v", errUnverified, err)
	}
	if err := o.keys[mark.Key].Verify(tezos.NewMessage(payload), sig); err != nil {
		return fmt.Errorf("%w: %v", errUnverified, err)
	}
	first, taken := o.slots[mark]
	switch {
	case !o.policies[mark.Key].allows(mark):
		return errForbidden
	case !taken:
		o.slots[mark] = release{payload, signature}
	case !bytes.Equal(first.payload, payload):
		return fmt.Errorf("%w: of two payloads, %x and %x", errConflict, first.payload, payload)
	case first.signature != signature:
		return fmt.Errorf("%w: %s and %s of one payload", errConflict, first.signature, signature)
	}
	return nil
}

// stands reads the marks of a daemon: none may be below what was released, or below
// what it was.
func (o *oracle) stands(t *testing.T, d *daemon) {
	t.Helper()
	marks, err := d.marks()
	if err != nil {
		t.Fatalf("the marks: %v; the daemon's log:\n%s", err, d.log)
	}
	o.stand(marks)
}

func (o *oracle) stand(marks map[ratchet.Mark]position) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for slot, before := range o.marks {
		if now := marks[slot]; now.below(before) {
			o.note(slot, fmt.Errorf("%w: from %d to %d", errFallen, before, now))
		}
	}
	for slot, now := range marks {
		if o.marks[slot].below(now) {
			o.marks[slot] = now
		}
	}
}

// merge compares with the card's log: each signature that left is one of the card's.
// It returns how many of the card's nobody got; probes of the daemon's own are none.
func (o *oracle) merge(card *cardLog) (unreleased int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for mark, release := range o.slots {
		made := card.of(tezos.DigestOf(release.payload))
		if !slices.ContainsFunc(made, func(s signature) bool { return s.is(release.signature) }) {
			o.note(mark, fmt.Errorf("%w: %s", errUnknown, release.signature))
		}
	}
	for digest := range o.asked {
		unreleased += len(card.of(digest))
	}
	unreleased -= len(o.slots)
	o.tally.add(func(t *tally) { t.neverReleased += unreleased })
	return unreleased, errors.Join(o.wrong...)
}

// verdict is nil as long as nothing was wrong.
func (o *oracle) verdict() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return errors.Join(o.wrong...)
}

// TestOracle plants what must never be released: an oracle that is content
// with everything proves nothing.
func TestOracle(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	compressed := append([]byte{2 + point[64]&1}, point[1:33]...)
	key, err := tezos.NewPublicKey(tezos.P256, compressed)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(a ask) string {
		digest := a.digest()
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, 64)
		r.FillBytes(raw[:32])
		s.FillBytes(raw[32:])
		sig, err := tezos.NewSignature(tezos.P256, raw)
		if err != nil {
			t.Fatal(err)
		}
		return sig.LowS().String()
	}
	slot := func(kind tezos.Kind, level, round int32, variant int) ask {
		return ask{ratchet.Mark{Key: key.Hash(), ChainID: chain, Kind: kind, Level: level, Round: round}, variant}
	}
	base := slot(tezos.Block, 5, 1, 0)
	signature, otherChain := sign(base), chains[1]
	elsewhere := ratchet.Mark{Key: key.Hash(), ChainID: otherChain, Kind: tezos.Block}
	marks := func(level, round int32) map[ratchet.Mark]position {
		m := base.mark
		m.Level, m.Round = 0, 0
		return map[ratchet.Mark]position{m: {level, round}}
	}
	card := func(signatures ...string) *cardLog {
		l := newCardLog()
		for _, text := range signatures {
			sig, err := tezos.ParseSignature(text)
			if err != nil {
				t.Fatal(err)
			}
			digest := base.digest()
			l.add(digest[:], sig.Bytes())
		}
		return l
	}
	higher := slot(tezos.Block, 6, 0, 0)
	for _, test := range []struct {
		name string
		try  func(*oracle)
		want error
	}{
		{"the same again", func(o *oracle) { o.released(base.mark, base.payload(), signature) }, nil},
		{"next round", func(o *oracle) { a := slot(tezos.Block, 5, 2, 0); o.released(a.mark, a.payload(), sign(a)) }, nil},
		{"other kind", func(o *oracle) { a := slot(tezos.Attestation, 5, 1, 0); o.released(a.mark, a.payload(), sign(a)) }, nil},
		{"other chain", func(o *oracle) { a := base; a.mark.ChainID = otherChain; o.released(a.mark, a.payload(), sign(a)) }, errForbidden},
		{"mark of another chain below", func(o *oracle) { m := marks(5, 1); m[elsewhere] = position{1, 0}; o.stand(m) }, nil},
		{"mark of another chain fell", func(o *oracle) {
			high, low := marks(5, 1), marks(5, 1)
			high[elsewhere], low[elsewhere] = position{2, 0}, position{1, 9}
			o.stand(high)
			o.stand(low)
		}, errFallen},
		{"other payload of the slot", func(o *oracle) { a := slot(tezos.Block, 5, 1, 1); o.released(a.mark, a.payload(), sign(a)) }, errConflict},
		{"second signature of the payload", func(o *oracle) { o.released(base.mark, base.payload(), sign(base)) }, errConflict},
		{"signature of another payload", func(o *oracle) { o.released(higher.mark, higher.payload(), signature) }, errUnverified},
		{"no signature", func(o *oracle) { o.released(higher.mark, higher.payload(), "p2sig") }, errUnverified},
		{"mark where it was", func(o *oracle) { o.stand(marks(5, 1)) }, nil},
		{"mark above", func(o *oracle) { o.stand(marks(5, 2)) }, nil},
		{"mark below what was released", func(o *oracle) { o.stand(marks(5, 0)) }, errFallen},
		{"mark below what it was", func(o *oracle) { o.stand(marks(7, 0)); o.stand(marks(6, 9)) }, errFallen},
		{"no mark", func(o *oracle) { o.stand(nil) }, errFallen},
		{"the card's signature", func(o *oracle) { _, _ = o.merge(card(sign(base), signature)) }, nil},
		{"not the card's signature", func(o *oracle) { _, _ = o.merge(card(sign(base))) }, errUnknown},
	} {
		o := newOracle([]tezos.PublicKey{key})
		o.tally = &tally{}
		o.asks(base.payload())
		o.released(base.mark, base.payload(), signature)
		test.try(o)
		if err := o.verdict(); !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		conflicts, unverified := 0, 0
		switch {
		case test.want == nil:
		case errors.Is(test.want, errUnverified):
			unverified = 1
		default:
			conflicts = 1
		}
		if o.tally.conflicts != conflicts || o.tally.unverified != unverified {
			t.Errorf("%s: counted %d conflicts and %d unverified, want %d and %d", test.name, o.tally.conflicts, o.tally.unverified, conflicts, unverified)
		}
	}
	o := newOracle([]tezos.PublicKey{key})
	o.tally = &tally{}
	o.asks(base.payload())
	o.released(base.mark, base.payload(), signature)
	if unreleased, err := o.merge(card(signature, sign(base), sign(base))); unreleased != 2 || err != nil || o.tally.neverReleased != 2 {
		t.Errorf("%d signatures that nobody got, %v, want 2", unreleased, err)
	}
}
