package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"pawl/tezos"
)

const (
	// leapLevels is how many levels a mark may rise in one request before it is a leap: a hundred
	// minutes of mainnet. A baker that was off for so long makes one when it comes back. Whoever
	// may ask for signatures can make one after the other, each below the level gap, until no
	// level is left.
	leapLevels = 1000
	// leapPause is the least time between two lines about the leaps of a key.
	leapPause = time.Minute
)

// leaps tells of leaps: in a metric of each, in the log of one a key and leapPause.
type leaps struct {
	mu   sync.Mutex
	told map[tezos.PublicKeyHash]*leapsOfKey // keys of the signer only: others get no signature
}

type leapsOfKey struct {
	at     time.Time // of the last line
	untold int       // leaps since then
}

// watchLeap counts and logs a signature that is far above all that was signed before. It is called
// after the answer was sent, and nothing depends on it: a clock decides only what is logged.
func (s *Server) watchLeap(ctx context.Context, log *requestLog) {
	consensus, ok := log.result.Request.(tezos.Consensus)
	if !ok || log.result.Rise <= leapLevels {
		return
	}
	s.metrics.leaps.WithLabelValues(s.metrics.label(log)).Inc()
	tell, untold := s.leaps.add(log.key, time.Now())
	if !tell {
		return
	}
	s.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelWarn,
		"the level leapt in one request: see who may ask for signatures",
		slog.String("request_id", log.id), slog.String("pkh", log.pkh), slog.String("kind", consensus.Kind.String()),
		slog.String("chain_id", consensus.ChainID.String()), slog.Int("level", int(consensus.Level)),
		slog.Int64("levels_above", log.result.Rise), slog.Int("leaps_not_logged", untold))
}

// add records a leap, and reports whether it is to be logged, with how many were not before it.
func (l *leaps) add(key tezos.PublicKeyHash, now time.Time) (tell bool, untold int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told == nil {
		l.told = make(map[tezos.PublicKeyHash]*leapsOfKey)
	}
	of, known := l.told[key]
	if !known {
		of = new(leapsOfKey)
		l.told[key] = of
	}
	if known && now.Sub(of.at) < leapPause {
		of.untold++
		return false, 0
	}
	untold, of.untold, of.at = of.untold, 0, now
	return true, untold
}
