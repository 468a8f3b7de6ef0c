package main

import (
	"slices"
	"testing"
	"time"

	"pawl/tezos"
)

func key(t *testing.T, n byte) tezos.PublicKey {
	t.Helper()
	k, err := tezos.NewPublicKey(tezos.Ed25519, append(make([]byte, 31), n))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestShare: no lane has two workers, or levels would not rise, and each worker has one.
func TestShare(t *testing.T) {
	t.Parallel()
	lanes := append(lanesOf(key(t, 1), 0), lanesOf(key(t, 2), 0)...)
	for _, workers := range []int{1, 5, 6, 7, len(lanes)} {
		shares, err := share(lanes, workers)
		if err != nil {
			t.Fatalf("%d workers: %v", workers, err)
		}
		seen := make(map[*lane]bool)
		for i, lanes := range shares {
			if len(lanes) == 0 {
				t.Errorf("%d workers: worker %d has no lane", workers, i)
			}
			for _, l := range lanes {
				if seen[l] {
					t.Errorf("%d workers: a lane is shared", workers)
				}
				seen[l] = true
			}
		}
	}
	if _, err := share(lanes, len(lanes)+1); err == nil {
		t.Error("more workers than lanes: want an error")
	}
	shares, err := share(lanes, 6)
	if err != nil || slices.ContainsFunc(shares, func(s []*lane) bool { return s[0].chain != chains[0] }) {
		t.Errorf("6 workers, %v: want all on one chain, as there are 6 lanes on it", err)
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	var took times
	for n := 1000; n > 0; n-- {
		took = append(took, time.Duration(n)*time.Microsecond)
	}
	want := quantiles{Count: 1000, P50: 500, P99: 990, P999: 999, Max: 1000}
	if got := took.quantiles(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if took[0] != time.Millisecond {
		t.Error("the times were sorted in place")
	}
	if got := (times{7 * time.Microsecond}).quantiles(); got != (quantiles{1, 7, 7, 7, 7}) {
		t.Errorf("of one: got %+v", got)
	}
	if got := (times{}).quantiles(); got != (quantiles{}) {
		t.Errorf("of none: got %+v", got)
	}
	if got := quartile([]float64{5, 1, 4, 2, 3}, 1); got != 2 {
		t.Errorf("first quartile: got %v, want 2", got)
	}
}

// TestTargets: each target misses when the figure that it is about gets worse.
func TestTargets(t *testing.T) {
	t.Parallel()
	good := func() report {
		one := func(name string) result {
			return result{
				Cell: name, Rate: 700, Syncs: 1, Took: quantiles{Count: 3000, P50: 1140, P99: 4000}, Own: quantiles{P50: 140},
				Ceilings: map[string]quantiles{
					ceilingEcho: {P50: 200, P99: 800}, ceilingHSM: {P50: 450, P99: 900}, ceilingCommit: {P50: 250, P99: 900},
					ceilingVerify: {P50: 100, P99: 500}, ceilingSync: {P50: 150, P99: 500},
				},
			}
		}
		many := func(name string) result {
			return result{Cell: name, Rate: 2500, Busy: 1, Pawl: 400, Card: 200, Load: 50, Syncs: .05, Took: quantiles{P99: 40_000}}
		}
		slow := result{
			Cell: "HSM 25 ms, 64 at once", Took: quantiles{P99: 26_900, Max: 27_000},
			Ceilings: map[string]quantiles{ceilingHSM: {P99: 25_500}, ceilingCommit: {P50: 250, P99: 900}},
		}
		r := report{
			Startups: []startup{{Stand: restarted, Resident: 27, Ready: quantiles{P50: 30_000}}},
			Cells: []result{
				one("tz1, 1 connection"), one("tz2, 1 connection"), one("tz3, 1 connection"),
				many("10 keys, 16 connections"), many("10 keys, 64 connections"), many("1000 keys, 64 connections"),
				many("10000 keys, 64 connections"), many("10 keys, 64 connections, fsync +5 ms"), slow,
				{Cell: "GET /keys, 16 connections"},
			},
		}
		r.rounds = make(map[string][]result)
		for _, c := range r.Cells {
			r.rounds[c.Cell] = []result{c}
		}
		return r
	}
	if missed := missedTargets(good()); len(missed) > 0 {
		t.Fatalf("of a good report: %v", missed)
	}
	for name, spoil := range map[string]func(*report){
		"tz1, 1 connection: p50 µs, ceilings + 150":                    func(r *report) { r.Cells[0].Took.P50 = 1151 },
		"tz3, 1 connection: p50 µs over the ceilings of the same turn": func(r *report) { r.Cells[2].Own.P50 = 151 },
		"tz2, 1 connection: p99 µs, ceilings + 1000":                   func(r *report) { r.Cells[1].Took.P99 = 4101 },
		"tz3, 1 connection: fsyncs a signature":                        func(r *report) { r.Cells[2].Syncs = 1.012 },
		"10 keys, 16 connections: rate, as often as of one connection": func(r *report) { r.Cells[3].Rate = 2000 },
		"1000 keys, 64 connections: rate, as often as of 10 keys":      func(r *report) { r.rounds["1000 keys, 64 connections"][0].Rate = 2400 },
		"10000 keys, 64 connections: p99, as often as of 10 keys":      func(r *report) { r.Cells[6].Took.P99 = 61_000 },
		"10 keys, 64 connections, fsync +5 ms: signatures an fsync":    func(r *report) { r.Cells[7].Syncs = .2 },
		"HSM 25 ms, 64 at once: slowest µs":                            func(r *report) { r.Cells[8].Took.Max = 28_000 },
		"HSM 25 ms, 64 at once: p99 µs over HSM and commit":            func(r *report) { r.Cells[8].Took.P99 = 27_500 },
		"GET /keys, 16 connections: fsyncs and commits":                func(r *report) { r.Cells[9].Syncs = .1 },
		"GET /keys, 16 connections: µs of the HSM":                     func(r *report) { r.Cells[9].Card = 100 },
		"10 keys at rest: MiB":                                         func(r *report) { r.Startups[0].Resident = 31 },
		"10 keys: ready after µs":                                      func(r *report) { r.Startups[0].Ready.P50 = 51_000 },
	} {
		r := good()
		spoil(&r)
		if missed := missedTargets(r); !slices.Equal(missed, []string{name}) {
			t.Errorf("spoiled %q: missed %q", name, missed)
		}
	}
	r := good()
	r.Cells[3].Rate, r.Cells[3].Busy, r.Cells[3].Pawl = 2000, 1e3, 100
	if missed := missedTargets(r); len(missed) > 0 {
		t.Errorf("a full machine of which pawl has a third: missed %q", missed)
	}
}

func missedTargets(r report) (names []string) {
	for _, t := range r.targets() {
		if !t.Held {
			names = append(names, t.Name)
		}
	}
	return names
}
