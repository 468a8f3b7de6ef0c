package main

import (
	"context"
	"time"
)

// startup is how long a pawl takes from exec until it listens and until it is ready,
// which is when a probe signature of each key was verified, and what it takes up then.
type startup struct {
	Stand     string    `json:"stand"`
	Listening quantiles `json:"listening"`
	Ready     quantiles `json:"ready"`
	Resident  float64   `json:"resident_mib"` // at rest, the median
}

// restarted is the stand that is started again and again.
const restarted = "10 keys, again and again"

// settle is how long a pawl that is ready is left alone before its memory is read.
const settle = time.Second

// startups starts a pawl n times on a file system that has its files in memory.
func (b *bench) startups(ctx context.Context, keys, n int) (startup, error) {
	s := &stand{plan: plan{name: restarted, keys: keys, kinds: mixed, inFlight: 8}}
	if err := s.prepare(ctx, b); err != nil {
		return startup{}, err
	}
	var listening, ready times
	var memory []float64
	for range n {
		if err := s.run(ctx, b); err != nil {
			return startup{}, err
		}
		time.Sleep(settle)
		bytes, err := resident(s.pid)
		if err != nil {
			return startup{}, err
		}
		if err := s.pawl.stop(); err != nil {
			return startup{}, err
		}
		listening, ready, memory = append(listening, s.listening), append(ready, s.ready), append(memory, mebibytes(bytes))
	}
	return startup{s.name, listening.quantiles(), ready.quantiles(), quartile(memory, 2)}, nil
}

// startupOf is the one start of a stand.
func startupOf(s *stand) startup {
	return startup{s.name, times{s.listening}.quantiles(), times{s.ready}.quantiles(), mebibytes(s.atRest)}
}
