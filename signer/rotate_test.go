package signer_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pawl/internal/ep11"
	"pawl/signer"
	"pawl/tezos"
)

func parsedBlob(t *testing.T, hexadecimal string) ep11.Blob {
	t.Helper()
	blob, err := ep11.ParseBlob(hexadecimal)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func parsedHash(t *testing.T, text string) tezos.PublicKeyHash {
	t.Helper()
	hash, err := tezos.ParsePublicKeyHash(text)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// Entries in all ways to write them: what becomes of them by AddNextBlobs and then by
// PromoteBlobs. B is the blob, N the next one.
func TestRotateEntries(t *testing.T) {
	t.Parallel()
	blob, next := sampleBlob("01"), sampleBlob("02")
	public := `"public_key": "` + samplePublic + `"`
	for name, test := range map[string]struct{ entry, added, promoted string }{
		"a line each": {
			"{\n      P,\n      \"secret_key\": \"B\"\n    }",
			"{\n      P,\n      \"secret_key\": \"B\",\n      \"secret_key_next\": \"N\"\n    }",
			"{\n      P,\n      \"secret_key\": \"N\"\n    }",
		},
		"on one line":         {`{P, "secret_key": "B"}`, `{P, "secret_key": "B", "secret_key_next": "N"}`, `{P, "secret_key": "N"}`},
		"first of the entry":  {"{\n\t\"secret_key\":\"B\",\n\tP}", "{\n\t\"secret_key\":\"B\",\n\t\"secret_key_next\": \"N\",\n\tP}", "{\n\t\"secret_key\":\"N\",\n\tP}"},
		"no blank at all":     {`{"secret_key":"B",P}`, `{"secret_key":"B","secret_key_next": "N",P}`, `{"secret_key":"N",P}`},
		"blank before commas": {"{P\n  , \"secret_key\" : \"B\" }", "{P\n  , \"secret_key\" : \"B\", \"secret_key_next\": \"N\" }", "{P\n  , \"secret_key\" : \"N\" }"},
		"an old next blob":    {`{P, "secret_key_next": "O", "secret_key": "B"}`, `{P, "secret_key_next": "N", "secret_key": "B"}`, `{P, "secret_key": "N"}`},
		"an old one, first":   {`{ "secret_key_next": "O" , P, "secret_key": "B"}`, `{ "secret_key_next": "N" , P, "secret_key": "B"}`, `{ P, "secret_key": "N"}`},
		"a file":              {`{P, "secret_key_file": "k.hex", "db": "x"}`, `{P, "secret_key_file": "k.hex", "secret_key_next": "N", "db": "x"}`, `{P, "secret_key_file": "k.hex", "db": "x"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			write := strings.NewReplacer("P", public, `"B"`, `"`+blob+`"`, `"N"`, `"`+next+`"`, `"O"`, `"`+sampleBlob("07")+`"`)
			plain := sample()
			start := strings.Index(plain, `"`+sampleHash+`": `) + len(sampleHash) + 4
			end := strings.Index(plain, "},\n    \"policy\"")
			whole := func(entry string) string {
				return plain[:start] + write.Replace(entry) + "\n    " + plain[end:]
			}
			path := filepath.Join(t.TempDir(), "keys.json")
			file := filepath.Join(filepath.Dir(path), "k.hex")
			writeText(t, path, whole(test.entry))
			writeText(t, file, blob)
			keys := []signer.Rotation{{Key: parsedHash(t, sampleHash), Blob: parsedBlob(t, blob), Next: parsedBlob(t, next)}}
			for range 2 { // the second time changes nothing
				if err := signer.AddNextBlobs(path, keys); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(whole(test.added), readFile(t, path)); diff != "" {
					t.Fatalf("AddNextBlobs (-want +got):\n%s", diff)
				}
			}
			if got := readFile(t, file); got != blob {
				t.Error("AddNextBlobs changed the file of the key")
			}
			if err := signer.PromoteBlobs(path, keys); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(whole(test.promoted), readFile(t, path)); diff != "" {
				t.Errorf("PromoteBlobs (-want +got):\n%s", diff)
			}
			if got, want := readFile(t, file), map[bool]string{true: next, false: blob}[strings.Contains(test.entry, "k.hex")]; got != want {
				t.Errorf("the file of the key holds %.110s…, want %.110s…", got, want)
			}
		})
	}
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// When one key is not as it was, nothing is written for any.
func TestRotateAllOrNothing(t *testing.T) {
	t.Parallel()
	first := signer.Rotation{Key: parsedHash(t, sampleHash), Blob: parsedBlob(t, sampleBlob("01")), Next: parsedBlob(t, sampleBlob("02"))}
	second := signer.Rotation{Key: parsedHash(t, otherHash), Blob: parsedBlob(t, sampleBlob("01")), Next: parsedBlob(t, sampleBlob("02"))}
	for name, test := range map[string]struct{ entry, want string }{
		"no second key":  {"", "has no key " + otherHash + " any more"},
		"another blob":   {`"secret_key": "` + sampleBlob("05") + `", "secret_key_next": "` + sampleBlob("06") + `"`, "has another blob by now"},
		"no such file":   {`"secret_key_file": "nowhere", "secret_key_next": "` + sampleBlob("06") + `"`, ""},
		"no longer JSON": {"{", "keys.json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			edits := []string{`"secret_key": "`, `"secret_key_next": "` + sampleBlob("02") + `", "secret_key": "`}
			if test.entry != "" {
				edits = append(edits, `"keys": {`, `"keys": {"`+otherHash+`": {"public_key": "`+otherPublic+`", `+test.entry+`},`)
			}
			path := writeSample(t, edits...)
			before := readFile(t, path)
			for call, err := range map[string]error{
				"AddNextBlobs": signer.AddNextBlobs(path, []signer.Rotation{first, second}),
				"PromoteBlobs": signer.PromoteBlobs(path, []signer.Rotation{first, second}),
			} {
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "abab") {
					t.Errorf("%s: %v, want %q", call, err, test.want)
				}
			}
			if readFile(t, path) != before {
				t.Error("keys.json has changed")
			}
		})
	}
}

// A file that cannot be replaced leaves keys.json with the next blobs in it.
func TestPromoteKeepsTheNextBlobs(t *testing.T) {
	t.Parallel()
	path := writeSample(t, `"secret_key": "`+sampleBlob("01")+`"`, `"secret_key_file": "gone/k.hex", "secret_key_next": "`+sampleBlob("02")+`"`)
	before := readFile(t, path)
	err := signer.PromoteBlobs(path, []signer.Rotation{{Key: parsedHash(t, sampleHash), Next: parsedBlob(t, sampleBlob("02"))}})
	if err == nil || !strings.Contains(err.Error(), "gone/k.hex") || readFile(t, path) != before {
		t.Errorf("PromoteBlobs: %v; want an error and keys.json as it was", err)
	}
}

func TestFindingsOfNextBlobs(t *testing.T) {
	t.Parallel()
	path := "keys." + sampleHash + ".secret_key_next"
	withNext := func(text string) []string {
		return []string{`"secret_key": "`, `"secret_key_next": ` + text + `, "secret_key": "`}
	}
	quoted := func(blob string) string { return `"` + blob + `"` }
	for name, test := range map[string]struct {
		edits    []string
		severity signer.Severity
		want     string
	}{
		"sound":             {withNext(quoted(sampleBlob("02"))), 0, ""},
		"too short":         {withNext(`"1234"`), signer.Warning, path + ": key blob"},
		"no hex":            {withNext(`"hello"`), signer.Warning, path + ": key blob of 5 characters is not hex"},
		"of one master key": {withNext(quoted(sampleBlob("01"))), signer.Warning, path + ": wrapped by the same master key"},
		"shorter":           {withNext(quoted(sampleBlob("02")[:416])), signer.Warning, path + ": 208 bytes, but the blob before has "},
		"extractable":       {withNext(quoted(strings.Replace(sampleBlob("02"), born, "0000000000400125", 1))), signer.Warning, path + ": attributes 0x400125"},
	} {
		_, findings, err := signer.Parse([]byte(sample(test.edits...)), ".")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		has := slices.ContainsFunc(findings, func(f signer.Finding) bool {
			return f.Severity == test.severity && strings.HasPrefix(f.String(), test.want)
		})
		if test.want == "" && len(findings) != 0 || test.want != "" && !has {
			t.Errorf("%s: findings %v, want %q", name, findings, test.want)
		}
	}
	if _, findings, err := signer.Parse([]byte(sample(withNext(`["x"]`)...)), "."); err == nil {
		t.Errorf("a list as blob: %v", findings)
	}
}

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
	if len(findings) != 1 || findings[0].Severity != signer.Warning || !strings.HasPrefix(findings[0].String(), want) {
		t.Errorf("findings %v, want %q", findings, want)
	}
}

// rotate loads and commits a new master key of the folder's card, and rewraps the key.
func (f *folder) rotate() (next ep11.Blob) {
	t := f.t
	t.Helper()
	if err := f.card.dir.LoadNext(); err != nil {
		t.Fatal(err)
	}
	if err := f.card.dir.CommitNext(); err != nil {
		t.Fatal(err)
	}
	next, err := f.card.dial(t).Rewrap(t.Context(), f.made.Blob)
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
	f.card.stop() // OnSign is to be set before Serve
	f.card.card.OnSign = func(data, _ []byte) {
		if _, double := signed.LoadOrStore(string(data), true); double {
			twice.Add(1)
		}
	}
	f.card.start(t)
	cfg, findings, err := signer.Load(f.path)
	if err != nil || len(findings) != 0 {
		t.Fatalf("Load: %v %v", err, findings)
	}
	var log heard
	s, _, err := signer.Open(t.Context(), cfg, signer.OpenOptions{Options: signer.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}})
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

	load := f.load(s)
	for round := range 2 {
		next := f.rotate()
		keys := []signer.Rotation{{Key: f.key, Blob: f.made.Blob, Next: next}}
		if err := signer.AddNextBlobs(f.path, keys); err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); log.count("keys_with_new_blobs=1") <= round; time.Sleep(10 * time.Millisecond) {
			if time.Since(start) > 20*time.Second {
				t.Fatalf("the next blob is not taken up: %s", log.text.String())
			}
		}
		if err := f.card.dir.Finalise(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if err := signer.PromoteBlobs(f.path, keys); err != nil {
			t.Fatal(err)
		}
		f.made.Blob = next
	}
	if n := load(); n < 20 || twice.Load() != 0 {
		t.Errorf("%d signatures, %d of them twice", n, twice.Load())
	}
}

// heard is a log that a test looks into.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *heard) Write(line []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(line)
}

func (h *heard) count(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Count(h.text.String(), what)
}

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
	cfg, _, err := signer.Load(f.path)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s, _, err := signer.Open(t.Context(), cfg, signer.OpenOptions{Options: signer.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}})
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
			s.TakeUpBlobs()
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
