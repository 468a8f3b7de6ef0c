package daemon_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pawl/internal/config"
	"pawl/internal/daemon"
	"pawl/internal/ep11"
	"pawl/internal/logtest"
	"pawl/signer"
	"pawl/tezos"
)

// A next blob beside a file is compared with what the file holds, when it is opened.
func TestOpenComparesTheNextBlob(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	f.overwrite("k.hex", f.made.Blob.Hex())
	f.write(map[string]any{"keys": map[string]any{f.key.String(): map[string]any{
		"public_key": f.made.PublicKey.String(), "secret_key_file": "k.hex", "secret_key_next": f.made.Blob.Hex(),
	}}})
	s, findings, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	defer closeSigner(t, s)
	want := "keys." + f.key.String() + ".secret_key_next: wrapped by the same master key"
	if len(findings) != 1 || findings[0].Severity != config.Warning || !strings.HasPrefix(findings[0].String(), want) {
		t.Errorf("findings %v, want %q", findings, want)
	}
}

// rotate loads and commits a new master key of the folder's card, and rewraps the key.
func (f *folder) rotate() (next ep11.Blob) {
	t := f.t
	t.Helper()
	if err := f.card.Dir.LoadNext(); err != nil {
		t.Fatal(err)
	}
	if err := f.card.Dir.CommitNext(); err != nil {
		t.Fatal(err)
	}
	next, err := f.card.Dial(t).Rewrap(t.Context(), f.made.Blob)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// TestMasterKeyChangesUnderLoad: the whole sign path, with keys.json taken up while it
// runs, and the master key finalised while blocks and votes are asked for. Each request
// is answered; the card signs each digest once.
func TestMasterKeyChangesUnderLoad(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	var twice atomic.Int32
	var signed sync.Map
	f.card.Stop() // OnSign is to be set before Serve
	f.card.Card.OnSign = func(data, _ []byte) {
		if _, double := signed.LoadOrStore(string(data), true); double {
			twice.Add(1)
		}
	}
	f.card.Start(t)
	cfg, findings, err := config.Load(f.path)
	if err != nil || len(findings) != 0 {
		t.Fatalf("Load: %v %v", err, findings)
	}
	var log heard
	s, _, err := daemon.Open(t.Context(), cfg, daemon.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer closeSigner(t, s)
	ctx, stop := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { s.Watch(ctx) })
	defer watch.Wait()
	defer stop()
	for s.Readiness()[f.key] != nil {
		time.Sleep(10 * time.Millisecond)
	}

	load := f.load(s.Signer)
	for round := range 2 {
		next := f.rotate()
		keys := []config.Rotation{{Key: f.key, Blob: f.made.Blob, Next: next}}
		if err := config.AddNextBlobs(f.path, keys); err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); log.count("keys_with_new_blobs=1") <= round; time.Sleep(10 * time.Millisecond) {
			if time.Since(start) > 20*time.Second {
				t.Fatalf("the next blob is not taken up: %s", log.String())
			}
		}
		if err := f.card.Dir.Finalise(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if err := config.PromoteBlobs(f.path, keys); err != nil {
			t.Fatal(err)
		}
		f.made.Blob = next
	}
	if n := load(); n < 20 || twice.Load() != 0 {
		t.Errorf("%d signatures, %d of them twice", n, twice.Load())
	}
}

// heard is a log that a test looks into.
type heard struct{ logtest.Buffer }

func (h *heard) count(what string) int { return strings.Count(h.String(), what) }

// load asks for one vote of each kind a level and operations until the function that it
// returns is called, which tells how many were answered.
func (f *folder) load(s *signer.Signer) (stop func() int64) {
	var done atomic.Bool
	var count atomic.Int64
	var workers sync.WaitGroup
	run := func(payload func(level uint32) []byte) {
		workers.Go(func() {
			for level := uint32(10); !done.Load(); level++ {
				p := payload(level)
				res, err := s.Sign(context.Background(), f.key, p)
				if err == nil {
					err = f.made.PublicKey.Verify(tezos.NewMessage(p), res.Signature)
				}
				if err != nil {
					f.t.Errorf("level %d: %v", level, err)
					return
				}
				count.Add(1)
			}
		})
	}
	run(func(level uint32) []byte { return block(level, 0, 0) })
	run(func(level uint32) []byte { return vote(tezos.Attestation, level, 0, 0) })
	run(func(level uint32) []byte { return vote(tezos.Preattestation, level, 0, 0) })
	return func() int64 {
		done.Store(true)
		workers.Wait()
		return count.Load()
	}
}

// A daemon takes up the blobs alone, and of its own keys. Whatever keys.json has become, it
// signs on and says once what it makes of it.
func TestTakesUpNothingElse(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	cfg, _, err := config.Load(f.path)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s, _, err := daemon.Open(t.Context(), cfg, daemon.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer closeSigner(t, s)
	for i, test := range []struct {
		damage func()
		want   string // in the log, once; with "" it says nothing
	}{
		{func() {}, ""},
		{func() { f.overwrite("keys.json", "{") }, "cannot be read"},
		{func() { f.write(map[string]any{"policy": map[string]any{"operations": []string{}}}) }, "keys_with_new_blobs=0"},
		{func() { f.write(map[string]any{"url": nil}) }, "would not start again"},
		{func() { f.write(map[string]any{"keys": map[string]any{otherHash: f.entryOf(otherPublic)}}) }, "keys_with_new_blobs=0"},
		{func() { f.keyFile("none.sk.hex") }, "none.sk.hex"},
		{func() { f.remove("keys.json") }, ""},
		{func() { f.made.Blob = parsedBlob(t, sampleBlob("09")); f.write(nil) }, "keys_with_new_blobs=1"},
		{func() { f.keyFile("good.sk.hex"); f.overwrite("good.sk.hex", sampleBlob("0a")) }, "keys_with_new_blobs=1"},
	} {
		log.Reset()
		test.damage()
		for range 3 {
			s.Reload(context.Background())
		}
		if got := log.String(); strings.Count(got, test.want) != 1 && test.want != "" || test.want == "" && got != "" || strings.Contains(got, "abab") {
			t.Errorf("%d: log %q, want %q in it once", i, got, test.want)
		}
		if _, err := s.Sign(t.Context(), f.key, block(uint32(5+i), 0, 0)); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// entryOf is the entry of another key, with the blob of the folder's.
func (f *folder) entryOf(public string) map[string]any {
	return map[string]any{"public_key": public, "secret_key": f.made.Blob.Hex()}
}
