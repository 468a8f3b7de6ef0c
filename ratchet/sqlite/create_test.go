package sqlite_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pawl/ratchet/sqlite"
)

// TestCreateOnAFullDisk: with too little room for a ratchet there is an error and no file. With room enough there
// is a ratchet.
func TestCreateOnAFullDisk(t *testing.T) {
	t.Parallel()
	refused, made := 0, 0
	for pages := 1; made == 0 && pages < 100; pages++ {
		path := onTmpfs(t, fmt.Sprintf("size=%d", pages*os.Getpagesize()))
		err := sqlite.Create(t.Context(), path)
		if err != nil {
			if files, readErr := os.ReadDir(filepath.Dir(path)); readErr != nil || len(files) > 0 {
				t.Errorf("%d pages: %v, and left %v, %v", pages, err, files, readErr)
			}
			refused++
			continue
		}
		made++
		all, err := sqlite.Read(t.Context(), path)
		if err != nil || len(all.Marks)+len(all.Registrations) > 0 {
			t.Errorf("%d pages: made %+v, %v", pages, all, err)
		}
	}
	if refused < 5 || made != 1 {
		t.Errorf("refused %d times and made %d, want more refused and one made", refused, made)
	}
}

// TestCreateSaysWhatIsThere: a ratchet is never written over, and one of a former ratchet is named.
func TestCreateSaysWhatIsThere(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	if err := sqlite.Create(t.Context(), path); err == nil || !strings.HasSuffix(err.Error(), "already exists: pawl never overwrites a ratchet") {
		t.Errorf("over a ratchet: %v", err)
	}
	var want []string
	for _, suffix := range []string{"", "-wal", "-shm", "-journal", "-opening", "-kept"} {
		if suffix != "" {
			write(t, path+suffix, nil)
		}
		want = append(want, path+suffix)
	}
	if got := sqlite.Leftovers(path); !slices.Equal(got, want) {
		t.Errorf("left over: %q, want %q", got, want)
	}
	if got := sqlite.Leftovers(filepath.Join(t.TempDir(), "ratchet.db")); got != nil {
		t.Errorf("left over: %q, want nothing", got)
	}
}

// TestCreateNeedsTheNoteGone: the note of a former ratchet, which may name the inode of the new one, cannot be
// removed.
func TestCreateNeedsTheNoteGone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ratchet.db")
	if err := os.MkdirAll(path+"-last/full", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Create(t.Context(), path); err == nil {
		t.Error("made beside a note that stays")
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was left: %v", err)
	}
}
