package main

import (
	"fmt"
	"runtime"
)

// target is what a figure of this run may be at most, against others of the same run.
type target struct {
	Name  string  `json:"name"`
	Got   float64 `json:"got"`
	Limit float64 `json:"limit"`
	Held  bool    `json:"held"`
}

func atMostTarget(got, limit float64, format string, args ...any) target {
	return target{fmt.Sprintf(format, args...), got, limit, got <= limit}
}

func atLeastTarget(got, limit float64, format string, args ...any) target {
	return target{fmt.Sprintf(format, args...), got, limit, got >= limit}
}

// What pawl may add, in microseconds.
const (
	ownP50     = 150
	ownP99     = 1000
	waveExtra  = 2000
	waveOwnP99 = 1000
)

// targets judges a report, as far as its cells go.
func (r report) targets() []target {
	cells := make(map[string]result)
	for _, c := range r.Cells {
		cells[c.Cell] = c
	}
	var list []target
	for _, c := range r.Cells {
		if len(c.Ceilings) == len(all) {
			list = append(list, oneSignature(c, len(r.rounds[c.Cell]))...)
		}
	}
	list = append(list, parallel(cells)...)
	list = append(list, r.manyKeys(cells)...)
	list = append(list, slowTargets(cells)...)
	return append(list, r.atRest(cells)...)
}

// restSyncs is what a rest of the ratchet costs: the -wal, the database, and a write
// into the -wal that is begun anew. One may fall into the pause of a turn.
const restSyncs = 3

// oneSignature: the ceilings and what pawl may add to them.
func oneSignature(c result, turns int) []target {
	var p50, p99 float64
	for _, name := range ofSignature {
		p50, p99 = p50+c.Ceilings[name].P50, p99+c.Ceilings[name].P99
	}
	return []target{
		atMostTarget(c.Took.P50, p50+ownP50, "%s: p50 µs, ceilings + %d", c.Cell, ownP50),
		// The median of a sum is over the sum of medians on a machine with other tenants.
		atMostTarget(c.Own.P50, ownP50, "%s: p50 µs over the ceilings of the same turn", c.Cell),
		atMostTarget(c.Took.P99, p99+ownP99, "%s: p99 µs, ceilings + %d", c.Cell, ownP99),
		// A load without rests begins the -wal anew every thousand pages, with a few more.
		atMostTarget(c.Syncs, 1.01+float64(restSyncs*turns)/float64(c.Took.Count), "%s: fsyncs a signature", c.Cell),
	}
}

// parallel: sixteen connections fill the machine, or bring three times what one does.
func parallel(cells map[string]result) []target {
	many, ok := cells["10 keys, 16 connections"]
	var one float64
	for _, name := range []string{"tz1, 1 connection", "tz2, 1 connection", "tz3, 1 connection"} {
		one += cells[name].Rate / 3
		ok = ok && cells[name].Rate > 0
	}
	if !ok {
		return nil
	}
	t := atLeastTarget(many.Rate/one, 3, "%s: rate, as often as of one connection", many.Cell)
	full := many.Busy > .95*float64(runtime.NumCPU())
	t.Held = t.Held || full && many.Pawl/(many.Pawl+many.Card+many.Load) < .4
	return []target{t}
}

// manyKeys: a signature costs no more for there being more keys.
func (r report) manyKeys(cells map[string]result) []target {
	const few = "10 keys, 64 connections"
	if cells[few].Rate == 0 {
		return nil
	}
	var list []target
	for _, name := range []string{"1000 keys, 64 connections", "10000 keys, 64 connections"} {
		if many, ok := cells[name]; ok {
			list = append(list,
				atLeastTarget(r.rateRatio(name, few), 1, "%s: rate, as often as of 10 keys", name),
				atMostTarget(many.Took.P99/cells[few].Took.P99, 1.5, "%s: p99, as often as of 10 keys", name))
		}
	}
	return list
}

// rateRatio is the median over the rounds, in each of which two cells stand close together.
func (r report) rateRatio(a, b string) float64 {
	var ratios []float64
	for i, round := range r.rounds[a] {
		ratios = append(ratios, round.Rate/r.rounds[b][i].Rate)
	}
	return quartile(ratios, 2)
}

// slowTargets: what others take long for is waited for once.
func slowTargets(cells map[string]result) []target {
	var list []target
	for _, name := range []string{"HSM 25 ms, 64 at once", "HSM 25 ms, 64 within 200 ms"} {
		c, ok := cells[name]
		if !ok {
			continue
		}
		commit, hsm := c.Ceilings[ceilingCommit], c.Ceilings[ceilingHSM]
		list = append(list,
			atMostTarget(c.Took.Max, 25_000+2*commit.P50+waveExtra, "%s: slowest µs", c.Cell),
			atMostTarget(c.Took.P99-hsm.P99-commit.P99, waveOwnP99, "%s: p99 µs over HSM and commit", c.Cell))
	}
	if c, ok := cells["10 keys, 64 connections, fsync +5 ms"]; ok {
		list = append(list, atLeastTarget(1/c.Syncs, 8, "%s: signatures an fsync", c.Cell))
	}
	return list
}

// atRest: what pawl takes up and does when nothing is signed.
func (r report) atRest(cells map[string]result) []target {
	var list []target
	for _, s := range r.Startups {
		if s.Stand == restarted {
			list = append(list,
				atMostTarget(s.Resident, 30, "10 keys at rest: MiB"),
				atMostTarget(s.Ready.P50, 50_000, "10 keys: ready after µs"))
		}
	}
	if c, ok := cells["GET /keys, 16 connections"]; ok {
		list = append(list, atMostTarget(c.Syncs+c.Commits, 0, "%s: fsyncs and commits", c.Cell),
			atMostTarget(c.Card, 1, "%s: µs of the HSM", c.Cell)) // which is asked every second whether it is there
	}
	return list
}
