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

// tell reports whether to tell of an event at that time: of the first one, then of one in each interval.
// untold is how many were not told of since.
func (r *rarely) tell(at time.Time, interval time.Duration) (untold int, now bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.last.IsZero() && at.Sub(r.last) < interval {
		r.untold++
		return 0, false
	}
	untold, r.untold, r.last = r.untold, 0, at
	return untold, true
}
