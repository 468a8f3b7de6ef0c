package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/tezos"
)

const publishedKey = "p2pk66EnR4uFKpTmZj9z5Fg9J2J8KmLb7LCwZe5QPySs8JurcTP1PXM"

func publishedGenerated(t *testing.T) grep11.Generated {
	t.Helper()
	key, err := tezos.ParsePublicKey(publishedKey)
	if err != nil {
		t.Fatal(err)
	}
	return grep11.Generated{Blob: ep11.Blob("\xABsecret"), PublicKey: key, SPKI: []byte{0x30, 0x00}}
}

func TestKeyFilesAreTheBytesAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writeKeyFiles(dir, publishedGenerated(t)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		content string
		mode    os.FileMode
	}{
		"tz3gvQDEZfYakYEcqaL3ESQGbbNhwVHXAQmd.sk.hex": {"ab736563726574", 0o600},
		"tz3gvQDEZfYakYEcqaL3ESQGbbNhwVHXAQmd.der":    {"\x30\x00", 0o644},
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want.content {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want.content)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want.mode {
			t.Errorf("%s: %v, %v, want mode %v", name, info, err, want.mode)
		}
	}
	if names := namesIn(t, dir); len(names) != 2 {
		t.Errorf("the folder holds %v", names)
	}
}

// Whichever file is there already, it stays as it is and nothing joins it.
func TestKeyFilesNeverReplace(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{".sk.hex", ".der"} {
		dir := t.TempDir()
		old := filepath.Join(dir, "tz3gvQDEZfYakYEcqaL3ESQGbbNhwVHXAQmd"+suffix)
		if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := writeKeyFiles(dir, publishedGenerated(t))
		if err == nil || !strings.Contains(err.Error(), old) {
			t.Errorf("%s there already: error %v, want one that names it", suffix, err)
		}
		if got, err := os.ReadFile(old); err != nil || string(got) != "old" {
			t.Errorf("%s there already: now %q, %v", suffix, got, err)
		}
		if names := namesIn(t, dir); len(names) != 1 {
			t.Errorf("%s there already: the folder holds %v", suffix, names)
		}
	}
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
