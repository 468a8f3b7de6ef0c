package daemon_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pawl/internal/config"
	"pawl/internal/daemon"
	"pawl/internal/ep11"
	"pawl/ratchet/ratchettest"
	"pawl/server"
	"pawl/signer/grep11"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// pair is a folder whose keys.json has two keys. The first one has the lower hash.
type pair struct {
	*folder
	keys [2]grep11.Generated
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{folder: newFolder(t)}
	second := cardtest.Generate(t, p.card.Dial(t), tezos.P256)
	p.keys = [2]grep11.Generated{p.made, second}
	p.inRatchet(func(db *ratchettest.DB) error { return db.RegisterNew(t.Context(), second.PublicKey.Hash()) })
	if p.keys[0].PublicKey.Hash().String() > p.keys[1].PublicKey.Hash().String() {
		p.keys[0], p.keys[1] = p.keys[1], p.keys[0]
	}
	p.entries(nil, nil)
	return p
}

// entries writes keys.json with more names for each of the keys.
func (p *pair) entries(first, second map[string]any) {
	p.t.Helper()
	keys := make(map[string]any)
	for i, more := range []map[string]any{first, second} {
		entry := map[string]any{"public_key": p.keys[i].PublicKey.String(), "secret_key": p.keys[i].Blob.Hex()}
		maps.Copy(entry, more)
		keys[p.keys[i].PublicKey.Hash().String()] = entry
	}
	p.write(map[string]any{"keys": keys})
}

// rewrap loads and commits a new master key, and rewraps both keys.
func (p *pair) rewrap() (next [2]ep11.Blob) {
	t := p.t
	t.Helper()
	if err := errors.Join(p.card.Dir.LoadNext(), p.card.Dir.CommitNext()); err != nil {
		t.Fatal(err)
	}
	for i, key := range p.keys {
		var err error
		if next[i], err = p.card.Dial(t).Rewrap(t.Context(), key.Blob); err != nil {
			t.Fatal(err)
		}
	}
	return next
}

// TestEachKeyTakesItsOwnBlobs: whichever of two keys has a new blob, it is that key's, and it is
// counted once and taken up once.
func TestEachKeyTakesItsOwnBlobs(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	s, log := p.openLogged()
	next := p.rewrap()
	nextOf := func(i int) map[string]any { return map[string]any{"secret_key_next": next[i].Hex()} }
	takesUp := func(what, want string) {
		t.Helper()
		before := len(log.String())
		s.Reload(t.Context())
		if got := log.String()[before:]; !strings.Contains(got, want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: log %q, want one line with %q", what, got, want)
		}
	}
	p.entries(nextOf(0), nil)
	takesUp("the first key", "keys_with_new_blobs=1")
	p.entries(nextOf(0), nextOf(1))
	takesUp("the second key", "keys_with_new_blobs=1")
	p.finalise()
	if err := os.Rename(p.path, p.path+".away"); err != nil { // what was taken up is enough
		t.Fatal(err)
	}
	for i, key := range p.keys {
		if _, err := s.Sign(t.Context(), key.PublicKey.Hash(), block(1, 0, 0)); err != nil {
			t.Errorf("key %d with the new master key: %v", i, err)
		}
	}
	p.keys[0].Blob, p.keys[1].Blob = next[0], next[1]
	p.entries(nil, nil)
	takesUp("the blobs that are in use", "keys_with_new_blobs=0")
	for i, key := range p.keys {
		if _, err := s.Sign(t.Context(), key.PublicKey.Hash(), block(2, 0, 0)); err != nil {
			t.Errorf("key %d with its new blob alone: %v", i, err)
		}
	}
}

// TestUnsoundBlobIsNotTakenUp: the keys go on with the blobs that they have, and the others of the
// file are taken up.
func TestUnsoundBlobIsNotTakenUp(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	s, log := p.openLogged()
	next := p.rewrap()
	p.overwrite("unsound.hex", strings.Repeat("00", 300))
	p.entries(map[string]any{"secret_key": nil, "secret_key_file": "unsound.hex"}, map[string]any{"secret_key_next": next[1].Hex()})
	text := readFile(t, p.path)
	p.overwrite(filepath.Base(p.path), strings.Replace(text, `"secret_key":null,`, "", 1))
	s.Reload(t.Context())
	if got := log.String(); !strings.Contains(got, "keys_with_new_blobs=1") ||
		!strings.Contains(got, `"key blob of keys.json not loaded" pkh=`+p.keys[0].PublicKey.Hash().String()) {
		t.Errorf("log %q, want one key with a new blob, and the other one named", got)
	}
	for i, key := range p.keys {
		if _, err := s.Sign(t.Context(), key.PublicKey.Hash(), block(1, 0, 0)); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
}

// TestChangeIsSeen by any of inode, size and time; without one nothing is read.
func TestChangeIsSeen(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s, log := f.openLogged()
	before, err := os.Stat(f.path)
	if err != nil {
		t.Fatal(err)
	}
	text := readFile(t, f.path)
	sameTime := func() {
		t.Helper()
		if err := os.Chtimes(f.path, before.ModTime(), before.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	var read int // of the log
	for _, step := range []struct {
		name   string
		change func()
		reads  int
	}{
		{"nothing", func() {}, 0},
		{"the size", func() { f.overwrite("keys.json", text+"\n"); sameTime() }, 1},
		{"the time", func() { f.overwrite("keys.json", text+"\n") }, 1},
		{"the inode", func() {
			f.overwrite("new.json", text+"\n")
			if err := os.Rename(filepath.Join(filepath.Dir(f.path), "new.json"), f.path); err != nil {
				t.Fatal(err)
			}
			sameTime()
			s.Reload(t.Context()) // to see the time of before
			read = len(log.String())
			f.overwrite("new.json", text+"\n")
			if err := os.Rename(filepath.Join(filepath.Dir(f.path), "new.json"), f.path); err != nil {
				t.Fatal(err)
			}
			sameTime()
		}, 1},
		{"nothing again", func() {}, 0},
	} {
		read = len(log.String())
		step.change()
		s.Reload(t.Context())
		s.Reload(t.Context())
		if n := strings.Count(log.String()[read:], "keys.json changed"); n != step.reads {
			t.Errorf("%s has changed: read %d times, want %d", step.name, n, step.reads)
		}
	}
}

// TestBadConfigIsToldAgain: the same words once, and once more after a good file.
func TestBadConfigIsToldAgain(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	s, log := f.openLogged()
	whole := readFile(t, f.path)
	for i, content := range []string{"{", "{", whole, "{"} {
		time.Sleep(10 * time.Millisecond) // another time of the file
		f.overwrite("keys.json", content)
		s.Reload(t.Context())
		s.Reload(t.Context())
		if n, want := log.count("cannot be read"), []int{1, 1, 1, 2}[i]; n != want {
			t.Errorf("after file %d: told %d times, want %d", i, n, want)
		}
	}
}

// TestKeyThatDoesNotBakeNeedsNoRegistration, and starts beside one that bakes.
func TestKeyThatDoesNotBakeNeedsNoRegistration(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.freshRatchet()
	p.inRatchetAt("fresh.db", func(db *ratchettest.DB) error { return db.RegisterNew(t.Context(), p.keys[0].PublicKey.Hash()) })
	pays := map[string]any{"policy": map[string]any{"michelson": true, "operations": []string{}}, "db": "fresh.db"}
	p.entries(map[string]any{"db": "fresh.db"}, pays)
	s, findings, err := p.open()
	if err != nil {
		t.Fatalf("Open: %v %v", err, findings)
	}
	defer closeSigner(t, s)
	if _, err := s.Sign(t.Context(), p.keys[1].PublicKey.Hash(), michelson(1)); err != nil {
		t.Error(err)
	}
	if _, err := s.Sign(t.Context(), p.keys[0].PublicKey.Hash(), block(1, 0, 0)); err != nil {
		t.Error(err)
	}
}

// TestRefusedStartLeavesNothingOpen: the ratchet and the locks are free for the next start.
func TestRefusedStartLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.freshRatchet()
	p.entries(map[string]any{"db": "fresh.db"}, nil) // the first key bakes, and is not registered there
	if s, _, err := p.open(); err == nil {
		t.Fatalf("Open accepts a key that is registered for no chain: %v", s.Close())
	}
	p.inRatchetAt("fresh.db", func(db *ratchettest.DB) error { return db.RegisterNew(t.Context(), p.keys[0].PublicKey.Hash()) })
	s, findings, err := p.open()
	if err != nil {
		t.Fatalf("Open after a refused start: %v %v", err, findings)
	}
	defer closeSigner(t, s)
	for i, key := range p.keys {
		if _, err := s.Sign(t.Context(), key.PublicKey.Hash(), block(1, 0, 0)); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
}

// inRatchetAt does something with a ratchet of the folder.
func (f *folder) inRatchetAt(name string, do func(*ratchettest.DB) error) {
	f.t.Helper()
	db, err := ratchettest.OpenDB(f.t.Context(), filepath.Join(string(f.card.Dir), name), ratchettest.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := errors.Join(do(db), db.Close()); err != nil {
		f.t.Fatal(err)
	}
}

// TestOneRatchetByTwoPaths is opened once.
func TestOneRatchetByTwoPaths(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	if err := os.Symlink(".", filepath.Join(string(p.card.Dir), "alias")); err != nil {
		t.Fatal(err)
	}
	p.entries(nil, map[string]any{"db": "alias/ratchet.db"})
	s, findings, err := p.open()
	if err != nil {
		t.Fatalf("Open: %v %v", err, findings)
	}
	defer closeSigner(t, s)
	for i, key := range p.keys {
		if _, err := s.Sign(t.Context(), key.PublicKey.Hash(), block(1, 0, 0)); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
	if all, err := s.Ratchets(t.Context()); err != nil || len(all.Marks) != 2 {
		t.Errorf("%d marks, %v; want one of each key", len(all.Marks), err)
	}
}

// TestServeEnds: without an error and with a closed ratchet when it is asked to, and with
// ErrRatchetFailed by itself when a ratchet has failed.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]bool{"asked to": false, "a failure": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			cfg, _, err := config.Load(f.path)
			if err != nil {
				t.Fatal(err)
			}
			d, _, err := daemon.Open(t.Context(), cfg, daemon.Options{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			at := daemon.Listeners{Public: listenLoopback(t), Admin: listenLoopback(t)}
			ended := make(chan error, 1)
			go func() { ended <- d.Serve(ctx, server.New(server.Config{Signer: d.Signer}), at) }()
			for start := time.Now(); d.Readiness()[f.key] != nil; time.Sleep(10 * time.Millisecond) { // it watches
				if time.Since(start) > 20*time.Second {
					t.Fatalf("readiness %v", d.Readiness()[f.key])
				}
			}
			if fails {
				if err := os.Rename(filepath.Join(string(f.card.Dir), "ratchet.db"), filepath.Join(string(f.card.Dir), "away.db")); err != nil {
					t.Fatal(err)
				}
				if _, err := d.Sign(t.Context(), f.key, block(1, 0, 0)); err == nil {
					t.Error("signed with a ratchet whose file is gone")
				}
			} else {
				stop()
			}
			select {
			case err = <-ended:
			case <-time.After(20 * time.Second):
				t.Fatal("Serve does not end")
			}
			if fails != errors.Is(err, daemon.ErrRatchetFailed) || !fails && err != nil {
				t.Errorf("Serve: %v, want %v: %v", err, daemon.ErrRatchetFailed, fails)
			}
			if conn, err := net.Dial("tcp", at.Public.Addr().String()); err == nil {
				t.Error("it listens after the end", conn.Close())
			}
			if !fails {
				f.inRatchet(func(*ratchettest.DB) error { return nil }) // nobody has it
			}
		})
	}
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}
