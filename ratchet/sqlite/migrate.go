package sqlite

// From one schema to the next.

import (
	"context"
	"database/sql"
	"fmt"

	"pawl/ratchet"
)

// migration takes a file to the next schema version. The version is raised, and in the file itself,
// before the tables change: an older pawl, which does not know the new form, must not open the file
// again from then on. So the tables, and not the version, tell whether it was done.
type migration struct {
	to    int
	isIn  string // a query: 1 when the tables have the new form
	apply func(ctx context.Context, conn *sql.Conn) error
}

// migrations are all of them, in order. The last one leads to schemaVersion.
var migrations = []migration{
	{
		to:    2,
		isIn:  "SELECT EXISTS (SELECT 1 FROM pragma_table_info('marks') WHERE name = 'seal')",
		apply: addSeals,
	},
	{
		to:    3,
		isIn:  "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'totals')",
		apply: addTotals,
	},
	{
		to:    4,
		isIn:  "SELECT EXISTS (SELECT 1 FROM pragma_table_info('marks') WHERE name = 'time')",
		apply: addTimes,
	},
	{
		to:    5,
		isIn:  "SELECT EXISTS (SELECT 1 FROM pragma_table_info('never_used') WHERE name = 'known')",
		apply: addBounds,
	},
}

// migrate takes the file to schemaVersion, each step in one transaction. A kill at any point leaves a
// file with which the same pawl goes on.
func migrate(ctx context.Context, conn *sql.Conn) error {
	for _, m := range migrations {
		var done bool
		if err := conn.QueryRowContext(ctx, m.isIn).Scan(&done); err != nil {
			return err
		}
		if done {
			continue
		}
		if err := m.run(ctx, conn); err != nil {
			return fmt.Errorf("to schema version %d: %w", m.to, err)
		}
	}
	return nil
}

func (m migration) run(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", m.to)); err != nil {
		return err
	}
	if err := checkpoint(ctx, conn, "TRUNCATE"); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := m.apply(ctx, conn); err != nil {
		return err // what has begun ends with the connection
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		return err
	}
	return checkpoint(ctx, conn, "TRUNCATE")
}

// addSeals gives the rows of a file without seals theirs.
func addSeals(ctx context.Context, conn *sql.Conn) error {
	const columns = `
ALTER TABLE marks ADD COLUMN seal BLOB CHECK (length(seal) = 16);
ALTER TABLE registrations ADD COLUMN seal BLOB CHECK (length(seal) = 16);
ALTER TABLE never_used ADD COLUMN seal BLOB CHECK (length(seal) = 16)`
	if _, err := conn.ExecContext(ctx, columns); err != nil {
		return err
	}
	all, err := readUnsealed(ctx, conn)
	if err != nil {
		return err
	}
	const update = "UPDATE marks SET seal = ? WHERE key = ? AND chain = ? AND kind = ?"
	for _, m := range all.Marks {
		if _, err := conn.ExecContext(ctx, update, sealOfMark(m), m.Key[:], m.ChainID[:], m.Kind); err != nil {
			return err
		}
	}
	for _, r := range all.Registrations {
		if err := sealRegistration(ctx, conn, r); err != nil {
			return err
		}
	}
	return nil
}

func sealRegistration(ctx context.Context, conn *sql.Conn, r ratchet.Registration) error {
	if r.AnyChain {
		_, err := conn.ExecContext(ctx, "UPDATE never_used SET seal = ? WHERE key = ?", sealOfRegistration(r), r.Key[:])
		return err
	}
	const update = "UPDATE registrations SET seal = ? WHERE key = ? AND chain = ?"
	_, err := conn.ExecContext(ctx, update, sealOfRegistration(r), r.Key[:], r.ChainID[:])
	return err
}

// readUnsealed reads rows that have no seals yet.
func readUnsealed(ctx context.Context, conn *sql.Conn) (all ratchet.Snapshot, err error) {
	err = eachRow(ctx, conn, timelessMarksQuery, func(row scan) error {
		m, _, err := scanUnchecked(row)
		all.Marks = append(all.Marks, m)
		return err
	})
	if err != nil {
		return all, err
	}
	err = eachRow(ctx, conn, unboundRegistrationsQuery, func(row scan) error {
		r, _, err := scanRegistration(row)
		all.Registrations = append(all.Registrations, r)
		return err
	})
	return all, err
}

// addTimes makes room for the times of marks. Those that are there have none, and keep their seals.
func addTimes(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "ALTER TABLE marks ADD COLUMN time INTEGER CHECK (time > 0)")
	return err
}

// addBounds makes room for what keeps a registered key from signing, and for the machine. Registrations
// that are there have no bounds, and keep their seals.
func addBounds(ctx context.Context, conn *sql.Conn) error {
	const columns = `
ALTER TABLE registrations ADD COLUMN not_after INTEGER CHECK (not_after >= 0);
ALTER TABLE registrations ADD COLUMN retired TEXT CHECK (length(retired) > 0);
ALTER TABLE registrations ADD COLUMN fence INTEGER CHECK (fence BETWEEN 1 AND 3);
ALTER TABLE registrations ADD COLUMN known INTEGER CHECK (known >= 0);
ALTER TABLE registrations ADD COLUMN until INTEGER CHECK (until >= 0);
ALTER TABLE never_used ADD COLUMN retired TEXT CHECK (length(retired) > 0);
ALTER TABLE never_used ADD COLUMN fence INTEGER CHECK (fence BETWEEN 1 AND 3);
ALTER TABLE never_used ADD COLUMN known INTEGER CHECK (known >= 0);
CREATE TABLE machine (
  id      INTEGER PRIMARY KEY CHECK (id = 1),
  digest  TEXT NOT NULL,
  ratchet TEXT NOT NULL CHECK (length(ratchet) = 32)
) STRICT;
INSERT INTO machine VALUES (1, '', lower(hex(randomblob(16))))`
	_, err := conn.ExecContext(ctx, columns)
	return err
}
