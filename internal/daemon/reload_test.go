package daemon_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pawl/internal/config"
	"pawl/internal/daemon"
	"pawl/internal/ep11"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/signertest"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// openLogged opens the folder's signer with a log.
func (f *folder) openLogged() (*daemon.Daemon, *heard) {
	f.t.Helper()
	cfg, findings, err := config.Load(f.path)
	if err != nil || len(findings) != 0 {
		f.t.Fatalf("Load: %v %v", err, findings)
	}
	var log heard
	s, _, err := daemon.Open(f.t.Context(), cfg, daemon.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { closeSigner(f.t, s) })
	return s, &log
}

// rewrapped writes the next blob into keys.json; finalise makes it the only one of use.
func (f *folder) rewrapped() config.Rotation {
	f.t.Helper()
	r := config.Rotation{Key: f.key, Blob: f.made.Blob, Next: f.rotate()}
	if err := config.AddNextBlobs(f.path, []config.Rotation{r}); err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f *folder) finalise() {
	f.t.Helper()
	if err := f.card.Dir.Finalise(); err != nil {
		f.t.Fatal(err)
	}
}

// finalised is a signer whose card wants blobs that stand in keys.json alone.
func finalised(t *testing.T) (*folder, *daemon.Daemon, *heard) {
	t.Helper()
	f := newFolder(t)
	s, log := f.openLogged()
	f.rewrapped()
	f.finalise()
	return f, s, log
}

// TestFinalisedBeforeTheTakeUp: the new master key is finalised the moment keys.json has the
// next blobs, while blocks and votes are asked for and nothing watches. No request fails, no
// try does, and keys.json is read once each time.
func TestFinalisedBeforeTheTakeUp(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s, log := f.openLogged()
	load := f.load(s.Signer)
	const rounds = 5
	for range rounds {
		time.Sleep(100 * time.Millisecond)
		r := f.rewrapped()
		f.finalise()
		time.Sleep(100 * time.Millisecond)
		if err := config.PromoteBlobs(f.path, []config.Rotation{r}); err != nil {
			t.Fatal(err)
		}
		f.made.Blob = r.Next
	}
	n := load()
	if failed := s.Servers()[0].Failed; n < 20 || failed != 0 {
		t.Errorf("%d signatures, %d tries that failed", n, failed)
	}
	if reads := log.count("keys_with_new_blobs=1"); reads != rounds {
		t.Errorf("keys.json was read %d times for %d new blobs", reads, rounds)
	}
}

// TestServersFinaliseBeforeTheTakeUp: one is away and the other has finalised: the second
// try of a request looks at keys.json too, and so does a probe, so that readiness does not
// tell of a server that is left out for a moment.
func TestServersFinaliseBeforeTheTakeUp(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	away := f.card.Twin(t, nil)
	f.write(map[string]any{"url": []string{away.Address, f.card.Address}})
	s, log := f.openLogged()
	signertest.Prove(t, s.Signer, 2)
	f.rewrapped()
	f.finalise()
	away.Stop()
	for level := range uint32(2) { // one of them is tried at the server that is away
		if _, err := s.Sign(t.Context(), f.key, block(level+1, 0, 0)); err != nil {
			t.Error(err)
		}
	}
	if got := s.Servers()[1]; got.Failed != 0 || got.Signed != 2 {
		t.Errorf("the server that has finalised signed %d times and failed %d times, want 2 and 0", got.Signed, got.Failed)
	}
	if n := log.count("HSM server left out"); n > 1 {
		t.Errorf("%d servers were left out", n)
	}
}

// TestProbeLooksAtTheConfig, so that a server that has finalised is not left out.
func TestProbeLooksAtTheConfig(t *testing.T) {
	t.Parallel()
	_, s, _ := finalised(t)
	signertest.Prove(t, s.Signer, 1) // which watches the servers, and not keys.json
}

// TestFlightsShareALook: eight requests at once that the card refuses read a keys.json that has
// nothing for them once, and get the card's refusal. Each look that reads the file
// complains of the blob file, for one.
func TestFlightsShareALook(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	f.write(map[string]any{"policy": map[string]any{"michelson": true, "operations": []string{}}})
	s, log := f.openLogged()
	f.rotate()
	f.finalise()
	f.keyFile("none.sk.hex")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			_, err := s.Sign(t.Context(), f.key, michelson(byte(i)))
			if refusal, ok := errors.AsType[*grep11.Error](err); !ok || refusal.Code != ep11.CodeIBMWKIDMismatch {
				t.Errorf("request %d: %v, want CKR_IBM_WKID_MISMATCH", i, err)
			}
		})
	}
	all.Wait()
	if n := log.count("none.sk.hex"); n != 1 {
		t.Errorf("keys.json was read %d times", n)
	}
}

// TestBadConfigIsReadAgainByWatchAlone: one that cannot be read is not read by each request
// that is refused, but once a second, so that it is enough to mend its mode.
func TestBadConfigIsReadAgainByWatchAlone(t *testing.T) {
	t.Parallel()
	f, s, _ := finalised(t)
	signs := func(when string, want bool) {
		t.Helper()
		if _, err := s.Sign(t.Context(), f.key, block(5, 0, 0)); (err == nil) != want {
			t.Errorf("%s: %v", when, err)
		}
	}
	chmod(t, f.path, 0o666)
	signs("writable by others", false)
	chmod(t, f.path, 0o600)
	signs("not looked at by Watch yet", false)
	s.Reload(context.Background())
	signs("looked at", true)
}

// TestLookIsBounded: a file system that hangs costs a request the time of one try and no more.
func TestLookIsBounded(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s, _ := f.openLogged()
	f.rotate()
	f.finalise()
	release := make(chan struct{})
	hangs := s.HangAtConfig(release)
	f.write(map[string]any{"max_level_gap": 7})
	for range 2 {
		began := time.Now()
		_, err := s.Sign(context.Background(), f.key, block(5, 0, 0))
		if took := time.Since(began); !errors.Is(err, signer.ErrHSM) || took < time.Second || took > 3*time.Second {
			t.Errorf("%v after %v, want ErrHSM after two seconds", err, took)
		}
	}
	select {
	case <-hangs:
	default:
		t.Error("nobody reads keys.json")
	}
	close(release)
}

// TestBlobOfAnotherKey in keys.json: what it signs does not verify and is not released.
func TestBlobOfAnotherKey(t *testing.T) {
	t.Parallel()
	f, s, log := finalised(t)
	other := cardtest.Generate(t, f.card.Dial(t), tezos.P256)
	text := readFile(t, f.path)
	_, after, _ := strings.Cut(text, `"secret_key_next": "`)
	next, _, _ := strings.Cut(after, `"`)
	f.overwrite(filepath.Base(f.path), strings.Replace(text, next, other.Blob.Hex(), 1))
	if _, err := s.Sign(t.Context(), f.key, block(5, 0, 0)); !errors.Is(err, tezos.ErrBadSignature) {
		t.Errorf("%v, want a bad signature", err)
	}
	if log.count("bad signature from HSM") == 0 {
		t.Error("no line of the log tells of it")
	}
}

// TestUnreadableBlobFileDropsNoBlob: keys.json was promoted, but secret_key_file cannot be read for a
// moment. The new blob was known as the next one, and stays known.
func TestUnreadableBlobFileDropsNoBlob(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	f.overwrite("k.hex", f.made.Blob.Hex())
	next := f.rotate()
	entry := map[string]any{
		"public_key": f.made.PublicKey.String(), "secret_key_file": "k.hex", "secret_key_next": next.Hex(),
	}
	f.write(map[string]any{"keys": map[string]any{f.key.String(): entry}})
	s, log := f.openLogged()
	file := filepath.Join(string(f.card.Dir), "k.hex")
	f.overwrite("k.hex", next.Hex())
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	delete(entry, "secret_key_next")
	f.write(map[string]any{"keys": map[string]any{f.key.String(): entry}})
	s.Reload(t.Context())
	if log.count("key blob of keys.json not loaded") == 0 {
		t.Error("the log says nothing of a blob file that cannot be read")
	}
	f.finalise()
	if _, err := s.Sign(t.Context(), f.key, block(1, 0, 0)); err != nil {
		t.Errorf("the blob that the card wants was known: %v", err)
	}
}
