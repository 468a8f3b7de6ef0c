package ratchet_test

import (
	"errors"
	"math"
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/tezos"
)

// fencedAt is a store with a mark at a level, fenced for a cause.
func fencedAt(t *testing.T, cause ratchet.Cause, marks ...ratchet.Mark) ratchet.Snapshot {
	t.Helper()
	s := ratchet.Snapshot{Registrations: []ratchet.Registration{{Key: baker, ChainID: mainnet, NoFloor: true}}}
	for _, m := range marks {
		s.Marks = append(s.Marks, ratchet.StoredMark{Mark: m, Digest: bytesNumber(9).Digest()})
	}
	return s.With(s.Fenced(cause))
}

// asked is what becomes of a request: the store then, and whether it is signed.
func asked(s ratchet.Snapshot, m ratchet.Mark) (after ratchet.Snapshot, signed bool) {
	s = s.With(s.Meet(m, bytesNumber(1).Digest(), gap))
	return signing(s, m, bytesNumber(1))
}

// TestFence: which levels are not signed, when a baker asks for one after the other.
func TestFence(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cause  ratchet.Cause
		marks  []ratchet.Mark
		from   int32 // first level that is asked
		missed int32
	}{
		"in place":                            {ratchet.NoCause, []ratchet.Mark{block(100, 0)}, 5000, 0},
		"after a start of the host, at once":  {ratchet.Unwitnessed, []ratchet.Mark{block(100, 0)}, 101, 0},
		"after a start, a minute later":       {ratchet.Unwitnessed, []ratchet.Mark{block(100, 0)}, 110, 0},
		"after a start, later":                {ratchet.Unwitnessed, []ratchet.Mark{block(100, 0)}, 111, 1},
		"after a start, nothing signed":       {ratchet.Unwitnessed, nil, 1, 1},
		"set back, asked for the next":        {ratchet.RolledBack, []ratchet.Mark{block(100, 0)}, 101, 3},
		"set back, asked much later":          {ratchet.RolledBack, []ratchet.Mark{block(100, 0)}, 5000, 3},
		"set back, nothing signed":            {ratchet.RolledBack, nil, 5000, 3},
		"moved":                               {ratchet.Moved, []ratchet.Mark{block(100, 0)}, 101, 50},
		"moved, nothing signed":               {ratchet.Moved, nil, 101, 50},
		"set back, the chain behind the mark": {ratchet.RolledBack, []ratchet.Mark{block(100, 0)}, 90, 14},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fencedAt(t, test.cause, test.marks...)
			missed := int32(0)
			for level := test.from; level < test.from+50; level++ {
				after, signed := asked(s, block(level, 0))
				if s = after; !signed {
					missed++
				}
				if signed != (level >= test.from+test.missed) {
					t.Errorf("level %d signed: %t, want the first %d missed", level, signed, test.missed)
				}
			}
			if missed != test.missed {
				t.Errorf("%d levels missed, want %d", missed, test.missed)
			}
		})
	}
}

// TestFenceOfAQuickStartSparesTheLevel: a mark of one kind is no reason to refuse another of its level.
func TestFenceOfAQuickStartSparesTheLevel(t *testing.T) {
	t.Parallel()
	vote := block(100, 0)
	vote.Kind = tezos.Attestation
	if _, signed := asked(fencedAt(t, ratchet.Unwitnessed, block(100, 0)), vote); !signed {
		t.Error("the attestation of the level of the block was refused")
	}
	if _, signed := asked(fencedAt(t, ratchet.RolledBack, block(100, 0)), vote); signed {
		t.Error("after a set-back it was signed")
	}
}

// TestFenceIsSetByNoOther: a request that is refused for another reason sets no fence.
func TestFenceIsSetByNoOther(t *testing.T) {
	t.Parallel()
	s := fencedAt(t, ratchet.RolledBack, block(100, 0))
	unknown := block(101, 0)
	unknown.ChainID = ratchettest.Ghostnet
	for _, m := range []ratchet.Mark{block(99, 0), block(100, 0), block(101+gap, 0), unknown} {
		if c := s.Meet(m, bytesNumber(1).Digest(), gap); !c.Empty() {
			t.Errorf("%+v changed %+v", m, c)
		}
	}
	moved := fencedAt(t, ratchet.Moved, block(100, 0))
	if c := moved.Meet(block(101, 0), bytesNumber(1).Digest(), gap); !c.Empty() {
		t.Errorf("after a move a request changed %+v", c)
	}
}

// TestFenceStays from one start to the next until it is passed, and the worse cause counts.
func TestFenceStays(t *testing.T) {
	t.Parallel()
	s := fencedAt(t, ratchet.Moved, block(100, 0))
	for _, cause := range []ratchet.Cause{ratchet.NoCause, ratchet.Unwitnessed, ratchet.RolledBack} {
		s = s.With(s.Fenced(cause))
		if f := s.Registrations[0].Fence; f.Cause != ratchet.Moved || !f.Pending() {
			t.Errorf("after a start that found %v: %+v", cause, f)
		}
	}
	c, err := s.Unfence(baker, mainnet, 200, gap)
	if err != nil {
		t.Fatal(err)
	}
	s = s.With(c)
	s = s.With(s.Fenced(ratchet.Unwitnessed)) // a start before it was passed
	if f := s.Registrations[0].Fence; f.Cause != ratchet.Unwitnessed || f.Known != 199 || !f.Pending() {
		t.Errorf("after a start before it was passed: %+v", f)
	}
	if _, signed := asked(s, block(199, 0)); signed {
		t.Error("a level below was signed")
	}
	s, signed := asked(s, block(200, 0))
	if !signed {
		t.Fatal("the level was not signed")
	}
	if s = s.With(s.Fenced(ratchet.NoCause)); s.Registrations[0].Fence != (ratchet.Fence{}) {
		t.Errorf("passed, it is %+v", s.Registrations[0].Fence)
	}
}

// TestUnfence wants a level above all that is known.
func TestUnfence(t *testing.T) {
	t.Parallel()
	s := fencedAt(t, ratchet.Moved, block(100, 0))
	for level, refused := range map[int32]bool{-1: true, 0: true, 100: true, 101: false, 100 + gap: false, 101 + gap: true, math.MaxInt32: true} {
		c, err := s.Unfence(baker, mainnet, level, gap)
		if _, is := errors.AsType[*ratchet.FloorError](err); is != refused || is && !c.Empty() {
			t.Errorf("level %d: %+v, %v, want it refused: %t", level, c, err, refused)
		}
		if err != nil {
			continue
		}
		after := s.With(c)
		_, below := asked(after, block(level-1, 0))
		_, at := asked(after, block(level, 0))
		if below || !at {
			t.Errorf("unfenced from %d on: the level below signed: %t, the level: %t", level, below, at)
		}
	}
	if _, err := registered(1).Unfence(baker, mainnet, 5, gap); err == nil {
		t.Error("a key that is not fenced was unfenced")
	}
	if _, err := s.Unfence(ratchettest.KeyNumber(2), mainnet, 200, gap); err == nil {
		t.Error("a key that is not known was unfenced")
	}
}

// TestFenceOfANewKey: it may sign on any chain, and each chain is fenced for it.
func TestFenceOfANewKey(t *testing.T) {
	t.Parallel()
	fresh := ratchet.Snapshot{Registrations: []ratchet.Registration{{Key: baker, AnyChain: true}}}
	s := fresh.With(fresh.Fenced(ratchet.RolledBack))
	for level := int32(500); level < 510; level++ {
		after, signed := asked(s, block(level, 0))
		if s = after; signed != (level > 502) {
			t.Errorf("level %d signed: %t", level, signed)
		}
	}
	s = fresh.With(fresh.Fenced(ratchet.Moved))
	if _, signed := asked(s, block(500, 0)); signed {
		t.Error("moved: signed")
	}
	c, err := s.Unfence(baker, mainnet, 500, gap)
	if err != nil {
		t.Fatal(err)
	}
	if _, signed := asked(s.With(c), block(500, 0)); !signed {
		t.Error("unfenced: not signed")
	}
	elsewhere := block(500, 0)
	elsewhere.ChainID = ratchettest.Ghostnet
	if _, signed := asked(s.With(c), elsewhere); signed {
		t.Error("signed on a chain that nobody has unfenced")
	}
	if _, err := s.Register(ratchet.Registration{Key: baker, ChainID: mainnet, FromLevel: 500}); err != nil {
		t.Fatal(err)
	}
	c, _ = s.Register(ratchet.Registration{Key: baker, ChainID: mainnet, FromLevel: 500})
	if _, signed := asked(s.With(c), block(500, 0)); signed {
		t.Error("a registration has passed the fence")
	}
}

// TestHeads: a node sets the fences, and no level is missed after a start of the host, one after a set-back.
func TestHeads(t *testing.T) {
	t.Parallel()
	for cause, first := range map[ratchet.Cause]int32{ratchet.Unwitnessed: 1001, ratchet.RolledBack: 1002} {
		s := fencedAt(t, cause, block(100, 0))
		s = s.With(s.Heads(mainnet, 1000))
		_, below := asked(s, block(first-1, 0))
		_, at := asked(s, block(first, 0))
		if below || !at {
			t.Errorf("%v, head 1000: level %d signed: %t, level %d: %t", cause, first-1, below, first, at)
		}
	}
	moved := fencedAt(t, ratchet.Moved, block(100, 0))
	if c := moved.Heads(mainnet, 1000); !c.Empty() {
		t.Errorf("moved: a node changed %+v", c)
	}
	behind := fencedAt(t, ratchet.RolledBack, block(100, 0))
	behind = behind.With(behind.Heads(mainnet, 50)) // a node that lags
	if _, signed := asked(behind, block(100, 1)); signed {
		t.Error("a node that lags let a level be signed that is known")
	}
}

// TestFenceAtTheEnd: levels end at 2^31-1.
func TestFenceAtTheEnd(t *testing.T) {
	t.Parallel()
	s := ratchet.Snapshot{Registrations: []ratchet.Registration{{Key: baker, AnyChain: true}}}
	s = s.With(s.Fenced(ratchet.RolledBack))
	s, signed := asked(s, block(math.MaxInt32, 0))
	if until := s.Registrations[1].Fence.Until; signed || until != math.MaxInt32 {
		t.Errorf("signed: %t, fenced until %d", signed, until)
	}
}
