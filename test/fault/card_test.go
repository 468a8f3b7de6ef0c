package fault_test

import (
	"bytes"
	"sync"
	"time"

	"pawl/tezos"
)

// cardLog is every signature that the card has made, of probes too.
type cardLog struct {
	mu   sync.Mutex
	made map[tezos.Digest][]signature

	watched map[tezos.Digest]bool
	count   int         // of the watched, since the watch began
	onSign  func(n int) // told of the n-th
}

func newCardLog() *cardLog { return &cardLog{made: make(map[tezos.Digest][]signature)} }

type signature struct {
	at  time.Time
	raw []byte
}

func (l *cardLog) add(data, raw []byte) {
	l.mu.Lock()
	digest := tezos.Digest(data)
	l.made[digest] = append(l.made[digest], signature{time.Now(), raw})
	watched := l.watched[digest]
	if watched {
		l.count++
	}
	n, onSign := l.count, l.onSign
	l.mu.Unlock()
	if watched {
		onSign(n)
	}
}

// watch has onSign told of each signature for the asks from now on. Without
// asks it ends.
func (l *cardLog) watch(asks []ask, onSign func(n int)) {
	watched := make(map[tezos.Digest]bool)
	for _, a := range asks {
		watched[a.digest()] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watched, l.count, l.onSign = watched, 0, onSign
}

// between returns the signatures of digest that were made in [from, to).
func (l *cardLog) between(digest tezos.Digest, from, to time.Time) (made []signature) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.made[digest] {
		if !s.at.Before(from) && s.at.Before(to) {
			made = append(made, s)
		}
	}
	return made
}

// of returns all signatures of a digest.
func (l *cardLog) of(digest tezos.Digest) []signature {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.made[digest]
}

// total is the number of signatures made.
func (l *cardLog) total() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, made := range l.made {
		n += len(made)
	}
	return n
}

// is reports whether the card's signature is the released one: r is the same, and
// s may have been made low.
func (s signature) is(released string) bool {
	sig, err := tezos.ParseSignature(released)
	return err == nil && bytes.Equal(sig.Bytes()[:32], s.raw[:32])
}
