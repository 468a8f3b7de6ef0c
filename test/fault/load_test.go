package fault_test

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"pawl/internal/config"
	pawldaemon "pawl/internal/daemon"
	"pawl/ratchet"
	"pawl/signer"
	"pawl/tezos"
)

// TestLoad asks for too much at once. What it measures is measured before other parts
// begin: it does not run in parallel.
func TestLoad(t *testing.T) {
	l := newLoad(t)
	t.Run("conflicts in process", l.conflictsInProcess)
	l.d = l.start(t)
	t.Run("conflicts over HTTP", l.conflictsOverHTTP)
	t.Run("identical", l.identical)
	t.Run("hang up", l.hangUp)
	t.Run("abuse", l.abuse)
	t.Run("latency", l.latency)
	t.Logf("memory %d MiB and %d descriptors at the most", l.peak, l.descriptors)
	if _, err := l.oracle.merge(l.card); err != nil {
		t.Errorf("seed %d: %v", *campaignSeed, err)
	}
}

// load is a rig and the slots that it has used.
type load struct {
	*rig
	d      *daemon
	random *rand.Rand
	level  int32
	slots  int

	peak, descriptors int // MiB and how many, at the most
}

func newLoad(t *testing.T) *load {
	t.Helper()
	return &load{rig: newRig(t), random: partLoad.random(), level: 1000}
}

// slot is a new one. Keys, kinds and chains take turns.
func (l *load) slot() ratchet.Mark {
	key, kind := l.keys[l.slots%len(l.keys)], kinds[l.slots/len(l.keys)%len(kinds)]
	l.slots++
	l.level++
	return ratchet.Mark{Key: key.Hash(), ChainID: chainOf(key, int(l.level)), Kind: kind, Level: l.level, Round: l.random.Int32N(4)}
}

// crowd is n asks for a slot, all of different payloads.
func crowd(mark ratchet.Mark, n int) []ask {
	asks := make([]ask, n)
	for i := range asks {
		asks[i] = ask{mark, i}
	}
	return asks
}

func countRequests(n int) { total.add(func(all *tally) { all.requests += n }) }

// quarter is the share of what goes on for as long as it may.
var quarter = part{partLoad.name, partLoad.share / 4}

const (
	conflictsInProcess = 10_000
	slotsOfACampaign   = 100 // a million requests
	slotsOfAShortForm  = 3
)

// conflictsInProcess has ten thousand callers ask for different payloads of one slot at
// the same moment, again and again: one of each slot gets a signature, and nobody else
// ever. No HTTP and no connection spreads them out.
func (l *load) conflictsInProcess(t *testing.T) {
	cfg, findings, err := config.Load(l.config())
	if err != nil {
		t.Fatal(err, findings)
	}
	s, findings, err := pawldaemon.Open(t.Context(), cfg, pawldaemon.Options{})
	if err != nil {
		t.Fatal(err, findings)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	least := slotsOfAShortForm
	if *campaignTime > 0 {
		least = slotsOfACampaign
	}
	began := time.Now()
	for range least {
		l.crowdInProcess(t, s.Signer, l.slot())
	}
	took := time.Since(began)
	t.Logf("%d slots with %d requests each: %.0f requests/s", least, conflictsInProcess, float64(least*conflictsInProcess)/took.Seconds())
}

func (l *load) crowdInProcess(t *testing.T, s *signer.Signer, mark ratchet.Mark) {
	t.Helper()
	asks := crowd(mark, conflictsInProcess)
	payloads := make([][]byte, len(asks))
	for i, a := range asks {
		payloads[i] = a.payload()
		l.oracle.asks(payloads[i])
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	begin, winners := make(chan struct{}), make(map[int]tezos.Signature)
	for i := range asks {
		all.Go(func() {
			<-begin
			res, err := s.Sign(t.Context(), mark.Key, payloads[i])
			switch {
			case err == nil:
				mu.Lock()
				defer mu.Unlock()
				winners[i] = res.Signature
			case !errors.Is(err, ratchet.ErrRefused) && !errors.Is(err, ratchet.ErrQueueFull):
				t.Errorf("%v: %v, want a signature, a refusal or a full queue", asks[i], err)
			}
		})
	}
	close(begin)
	all.Wait()
	for i, signature := range winners {
		l.oracle.released(mark, payloads[i], signature.String())
	}
	countRequests(len(asks))
	l.wantOne(t, s, asks, payloads, winners)
	total.happenedTimes(partLoad, "10,000 conflicting requests at once, in process", "one signature in each slot", 1)
}

// wantOne checks the winner, and asks again: for its bytes, and for others.
func (l *load) wantOne(t *testing.T, s *signer.Signer, asks []ask, payloads [][]byte, winners map[int]tezos.Signature) {
	t.Helper()
	if len(winners) != 1 {
		t.Errorf("%v: %d payloads of %d got a signature, want one: %v, seed %d", asks[0], len(winners), len(asks), winners, *campaignSeed)
	}
	for i, signature := range winners {
		other := (i + 1 + l.random.IntN(len(asks)-1)) % len(asks)
		if res, err := s.Sign(t.Context(), asks[i].mark.Key, payloads[other]); !errors.Is(err, ratchet.ErrRefused) {
			t.Errorf("%v after that: %v %v, want a refusal", asks[other], res.Signature, err)
		}
		res, err := s.Sign(t.Context(), asks[i].mark.Key, payloads[i])
		if err != nil || !res.Stored || res.Signature.String() != signature.String() {
			t.Errorf("%v again: %v, stored %t, %v; want the stored %v", asks[i], res.Signature, res.Stored, err, signature)
		}
		countRequests(2)
	}
}

// another is another client of the daemon, with connections of its own.
func (d *daemon) another() *daemon {
	return &daemon{url: d.url, client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}}
}

// conflictsOverHTTP has two clients ask for 250 payloads of one slot each.
func (l *load) conflictsOverHTTP(t *testing.T) {
	const callers = 500
	began := time.Now()
	slots := 0
	for ; quarter.goesOn(began, slots, slotsOfAShortForm) && slots < 10*slotsOfACampaign; slots++ {
		asks := crowd(l.slot(), callers)
		l.random.Shuffle(len(asks), func(i, j int) { asks[i], asks[j] = asks[j], asks[i] })
		answers := make([]answer, 0, callers)
		for _, half := range l.postFromTwo(asks) {
			answers = append(answers, half...)
		}
		winner := onlyWinner(t, answers)
		if t.Failed() {
			t.Fatalf("slot %d, seed %d", slots+1, *campaignSeed)
		}
		again := l.post(l.d, winner.ask)
		other := l.post(l.d, ask{winner.mark, (winner.variant + 1) % callers})
		if again != winner || other.status != http.StatusConflict {
			t.Errorf("after that %v and %v, want %v and 409", again, other, winner)
		}
		total.happened(partLoad, "500 conflicting requests at once, of two clients", "one signature in each slot")
	}
	t.Logf("%d slots: %.0f requests/s", slots, float64(slots*callers)/time.Since(began).Seconds())
}

// postFromTwo asks from two clients at the same moment.
func (l *load) postFromTwo(asks []ask) (answers [2][]answer) {
	var both sync.WaitGroup
	for i := range answers {
		client := l.d.another()
		both.Go(func() {
			defer client.client.CloseIdleConnections()
			answers[i] = l.postAll(client, asks[i*len(asks)/2:(i+1)*len(asks)/2], nil)
		})
	}
	both.Wait()
	return answers
}

// identical has a thousand clients ask for the same: the card is asked once, and all get
// its signature.
func (l *load) identical(t *testing.T) {
	const callers = 1000
	times := 1
	if *campaignTime > 0 {
		times = 5
	}
	for range times {
		mark, client := l.slot(), l.d.another()
		asks := make([]ask, callers)
		for i := range asks {
			asks[i] = ask{mark, 0}
		}
		answers := l.postAll(client, asks, nil)
		client.client.CloseIdleConnections()
		for _, a := range answers {
			if a != answers[0] || a.status != http.StatusOK {
				t.Fatalf("one of %d identical requests got %v, another %v, want one signature", callers, a, answers[0])
			}
		}
		if made := l.madeFor(asks[0]); made != 1 {
			t.Errorf("the card signed %d times for %d identical requests, want once", made, callers)
		}
		total.happened(partLoad, "1,000 identical requests at once", "one call of the HSM, all got the same signature")
	}
}

// madeFor is how many signatures the card has made for a payload.
func (l *load) madeFor(a ask) int {
	return len(l.card.between(a.digest(), time.Time{}, time.Now().Add(time.Hour)))
}
