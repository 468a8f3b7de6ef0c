package ratchet_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/tezos"
)

var sameSignature = cmp.Comparer(func(a, b tezos.Signature) bool { return a == b })

// stored is a mark with a digest, 0 for none, and a signature, 0 for none.
func stored(t *testing.T, level, round int32, digest, signature byte) ratchet.StoredMark {
	t.Helper()
	m := ratchet.StoredMark{Mark: block(level, round)}
	m.Digest[0] = digest
	if signature != 0 {
		raw := make([]byte, 64)
		raw[0] = signature
		made, err := tezos.NewSignature(tezos.P256, raw)
		if err != nil {
			t.Fatal(err)
		}
		m.Signature = &made
	}
	return m
}

// TestPlanOfAMark: of two marks the higher one stays, and of one slot what nobody can sign again.
func TestPlanOfAMark(t *testing.T) {
	t.Parallel()
	low, high := stored(t, 5, 1, 1, 1), stored(t, 5, 2, 2, 2)
	for name, c := range map[string]struct {
		has, other ratchet.StoredMark
		after      *ratchet.StoredMark // nil: nothing changes
	}{
		"a higher round":                      {low, high, &high},
		"a lower round":                       {high, low, nil},
		"a higher level":                      {high, stored(t, 6, 0, 3, 3), new(stored(t, 6, 0, 3, 3))},
		"the same":                            {low, low, nil},
		"the same bytes, another signature":   {low, stored(t, 5, 1, 1, 9), nil},
		"the same bytes, without a signature": {low, stored(t, 5, 1, 1, 0), nil},
		"the same bytes, the first signature": {stored(t, 5, 1, 1, 0), low, &low},
		"unknown bytes":                       {low, stored(t, 5, 1, 0, 0), nil},
		"known bytes, of unknown ones":        {stored(t, 5, 1, 0, 0), low, nil},
		"other bytes":                         {low, stored(t, 5, 1, 2, 2), new(stored(t, 5, 1, 0, 0))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			has := ratchet.Snapshot{Marks: []ratchet.StoredMark{c.has}}
			m, err := has.Merge(ratchet.Snapshot{Marks: []ratchet.StoredMark{c.other}})
			var want []ratchet.MarkChange
			if c.after != nil {
				want = []ratchet.MarkChange{{Before: &c.has, After: *c.after}}
			}
			if diff := cmp.Diff(want, m.Marks, sameSignature); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestPlanOfARegistration: floors only rise, and a key that is known gets no right to open chains.
func TestPlanOfARegistration(t *testing.T) {
	t.Parallel()
	from := func(level int32) ratchet.Registration {
		return ratchet.Registration{Key: baker, ChainID: mainnet, FromLevel: level}
	}
	anyChain := ratchet.Registration{Key: baker, AnyChain: true}
	opened := ratchet.Registration{Key: baker, ChainID: mainnet, NoFloor: true}
	for name, c := range map[string]struct {
		has   []ratchet.Registration
		other ratchet.Registration
		good  bool // it changes
	}{
		"a new one":                       {nil, from(5), true},
		"a higher floor":                  {[]ratchet.Registration{from(5)}, from(6), true},
		"the same floor":                  {[]ratchet.Registration{from(5)}, from(5), false},
		"a lower floor":                   {[]ratchet.Registration{from(5)}, from(4), false},
		"the first floor":                 {[]ratchet.Registration{opened}, from(0), true},
		"no floor, where there is one":    {[]ratchet.Registration{from(5)}, opened, false},
		"no floor, twice":                 {[]ratchet.Registration{opened}, opened, false},
		"any chain, of an unknown key":    {nil, anyChain, true},
		"any chain, of a known key":       {[]ratchet.Registration{from(5)}, anyChain, false},
		"any chain, twice":                {[]ratchet.Registration{anyChain}, anyChain, false},
		"a chain of a key for any":        {[]ratchet.Registration{anyChain}, from(5), true},
		"another chain of a known key":    {[]ratchet.Registration{from(5)}, ratchet.Registration{Key: baker, NoFloor: true}, true},
		"the chain zero of a key for any": {[]ratchet.Registration{anyChain}, ratchet.Registration{Key: baker, NoFloor: true}, true},
		"the chain zero and any chains":   {[]ratchet.Registration{{Key: baker, NoFloor: true}}, anyChain, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			has := ratchet.Snapshot{Registrations: c.has}
			m, err := has.Merge(ratchet.Snapshot{Registrations: []ratchet.Registration{c.other}})
			if err != nil || len(m.Registrations) > 1 || m.Empty() == c.good {
				t.Fatalf("%+v, %v, want good to be %t", m, err, c.good)
			}
			if c.good && m.Registrations[0].After != c.other {
				t.Errorf("after it: %+v, want %+v", m.Registrations[0].After, c.other)
			}
		})
	}
	known := ratchet.Snapshot{Marks: []ratchet.StoredMark{stored(t, 1, 0, 1, 1)}}
	if m, err := known.Merge(ratchet.Snapshot{Registrations: []ratchet.Registration{anyChain}}); err != nil || !m.Empty() {
		t.Errorf("any chain, of a key that has a mark: %+v, %v, want nothing changed", m, err)
	}
}

// TestPlanRefuses what no store can hold.
func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	negative := stored(t, 1, 0, 1, 1)
	negative.Round = -1
	many := func(n int, noFloor bool) (list []ratchet.Registration) {
		for i := range n {
			list = append(list, ratchet.Registration{Key: baker, ChainID: tezos.ChainID{byte(i)}, NoFloor: noFloor})
		}
		return list
	}
	for name, c := range map[string]struct {
		other ratchet.Snapshot
		want  string
	}{
		"a negative round":   {ratchet.Snapshot{Marks: []ratchet.StoredMark{negative}}, "negative"},
		"a negative level":   {ratchet.Snapshot{Registrations: []ratchet.Registration{{Key: baker, FromLevel: -1}}}, "negative"},
		"a mark twice":       {ratchet.Snapshot{Marks: []ratchet.StoredMark{stored(t, 1, 0, 1, 1), stored(t, 2, 0, 1, 1)}}, "two marks"},
		"registered twice":   {ratchet.Snapshot{Registrations: []ratchet.Registration{{Key: baker}, {Key: baker, NoFloor: true}}}, "twice"},
		"any chain twice":    {ratchet.Snapshot{Registrations: []ratchet.Registration{{Key: baker, AnyChain: true}, {Key: baker, AnyChain: true}}}, "twice"},
		"nine chains":        {ratchet.Snapshot{Registrations: many(9, false)}, "one too many"},
		"nine opened chains": {ratchet.Snapshot{Registrations: many(9, true)}, "one too many"},
	} {
		var none ratchet.Snapshot
		if _, err := none.Merge(c.other); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
	sixteen := ratchet.Snapshot{Registrations: append(many(8, false), ratchet.Registration{Key: baker, AnyChain: true})}
	for _, r := range many(8, true) {
		r.ChainID[1] = 1
		sixteen.Registrations = append(sixteen.Registrations, r)
	}
	var none ratchet.Snapshot
	if m, err := none.Merge(sixteen); err != nil || len(m.Registrations) != 17 {
		t.Errorf("eight chains of each kind and any: %+v, %v", m, err)
	}
	opened := ratchet.Snapshot{Registrations: many(8, true)}
	if _, err := opened.Merge(ratchet.Snapshot{Registrations: many(8, false)}); err != nil {
		t.Errorf("eight opened chains get floors: %v", err)
	}
	higher := many(8, false)
	for i := range higher {
		higher[i].FromLevel = 1
	}
	floors := ratchet.Snapshot{Registrations: many(8, false)}
	if m, err := floors.Merge(ratchet.Snapshot{Registrations: higher}); err != nil || len(m.Registrations) != 8 {
		t.Errorf("eight floors rise: %+v, %v", m, err)
	}
	ninth := ratchet.Snapshot{Registrations: []ratchet.Registration{{Key: baker, ChainID: tezos.ChainID{0xff}}}}
	if _, err := (ratchet.Snapshot{Registrations: many(8, false)}).Merge(ninth); !errors.Is(err, ratchet.ErrRefused) {
		t.Errorf("a ninth chain: %v, want it refused", err)
	}
}

// TestPlanOnlyRises: after a merge of any two stores nothing may be signed that either of them refused,
// and a second merge finds nothing to do.
func TestPlanOnlyRises(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		one, two := randomSnapshot(t, random), randomSnapshot(t, random)
		m, err := one.Merge(two)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		both := apply(one, m)
		if again, err := both.Merge(two); err != nil || !again.Empty() {
			t.Fatalf("seed %d: a second merge: %+v, %v, want nothing to do", seed, again, err)
		}
		for level := range int32(4) {
			for round := range int32(3) {
				for digest := range byte(3) {
					asked, d := block(level, round), tezos.Digest{digest}
					signature, err := both.Standing(asked).Judge(asked, d, ratchet.DefaultMaxLevelGap)
					if err != nil {
						continue
					}
					for _, was := range []ratchet.Snapshot{one, two} {
						before := was.Standing(asked)
						if before.Mark == nil && !before.HasFloor {
							continue // it knew nothing that could forbid it
						}
						before.Registered = true
						had, refused := before.Judge(asked, d, ratchet.DefaultMaxLevelGap)
						if refused != nil && signature == nil || had != nil && signature == nil {
							t.Fatalf("seed %d: %+v of digest %d may be signed after a merge of %+v and %+v", seed, asked, digest, one, two)
						}
					}
				}
			}
		}
	}
}

// randomSnapshot has a mark or none, and a registration or none.
func randomSnapshot(t *testing.T, random *rand.Rand) (s ratchet.Snapshot) {
	t.Helper()
	if random.IntN(4) > 0 {
		digest := byte(random.IntN(3))
		signature := digest * byte(random.IntN(2))
		s.Marks = append(s.Marks, stored(t, random.Int32N(3), random.Int32N(2), digest, signature))
	}
	if random.IntN(4) > 0 {
		r := ratchet.Registration{Key: baker, ChainID: mainnet, FromLevel: random.Int32N(4)}
		if random.IntN(3) == 0 {
			r.FromLevel, r.NoFloor = 0, true
		}
		s.Registrations = append(s.Registrations, r)
	}
	return s
}

// apply puts the rows of a merge into a snapshot of one mark and one registration at most.
func apply(s ratchet.Snapshot, m ratchet.Changes) ratchet.Snapshot {
	for _, c := range m.Marks {
		s.Marks = []ratchet.StoredMark{c.After}
	}
	for _, c := range m.Registrations {
		s.Registrations = []ratchet.Registration{c.After}
	}
	return s
}

// TestMergeLeavesThePlace: that a key was retired or handed over there says nothing of a key that is known here.
func TestMergeLeavesThePlace(t *testing.T) {
	t.Parallel()
	here := registered(1)
	there := registered(1)
	there.Registrations[0].Retired, there.Registrations[0].Bounded, there.Registrations[0].NotAfter = "moved", true, 5
	if m, err := here.Merge(there); err != nil || !m.Empty() {
		t.Errorf("merged: %+v, %v, want no change", m, err)
	}
	if m, err := here.Recover(there); err != nil || here.With(m).Registrations[0] != there.Registrations[0] {
		t.Errorf("recovered: %+v, %v, want what was there", m, err)
	}
	if m, err := (ratchet.Snapshot{}).Merge(there); err != nil || len(m.Registrations) != 1 || m.Registrations[0].After != there.Registrations[0] {
		t.Errorf("of a key that is not known: %+v, %v, want what was there", m, err)
	}
	here.Registrations[0].Retired = "sold"
	other := registered(1)
	other.Registrations[0].ChainID = ratchettest.Ghostnet
	if m, err := here.Merge(other); err != nil || len(m.Registrations) != 1 || m.Registrations[0].After.Retired != "sold" {
		t.Errorf("a new chain of a key that is retired: %+v, %v, want it retired there too", m, err)
	}
}
