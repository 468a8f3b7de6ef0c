package sqlite_test

import (
	"database/sql"
	"encoding/binary"
	"strings"
	"testing"

	"pawl/ratchet/sqlite"
)

// A file of schema version 3, made as that of version 2 is: by SQL and bytes alone.

// fill3 writes the rows, and their totals: how many there are, and the XOR of their seals.
func fill3(t *testing.T, pool *sql.DB) {
	t.Helper()
	fill2(t, pool)
	var high, low uint64
	count := 0
	rows, err := pool.QueryContext(t.Context(),
		"SELECT seal FROM marks UNION ALL SELECT seal FROM registrations UNION ALL SELECT seal FROM never_used")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for ; rows.Next(); count++ {
		var seal []byte
		if err := rows.Scan(&seal); err != nil {
			t.Fatal(err)
		}
		high ^= binary.BigEndian.Uint64(seal)
		low ^= binary.BigEndian.Uint64(seal[8:])
	}
	if err := rows.Err(); err != nil || count != 7 {
		t.Fatalf("%d rows, %v, want 7", count, err)
	}
	run(t, pool, "INSERT INTO totals VALUES (1, 1 << 24, ?, ?, ?)", count, int64(high), int64(low))
}

// TestSchema3 opens such a file and signs with it.
func TestSchema3(t *testing.T) {
	t.Parallel()
	fixture := func(clean int, end func(*testing.T, string, *sql.DB) string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			path, pool := makeFile(t, "testdata/schema-3.sql", clean)
			fill3(t, pool)
			return end(t, path, pool)
		}
	}
	testFixtures(t, map[string]func(*testing.T) string{"closed": fixture(1, closePool), "killed": fixture(0, killPool)})
}

// TestSchema3IsThePresentOne until there is another: the copy in testdata has all its tables.
func TestSchema3IsThePresentOne(t *testing.T) {
	t.Parallel()
	if sqlite.SchemaVersion != 3 {
		return
	}
	if statements(string(read(t, "schema.sql"))) != statements(string(read(t, "testdata/schema-3.sql"))) {
		t.Error("schema.sql and testdata/schema-3.sql differ: a change of the schema needs a version and a migration")
	}
}

// statements leaves out comments.
func statements(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "--") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
