package main

import (
	"math"
	"slices"
	"time"
)

// times is what requests took.
type times []time.Duration

// quantiles are times in microseconds: of each rank one that was measured.
type quantiles struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	Max   float64 `json:"max_us"`
}

func (t times) quantiles() quantiles {
	if len(t) == 0 {
		return quantiles{}
	}
	sorted := slices.Sorted(slices.Values(t))
	at := func(q float64) float64 {
		rank := int(math.Ceil(q * float64(len(sorted))))
		return micros(sorted[max(rank, 1)-1])
	}
	return quantiles{len(sorted), at(.5), at(.99), at(.999), at(1)}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// tally is what is added up of a cell in a round.
type tally struct {
	took           times
	ceilings       map[string]times
	own            times // of each turn, what a signature took over the ceilings of that turn
	elapsed        time.Duration
	pawl, card     time.Duration // CPU
	load, busy     time.Duration
	commits, syncs uint64
	resident       int64 // the highest
}

func newTally() *tally { return &tally{ceilings: make(map[string]times)} }

// merge adds up rounds.
func merge(rounds []*tally) *tally {
	sum := newTally()
	for _, t := range rounds {
		sum.took, sum.own = append(sum.took, t.took...), append(sum.own, t.own...)
		for name, took := range t.ceilings {
			sum.ceilings[name] = append(sum.ceilings[name], took...)
		}
		sum.elapsed += t.elapsed
		sum.pawl, sum.card = sum.pawl+t.pawl, sum.card+t.card
		sum.load, sum.busy = sum.load+t.load, sum.busy+t.busy
		sum.commits, sum.syncs = sum.commits+t.commits, sum.syncs+t.syncs
		sum.resident = max(sum.resident, t.resident)
	}
	return sum
}

// result is a cell of the report.
type result struct {
	Cell     string               `json:"cell"`
	Rate     float64              `json:"requests_per_second"`
	Took     quantiles            `json:"took"`
	Ceilings map[string]quantiles `json:"ceilings,omitempty"`
	Own      quantiles            `json:"own"`
	// CPU time of each process per request, in microseconds.
	Pawl float64 `json:"pawl_cpu_us"`
	Card float64 `json:"card_cpu_us"`
	Load float64 `json:"load_cpu_us"`
	// Busy is how many cores worked, for whatever.
	Busy     float64 `json:"cores_busy"`
	Commits  float64 `json:"commits_per_request"`
	Syncs    float64 `json:"fsyncs_per_request"`
	Resident float64 `json:"resident_mib"`
}

func (t *tally) result(name string) result {
	n := float64(len(t.took))
	each := func(d time.Duration) float64 { return micros(d) / n }
	r := result{
		Cell: name, Rate: n / t.elapsed.Seconds(), Took: t.took.quantiles(), Own: t.own.quantiles(),
		Ceilings: make(map[string]quantiles),
		Pawl:     each(t.pawl), Card: each(t.card), Load: each(t.load), Busy: t.busy.Seconds() / t.elapsed.Seconds(),
		Commits: float64(t.commits) / n, Syncs: float64(t.syncs) / n, Resident: mebibytes(t.resident),
	}
	for ceiling, took := range t.ceilings {
		r.Ceilings[ceiling] = took.quantiles()
	}
	return r
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// quartile is one of the values: the smallest for 0, the median for 2.
func quartile(values []float64, n int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)*n/4]
}
