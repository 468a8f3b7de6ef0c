package sqlite_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pawl/ratchet/sqlite"
)

// TestReadSignatures of a signer that was killed: the rows are in its -wal alone. Nothing is changed.
func TestReadSignatures(t *testing.T) {
	t.Parallel()
	used := filepath.Join(t.TempDir(), "used.db")
	pool := openPool(t, "file:"+used)
	pool.SetMaxOpenConns(1)
	run(t, pool, "PRAGMA journal_mode = WAL")
	run(t, pool, "CREATE TABLE signature (sigtype TEXT PRIMARY KEY, lastblock NUMERIC, lastround NUMERIC)")
	run(t, pool, "INSERT INTO signature VALUES ('Endorsement_NetXdQprcVkpaWU', 11, 6), ('Baking_NetXdQprcVkpaWU', 12, '0')")
	path := filepath.Join(t.TempDir(), "killed.db")
	for _, suffix := range []string{"", "-wal"} {
		write(t, path+suffix, read(t, used+suffix))
	}
	rows, err := sqlite.ReadSignatures(t.Context(), path)
	want := []sqlite.SignatureRow{{"Baking_NetXdQprcVkpaWU", "12", "0"}, {"Endorsement_NetXdQprcVkpaWU", "11", "6"}}
	if err != nil || !slices.Equal(rows, want) {
		t.Errorf("%+v, %v, want %+v", rows, err, want)
	}
	for _, suffix := range []string{"", "-wal"} {
		if !slices.Equal(read(t, path+suffix), read(t, used+suffix)) {
			t.Errorf("killed.db%s was changed", suffix)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v, want the two files", entries, err)
	}
}

// TestReadSignaturesOfAnother: what is no such database is named.
func TestReadSignaturesOfAnother(t *testing.T) {
	t.Parallel()
	text := filepath.Join(t.TempDir(), "text")
	write(t, text, []byte("no database, but long enough to be looked at: "+strings.Repeat("x", 200)))
	for _, path := range []string{newFile(t), text, filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if rows, err := sqlite.ReadSignatures(t.Context(), path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %+v, %v, want an error that names it", path, rows, err)
		}
	}
}
