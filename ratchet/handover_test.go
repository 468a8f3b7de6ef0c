package ratchet_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/tezos"
)

const gap = ratchet.DefaultMaxLevelGap

// registered is a store with the baker from a level on.
func registered(from int32) ratchet.Snapshot {
	return ratchet.Snapshot{Registrations: []ratchet.Registration{{Key: baker, ChainID: mainnet, FromLevel: from}}}
}

// signing is a store that signs if the rule allows it.
func signing(s ratchet.Snapshot, m ratchet.Mark, message tezos.Message) (after ratchet.Snapshot, signed bool) {
	d := message.Digest()
	if _, err := s.Standing(m).Judge(m, d, gap); err != nil {
		return s, false
	}
	return s.With(ratchet.Changes{Marks: []ratchet.MarkChange{{After: ratchet.StoredMark{Mark: m, Digest: d}}}}), true
}

// TestHandOver: below the level here, from it on there.
func TestHandOver(t *testing.T) {
	t.Parallel()
	here, _ := signing(registered(1), block(10, 0), bytesNumber(1))
	done, given, err := here.HandOver(mainnet, 15, gap)
	if err != nil {
		t.Fatal(err)
	}
	there := ratchet.Snapshot{}
	taken, err := there.TakeOver(given)
	if err != nil {
		t.Fatal(err)
	}
	here, there = here.With(done), there.With(taken)
	for level := int32(9); level < 20; level++ {
		_, signedHere := signing(here, block(level, 1), bytesNumber(2))
		_, signedThere := signing(there, block(level, 1), bytesNumber(2))
		if want := level >= 10 && level < 15; signedHere != want {
			t.Errorf("level %d signed here: %t, want %t", level, signedHere, want)
		}
		if want := level >= 15; signedThere != want {
			t.Errorf("level %d signed there: %t, want %t", level, signedThere, want)
		}
	}
	if again, same, err := here.HandOver(mainnet, 15, gap); err != nil || !again.Empty() || len(same.Registrations) != 1 {
		t.Errorf("the same again: %+v, %+v, %v, want no change and the same", again, same, err)
	}
	if c, _, err := here.HandOver(mainnet, 16, gap); !errors.Is(err, ratchet.ErrRefused) || !c.Empty() {
		t.Errorf("another level: %+v, %v, want it refused", c, err)
	}
	if _, err := here.TakeOver(given); !errors.Is(err, ratchet.ErrRefused) {
		t.Errorf("what was given here is taken here: %v, want it refused", err)
	}
	if _, err := here.Register(ratchet.Registration{Key: baker, ChainID: mainnet, FromLevel: 15}); !errors.Is(err, ratchet.ErrRefused) {
		t.Errorf("registered from 15 on: %v, want it refused", err)
	}
	if _, _, err := here.HandOver(ratchettest.Ghostnet, 15, gap); err == nil {
		t.Error("a chain without keys was handed over")
	}
}

// TestHandOverRefuses levels of the past, and such that nobody reaches.
func TestHandOverRefuses(t *testing.T) {
	t.Parallel()
	here, _ := signing(registered(5), block(10, 0), bytesNumber(1))
	for at, wants := range map[int32]bool{0: true, 1: true, 5: true, 10: true, 11: false, 10 + gap: false, 11 + gap: true} {
		c, given, err := here.HandOver(mainnet, at, gap)
		if refused := err != nil; refused != wants || refused && (!c.Empty() || given.Registrations != nil) {
			t.Errorf("level %d: %+v, %v, want it refused: %t", at, c, err, wants)
		}
	}
	if _, _, err := here.HandOver(mainnet, 11+gap, 0); err != nil {
		t.Errorf("without a gap: %v", err)
	}
	fenced := here.With(here.Fenced(ratchet.Moved))
	if _, _, err := fenced.HandOver(mainnet, 20, gap); !errors.Is(err, ratchet.ErrRefused) {
		t.Errorf("a key that is fenced: %v, want it refused", err)
	}
}

// TestHandOverOfANewKey: it may sign on any chain, and signs nothing on this one from the level on.
func TestHandOverOfANewKey(t *testing.T) {
	t.Parallel()
	here := ratchet.Snapshot{Registrations: []ratchet.Registration{{Key: baker, AnyChain: true}}}
	done, given, err := here.HandOver(mainnet, 15, gap)
	if err != nil || len(given.Registrations) != 1 || given.Registrations[0].FromLevel != 15 {
		t.Fatalf("given %+v, %v", given, err)
	}
	here = here.With(done)
	if _, signed := signing(here, block(15, 0), bytesNumber(1)); signed {
		t.Error("level 15 was signed here")
	}
	if _, signed := signing(here, block(14, 0), bytesNumber(1)); !signed {
		t.Error("level 14 was not signed here")
	}
}

// TestRetire: nothing is signed any more, on any chain, and nothing but a handover takes it back.
func TestRetire(t *testing.T) {
	t.Parallel()
	s := registered(5)
	s.Registrations = append(s.Registrations, ratchet.Registration{Key: baker, AnyChain: true})
	for _, reason := range []string{"", strings.Repeat("x", ratchet.MaxReason+1), "two\nlines", "\xff"} {
		if c, err := s.Retire(baker, reason); err == nil || !c.Empty() {
			t.Errorf("retired for %q", reason)
		}
	}
	if _, err := s.Retire(ratchettest.KeyNumber(2), "x"); err == nil {
		t.Error("a key that is not known was retired")
	}
	done, err := s.Retire(baker, "sold")
	if err != nil {
		t.Fatal(err)
	}
	s = s.With(done)
	elsewhere := block(6, 0)
	elsewhere.ChainID = ratchettest.Ghostnet
	for _, m := range []ratchet.Mark{block(6, 0), elsewhere} {
		_, err := s.Standing(m).Judge(m, bytesNumber(1).Digest(), gap)
		wantRefused(t, err, ratchet.Retired, "key "+baker.String()+" is retired here: sold")
	}
	if _, err := s.Retire(baker, "again"); !errors.Is(err, ratchet.ErrRefused) {
		t.Errorf("retired again: %v, want it refused", err)
	}
	for _, chain := range []tezos.ChainID{mainnet, ratchettest.Ghostnet} {
		if _, err := s.Register(ratchet.Registration{Key: baker, ChainID: chain, FromLevel: 100}); !errors.Is(err, ratchet.ErrRefused) {
			t.Errorf("registered on %s: %v, want it refused", chain, err)
		}
	}
	merged, err := s.Merge(registered(200))
	if _, signed := signing(s.With(merged), block(201, 0), bytesNumber(1)); err != nil || signed {
		t.Errorf("an export took it back: %v", err)
	}
	taken, err := s.TakeOver(registered(200))
	if _, signed := signing(s.With(taken), block(201, 0), bytesNumber(1)); err != nil || !signed {
		t.Errorf("a handover did not take it back: %v", err)
	}
	for _, low := range []int32{0, 4, 5} {
		if _, err := s.TakeOver(registered(low)); !errors.Is(err, ratchet.ErrRefused) {
			t.Errorf("a handover from level %d, of which this store knows 5: %v, want it refused", low, err)
		}
	}
}

// TestRightToSign hands keys over between hosts at random, with files of any age imported again where they
// were taken or given, exports merged, and keys retired. No level is ever signed by two.
func TestRightToSign(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		w := newWorld(seed)
		for range 200 {
			w.step()
		}
		if w.conflict != "" {
			t.Errorf("seed %d: %s, after\n%s", seed, w.conflict, strings.Join(w.said, "\n"))
		}
		if w.signed == 0 || w.taken == 0 {
			t.Logf("seed %d: %d signed, %d taken over", seed, w.signed, w.taken)
		}
	}
}

type givenFile struct {
	from, to int // the host that has taken it; -1 for none yet
	all      ratchet.Snapshot
}

type world struct {
	random        *rand.Rand
	hosts         []ratchet.Snapshot
	files         []givenFile
	by            map[int32]int // the host that signed a level
	head          int32
	signed, taken int
	conflict      string
	said          []string
}

func newWorld(seed uint64) *world {
	return &world{
		random: rand.New(rand.NewPCG(seed, 1)), hosts: []ratchet.Snapshot{registered(1), {}, {}}, by: make(map[int32]int), head: 10,
	}
}

func (w *world) say(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

func (w *world) step() {
	host := w.random.IntN(len(w.hosts))
	switch w.random.IntN(8) {
	case 0:
		w.head += int32(w.random.IntN(3))
	case 1:
		w.give(host)
	case 2:
		w.take(host)
	case 3:
		other := w.hosts[w.random.IntN(len(w.hosts))]
		if len(w.hosts[host].Registrations) == 0 {
			return // an export gives the right to sign to who has none: it is for hosts that have stopped
		}
		if c, err := w.hosts[host].Merge(other); err == nil {
			w.hosts[host] = w.hosts[host].With(c)
		}
	case 4:
		if w.random.IntN(10) == 0 {
			if c, err := w.hosts[host].Retire(baker, "for now"); err == nil {
				w.say("host %d retired", host)
				w.hosts[host] = w.hosts[host].With(c)
			}
		}
	default:
		w.sign(host, w.head-int32(w.random.IntN(4)))
	}
}

func (w *world) sign(host int, level int32) {
	after, signed := signing(w.hosts[host], block(level, int32(len(w.said))), bytesNumber(host))
	if !signed {
		return
	}
	w.say("host %d signed level %d", host, level)
	w.signed++
	w.hosts[host] = after
	if other, before := w.by[level]; before && other != host {
		w.conflict = fmt.Sprintf("level %d was signed by hosts %d and %d", level, other, host)
	}
	w.by[level] = host
}

func (w *world) give(host int) {
	at := w.head + int32(w.random.IntN(6)) - 2
	c, given, err := w.hosts[host].HandOver(mainnet, at, gap)
	if err != nil {
		return
	}
	w.hosts[host] = w.hosts[host].With(c)
	w.say("host %d gave %d", host, at)
	for _, f := range w.files {
		if f.from == host && f.all.Registrations[0].FromLevel == at {
			return // the same again
		}
	}
	w.files = append(w.files, givenFile{host, -1, given})
}

func (w *world) take(host int) {
	if len(w.files) == 0 {
		return
	}
	f := &w.files[w.random.IntN(len(w.files))]
	if f.to >= 0 && host != f.to && host != f.from {
		return // taken by two: nothing can help
	}
	c, err := w.hosts[host].TakeOver(f.all)
	if err != nil {
		return
	}
	if host != f.from {
		f.to = host
	}
	w.taken++
	w.say("host %d took %d of host %d", host, f.all.Registrations[0].FromLevel, f.from)
	w.hosts[host] = w.hosts[host].With(c)
}
