package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"pawl/signer/grep11"
	"pawl/tezos"
)

// plan is what a stand is made of.
type plan struct {
	name     string
	keys     int
	kinds    []tezos.KeyKind // of the keys, in turn
	tls      bool
	delay    time.Duration // of the card
	inFlight int           // calls to the card at once
	program  string        // other than the bench's
}

// stand is a signer that runs, and what is known of it. Of one that is not ours these
// are the lanes and the dialer.
type stand struct {
	plan
	lanes  []*lane
	dialer dialer
	pid    int // of the signer; 0 when it is not known

	pawl, card *process
	syncs      *syncs
	keys       []signingKey
	client     *grep11.Client // straight to the card
	listening  time.Duration  // from exec on
	ready      time.Duration
	atRest     int64 // bytes in memory when it was ready
}

func (b *bench) stand(ctx context.Context, p plan) (*stand, error) {
	s := &stand{plan: p}
	if err := s.prepare(ctx, b); err != nil {
		return nil, err
	}
	if err := s.run(ctx, b); err != nil {
		return nil, err
	}
	return s, s.wearIn()
}

// prepare makes all that the stand needs to run.
func (s *stand) prepare(ctx context.Context, b *bench) (err error) {
	p := s.plan
	if s.card, err = b.card(ctx, p.delay); err != nil {
		return err
	}
	hsm := grep11.Config{
		Address: s.card.Address, MaxInFlight: p.inFlight,
		CertPath: b.cardFile("client.pem"), KeyPath: b.cardFile("client-key.pem"), CACertPath: b.cardFile("ca.pem"),
	}
	if s.client, err = grep11.Dial(hsm); err != nil {
		return err
	}
	b.onClose(s.client.Close)
	if s.keys, err = b.makeKeys(ctx, p, hsm); err != nil {
		return err
	}
	if s.syncs, err = newSyncs(b.path(p.name + ".syncs")); err != nil {
		return err
	}
	for _, key := range s.keys {
		s.lanes = append(s.lanes, lanesOf(key.public(), 0)...)
	}
	return nil
}

// makeKeys takes the card without delay, so that ten thousand do not take minutes.
func (b *bench) makeKeys(ctx context.Context, p plan, hsm grep11.Config) ([]signingKey, error) {
	quick, err := b.card(ctx, 0)
	if err != nil {
		return nil, err
	}
	slow := hsm.Address
	hsm.Address = quick.Address
	keys, err := makeFolder(ctx, b.path(p.name), hsm, p)
	if err != nil || slow == hsm.Address {
		return keys, err
	}
	hsm.Address = slow
	return keys, folder(b.path(p.name)).writeConfig(hsm, keys)
}

// run runs pawl and takes the time until it listens and until it is ready.
func (s *stand) run(ctx context.Context, b *bench) (err error) {
	args := []string{
		"serve", "--config", folder(b.path(s.name)).config(), "--listen", "127.0.0.1:0", "--admin",
		"127.0.0.1:0",
	}
	if s.tls {
		args = append(args, "--tls-cert", b.cardFile("server.pem"), "--tls-key", b.cardFile("server-key.pem"),
			"--tls-client-ca", b.cardFile("ca.pem"))
	}
	began := time.Now()
	if s.pawl, err = b.start(ctx, s.name, s.syncs.environment(b.library), cmp.Or(s.program, b.pawl), args...); err != nil {
		return err
	}
	s.pid, s.listening = s.pawl.pid(), time.Since(began)
	if err := s.awaitReady(ctx); err != nil {
		return err
	}
	s.ready = time.Since(began)
	if s.atRest, err = resident(s.pid); err != nil {
		return err
	}
	s.dialer, err = b.dialer(s.pawl.Address, s.tls)
	return err
}

// wearIn makes the ratchet one that has been in use: each key has its marks, and the
// -wal does not grow any more but is written over.
func (s *stand) wearIn() error {
	shares, err := share(s.lanes, 16)
	if err != nil {
		return err
	}
	var workers []worker
	for _, lanes := range shares {
		w, err := signing.worker(&conn{dialer: s.dialer}, lanes)
		if err != nil {
			return err
		}
		workers = append(workers, w)
	}
	marks := len(s.keys) * len(kinds)
	_, err = closedLoop(workers, atMost(max(marks, 2*walFrames))) // about one page each
	for _, w := range workers {
		err = errors.Join(err, w.end())
	}
	return err
}

func (s *stand) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		status, body, err := s.admin(ctx, "/readyz")
		if err != nil || status == http.StatusOK {
			return err
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %.500s", s.name, body)
		}
	}
}

// admin asks the admin listener.
func (s *stand) admin(ctx context.Context, path string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.pawl.Admin+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), errors.Join(err, response.Body.Close())
}

// key returns the n-th of the keys that a cell uses, straight with the card.
func (r *running) key(n int) (*grep11.Key, error) {
	keys := slices.DeleteFunc(slices.Clone(r.stand.keys), func(k signingKey) bool {
		return r.cell.oneKind && k.public().Kind() != r.cell.kind
	})
	k := keys[n%len(keys)]
	return r.stand.client.Key(k.public(), k.made.Blob)
}

// commits is how many commits of marks there were.
func (s *stand) commits(ctx context.Context) (n uint64, err error) {
	if s.pawl == nil {
		return 0, nil
	}
	_, metrics, err := s.admin(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(metrics) {
		if text, ok := strings.CutPrefix(line, "pawl_ratchet_commit_seconds_count "); ok {
			_, err := fmt.Sscan(text, &n)
			return n, err
		}
	}
	return 0, errors.New("/metrics tells nothing of commits")
}
