package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pawl/internal/config"
	"pawl/tezos"
)

func writeSample(t *testing.T, edits ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(sample(edits...)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func otherKey(t *testing.T) tezos.PublicKey {
	t.Helper()
	pk, err := tezos.ParsePublicKey(otherPublic)
	if err != nil {
		t.Fatal(err)
	}
	return pk
}

const blobFile = otherHash + ".sk.hex"

func TestAddKey(t *testing.T) {
	t.Parallel()
	pk := otherKey(t)
	windows := "\ufeff" + strings.ReplaceAll(sample(), "\n", "\r\n")
	for name, edits := range map[string][]string{
		"behind a key":   nil,
		"to no keys":     {sample(), strings.Replace(sample(), sample()[strings.Index(sample(), `"`+sampleHash):strings.Index(sample(), "    },\n    \"policy\"")], "", 1)},
		"to one line":    {sample(), `{"keys":{}}`},
		"to one entry":   {sample(), `{"keys":{"` + sampleHash + `": {"public_key": "` + samplePublic + `", "secret_key": "` + sampleBlob("01") + `"}}}`},
		"with odd blank": {`"keys": {`, "\"keys\"\t:\n {"},
		"from Windows":   {sample(), windows},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeSample(t, edits...)
			before := readFile(t, path)
			if err := config.AddKey(path, pk, blobFile); err != nil {
				t.Fatalf("AddKey to %s: %v", before, err)
			}
			after := readFile(t, path)
			cfg, findings, err := config.Parse([]byte(after), ".")
			if err != nil {
				t.Fatalf("after AddKey: %v %v\n%s", err, findings, after)
			}
			added := cfg.Keys[len(cfg.Keys)-1]
			if added.PublicKey != pk || added.BlobFile != blobFile {
				t.Errorf("added %v with %q", added.PublicKey, added.BlobFile)
			}
			if entry := after[strings.Index(after, otherHash):]; !strings.Contains(strings.ReplaceAll(entry, "\r", ""), "\n        }\n    }") {
				t.Errorf("braces of the entry and of keys are on one line: %s", entry)
			}
			if strings.Count(before, "\n") == strings.Count(before, "\r\n") != (strings.Count(after, "\n") == strings.Count(after, "\r\n")) && strings.Contains(before, "\n") {
				t.Errorf("the line ends are mixed: %q", after)
			}
			head, _, _ := strings.Cut(after, `"`+otherHash)
			if !strings.HasPrefix(before, strings.TrimRight(head, ", \r\n")) {
				t.Errorf("bytes before the entry changed: %s", cmp.Diff(before, after))
			}
			if err := config.AddKey(path, pk, blobFile); err == nil || readFile(t, path) != after {
				t.Errorf("second AddKey: %v; want an error and an unchanged file", err)
			}
		})
	}
}

func TestSetURL(t *testing.T) {
	t.Parallel()
	path := writeSample(t)
	if err := config.SetURL(path, "127.0.0.1:1234"); err != nil {
		t.Fatal(err)
	}
	want := sample("grep11.example:9876", "127.0.0.1:1234")
	if diff := cmp.Diff(want, readFile(t, path)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	if err := config.SetURL(path, "https://x"); err == nil {
		t.Error("a URL with a scheme was written")
	}
	if diff := cmp.Diff(want, readFile(t, path)); diff != "" {
		t.Errorf("file after a refused change (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestEditKeepsOwnerAndMode: the daemon may run as another user than the operator
// who edits, and keys.json may be a link to a file that is managed elsewhere.
func TestEditKeepsOwnerAndMode(t *testing.T) {
	t.Parallel()
	target := writeSample(t)
	if err := os.Chmod(target, 0o640); err != nil {
		t.Fatal(err)
	}
	root := os.Getuid() == 0
	if root {
		if err := os.Chown(target, 12345, 12346); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "keys.json")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := config.SetURL(link, "127.0.0.1:1234"); err != nil {
		t.Fatal(err)
	}
	var at syscall.Stat_t
	if err := syscall.Lstat(target, &at); err != nil {
		t.Fatal(err)
	}
	if at.Mode&0o7777 != 0o640 || root && (at.Uid != 12345 || at.Gid != 12346) {
		t.Errorf("mode %04o, owner %d:%d; want them as they were", at.Mode&0o7777, at.Uid, at.Gid)
	}
	if to, err := os.Readlink(link); err != nil || to != target || !strings.Contains(readFile(t, target), "127.0.0.1:1234") {
		t.Errorf("the link leads to %q, %v; want the edited %s", to, err, target)
	}
}

// TestEditDoesNotWaitForEver: another program may hold the folder's lock, and never let go.
func TestEditDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	path := writeSample(t)
	before := readFile(t, path)
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close() //nolint:errcheck // only held
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := config.SetURL(path, "127.0.0.1:1234"); !errors.Is(err, syscall.EWOULDBLOCK) || !strings.Contains(err.Error(), filepath.Dir(path)) {
		t.Errorf("%v, want %v and the folder", err, syscall.EWOULDBLOCK)
	}
	if readFile(t, path) != before {
		t.Error("keys.json has changed")
	}
}

// Of two commands that change keys.json at once neither undoes the other.
func TestEditsAtOnce(t *testing.T) {
	t.Parallel()
	public, err := tezos.ParsePublicKey(otherPublic)
	if err != nil {
		t.Fatal(err)
	}
	rotation := config.Rotation{Key: parsedHash(t, sampleHash), Blob: parsedBlob(t, sampleBlob("01")), Next: parsedBlob(t, sampleBlob("02"))}
	for round := range 100 {
		path := writeSample(t)
		var both sync.WaitGroup
		both.Go(func() {
			if err := config.AddNextBlobs(path, []config.Rotation{rotation}); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if err := config.AddKey(path, public, blobFile); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		if text := readFile(t, path); !strings.Contains(text, otherHash) || !strings.Contains(text, "secret_key_next") {
			t.Fatalf("round %d: one change was lost: %s", round, text)
		}
	}
}
