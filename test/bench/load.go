package main

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// load is what connections do with their lanes: prepare once with each, then ask
// with one after the other.
type load struct{ prepare, ask func(*lane, *conn) error }

// The loads.
var (
	signing     = load{ask: (*lane).sign}
	asOctez     = load{ask: (*lane).signAsOctez}
	repeating   = load{prepare: (*lane).sign, ask: (*lane).repeat}
	conflicting = load{prepare: (*lane).sign, ask: (*lane).conflict}
	getting     = load{ask: (*lane).get}
)

// worker does one measured thing after another. What it does besides, like reading
// the answer, it does not count.
type worker struct {
	ask func() (time.Duration, error)
	end func() error
}

// timed is a worker of which all is measured.
func timed(do func() error) worker {
	ask := func() (time.Duration, error) {
		start := time.Now()
		err := do()
		return time.Since(start), err
	}
	return worker{ask, func() error { return nil }}
}

// worker is one connection with its lanes. Its end verifies the last signature of
// each lane.
func (l load) worker(c *conn, lanes []*lane) (worker, error) {
	if l.prepare != nil {
		for _, lane := range lanes {
			if err := l.prepare(lane, c); err != nil {
				return worker{}, errors.Join(err, c.close())
			}
		}
	}
	turn := 0
	ask := func() (time.Duration, error) {
		lane := lanes[turn%len(lanes)]
		turn++
		before := c.took
		err := l.ask(lane, c)
		return c.took - before, err
	}
	end := func() error {
		errs := []error{c.close()}
		for _, lane := range lanes {
			errs = append(errs, lane.verify())
		}
		return errors.Join(errs...)
	}
	return worker{ask, end}, nil
}

// closedLoop has all workers ask at once, each as soon as it is answered, until
// more says no, and gives what each request took.
func closedLoop(workers []worker, more func() bool) ([]time.Duration, error) {
	return together(workers, func(w worker) (took []time.Duration, err error) {
		for err == nil && more() {
			took, err = w.once(took)
		}
		return took, err
	})
}

// waves has all workers ask at the same moment, or each at some moment of spread, and
// again when all are answered and a pause is over, as bakers do when a level begins.
func waves(workers []worker, spread, pause time.Duration, more func() bool) (took []time.Duration, err error) {
	for err == nil && more() {
		var wave []time.Duration
		wave, err = together(workers, func(w worker) ([]time.Duration, error) {
			if spread > 0 {
				time.Sleep(rand.N(spread)) //nolint:gosec // when to ask is no secret
			}
			return w.once(nil)
		})
		took = append(took, wave...)
		time.Sleep(pause)
	}
	return took, err
}

// once appends what the next request took.
func (w worker) once(took []time.Duration) ([]time.Duration, error) {
	one, err := w.ask()
	return append(took, one), err
}

// together runs all workers and waits for them.
func together(workers []worker, do func(worker) ([]time.Duration, error)) ([]time.Duration, error) {
	took := make([][]time.Duration, len(workers))
	errs := make([]error, len(workers))
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i, w := range workers {
		all.Go(func() {
			<-begin
			took[i], errs[i] = do(w)
		})
	}
	close(begin)
	all.Wait()
	var list []time.Duration
	for _, one := range took {
		list = append(list, one...)
	}
	return list, errors.Join(errs...)
}

// until says yes as long as the time is not over.
func until(end time.Time) func() bool { return func() bool { return time.Now().Before(end) } }

// atMost says yes n times in all.
func atMost(n int) func() bool {
	var asked atomic.Int64
	return func() bool { return asked.Add(1) <= int64(n) }
}
