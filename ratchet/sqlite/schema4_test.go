package sqlite_test

import (
	"database/sql"
	"testing"
	"time"

	"pawl/ratchet"
)

// A file of schema version 4, made as those before: by SQL and bytes alone.

// held4 is held, with the time of each mark that was signed.
func held4(t *testing.T) ratchet.Snapshot {
	t.Helper()
	all := held(t)
	for i, m := range all.Marks {
		if m.Signature != nil {
			all.Marks[i].Time = time.Date(2026, 12, 1, 10, 0, i, 123_000_000, time.UTC)
		}
	}
	return all
}

// fill4 writes the rows with the times of the marks, which are in their seals.
func fill4(t *testing.T, pool *sql.DB) {
	t.Helper()
	fill3(t, pool)
	for _, m := range held4(t).Marks {
		if m.Signature == nil {
			continue
		}
		at := m.Time.UnixMilli()
		seal := seal2(byte('m'), m.Key, m.ChainID, byte(m.Kind), m.Level, m.Round, m.Digest, m.Signature.Bytes(), at)
		run(t, pool, "UPDATE marks SET time = ?, seal = ? WHERE key = ? AND chain = ? AND kind = ?",
			at, seal, m.Key[:], m.ChainID[:], m.Kind)
	}
	_, high, low := totals3(t, pool)
	run(t, pool, "UPDATE totals SET high = ?, low = ?", high, low)
}

// TestSchema4 opens such a file and signs with it.
func TestSchema4(t *testing.T) {
	t.Parallel()
	fixture := func(clean int, end func(*testing.T, string, *sql.DB) string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			path, pool := makeFile(t, "testdata/schema-4.sql", clean)
			fill4(t, pool)
			return end(t, path, pool)
		}
	}
	testFixtures(t, held4(t), map[string]func(*testing.T) string{
		"closed": fixture(1, closePool), "killed": fixture(0, killPool),
	})
}
