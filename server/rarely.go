package server

import (
	"sync"
	"time"
)

// rarely lets an event that strangers can repeat be told now and then.
type rarely struct {
	mu     sync.Mutex
	last   time.Time
	untold int
}

// now reports whether to tell of an event that has just happened: the first one, then one in each
// interval. untold is how many were not told of since.
func (r *rarely) now(interval time.Duration) (untold int, tell bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.last.IsZero() && time.Since(r.last) < interval {
		r.untold++
		return 0, false
	}
	untold, r.untold, r.last = r.untold, 0, time.Now()
	return untold, true
}
