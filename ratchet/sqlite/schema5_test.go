package sqlite_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// A file of schema version 5, made as those before: by SQL and bytes alone.

// bound are rows of registrations with bounds, for keys that held does not have.
func bound() []ratchet.Registration {
	return []ratchet.Registration{
		{Key: keyNumber(51), ChainID: mainnet, FromLevel: 3, Bounded: true, NotAfter: 20},
		{Key: keyNumber(52), ChainID: mainnet, NoFloor: true, Retired: "sold, \"for good\""},
		{Key: keyNumber(53), ChainID: mainnet, FromLevel: 3, Fence: ratchet.Fence{Cause: ratchet.Moved, Known: 7}},
		{Key: keyNumber(54), ChainID: mainnet, FromLevel: 3, Fence: ratchet.Fence{Cause: ratchet.RolledBack, Known: 7, Set: true, Until: 9}},
	}
}

// fill5 writes the rows with their bounds, which are in their seals.
func fill5(t *testing.T, pool *sql.DB) {
	t.Helper()
	fill4(t, pool)
	for i, r := range bound() {
		bounds := []string{"not after 20;", `retired "sold, \"for good\"";`, "fence 3 7 false 0;", "fence 2 7 true 9;"}[i]
		var floor any
		parts := []any{byte('r'), r.Key, r.ChainID}
		if !r.NoFloor {
			floor = r.FromLevel
			parts = append(parts, r.FromLevel)
		}
		values := []string{"20, NULL, NULL, NULL, NULL", `NULL, 'sold, "for good"', NULL, NULL, NULL`, "NULL, NULL, 3, 7, NULL", "NULL, NULL, 2, 7, 9"}[i]
		run(t, pool, fmt.Sprintf("INSERT INTO registrations (key, chain, from_level, seal, not_after, retired, fence, known, until) "+
			"VALUES (?, ?, ?, ?, %s)", values), r.Key[:], r.ChainID[:], floor, seal2(append(parts, []byte(bounds))...))
	}
	rows, high, low := totals3(t, pool)
	run(t, pool, "UPDATE totals SET rows = ?, high = ?, low = ?", rows, high, low)
}

// TestSchema5 opens such a file and signs with it.
func TestSchema5(t *testing.T) {
	t.Parallel()
	want := held4(t)
	want.Registrations = append(want.Registrations, bound()...)
	want.Sort()
	fixture := func(clean int, end func(*testing.T, string, *sql.DB) string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			path, pool := makeFile(t, "testdata/schema-5.sql", clean)
			fill5(t, pool)
			return end(t, path, pool)
		}
	}
	testFixtures(t, want, map[string]func(*testing.T) string{
		"closed": fixture(1, closePool), "killed": fixture(0, killPool),
	})
}

// TestSchema5IsThePresentOne until there is another: the copy in testdata has all its tables.
func TestSchema5IsThePresentOne(t *testing.T) {
	t.Parallel()
	if sqlite.SchemaVersion != 5 {
		return
	}
	if statements(string(read(t, "schema.sql"))) != statements(string(read(t, "testdata/schema-5.sql"))) {
		t.Error("schema.sql and testdata/schema-5.sql differ: a change of the schema needs a version and a migration")
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
