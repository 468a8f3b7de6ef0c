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

// leaps are the keys whose leaps were told. Others than those of the signer get no signature.
type leaps struct {
	mu   sync.Mutex
	told map[tezos.PublicKeyHash]*rarely
}

// of returns what is told of a key.
func (l *leaps) of(key tezos.PublicKeyHash) *rarely {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told == nil {
		l.told = make(map[tezos.PublicKeyHash]*rarely)
	}
	if l.told[key] == nil {
		l.told[key] = new(rarely)
	}
	return l.told[key]
}

// watchLeap counts and logs a signature that is far above all that was signed before. It is called
// after the answer was sent, and nothing depends on it: a clock decides only what is logged.
func (s *Server) watchLeap(ctx context.Context, log *requestLog) {
	consensus, ok := log.result.Request.(tezos.Consensus)
	if !ok || log.result.Rise <= leapLevels {
		return
	}
	s.metrics.leaps.WithLabelValues(s.metrics.label(log)).Inc()
	untold, now := s.leaps.of(log.key).tell(time.Now(), leapPause)
	if !now {
		return
	}
	s.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelWarn,
		"the level leapt in one request: see who may ask for signatures",
		slog.String("request_id", log.id), slog.String("pkh", log.pkh), slog.String("kind", consensus.Kind.String()),
		slog.String("chain_id", consensus.ChainID.String()), slog.Int("level", int(consensus.Level)),
		slog.Int64("levels_above", log.result.Rise), slog.Int("leaps_not_logged", untold))
}
