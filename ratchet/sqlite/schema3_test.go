package sqlite_test

import (
	"database/sql"
	"encoding/binary"
	"testing"
)

// A file of schema version 3, made as that of version 2 is: by SQL and bytes alone.

// fill3 writes the rows, and their totals: how many there are, and the XOR of their seals.
func fill3(t *testing.T, pool *sql.DB) {
	t.Helper()
	fill2(t, pool)
	count, high, low := totals3(t, pool)
	if count != 7 {
		t.Fatalf("%d rows, want 7", count)
	}
	run(t, pool, "INSERT INTO totals VALUES (1, 1 << 24, ?, ?, ?)", count, high, low)
}

// totals3 counts the rows, and returns the XOR of their seals in two halves.
func totals3(t *testing.T, pool *sql.DB) (count int, high, low int64) {
	t.Helper()
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
		high ^= int64(binary.BigEndian.Uint64(seal))
		low ^= int64(binary.BigEndian.Uint64(seal[8:]))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return count, high, low
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
	testFixtures(t, held(t), map[string]func(*testing.T) string{"closed": fixture(1, closePool), "killed": fixture(0, killPool)})
}
