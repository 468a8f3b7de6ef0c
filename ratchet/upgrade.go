package ratchet

import (
	"context"
	"database/sql"
	"fmt"
)

// unsealedVersion is that of files whose rows have no seals, made before there were any.
const unsealedVersion = 1

const (
	setVersion = "PRAGMA user_version = 2" // schemaVersion

	// addSeals makes the tables of such a file those of schema.sql.
	addSeals = `
ALTER TABLE marks ADD COLUMN seal BLOB CHECK (length(seal) = 16);
ALTER TABLE registrations ADD COLUMN seal BLOB CHECK (length(seal) = 16);
ALTER TABLE never_used ADD COLUMN seal BLOB CHECK (length(seal) = 16)`
)

// hasSeals is whether the rows have seals. The tables tell, and not the version, which
// is raised before.
func hasSeals(ctx context.Context, conn *sql.Conn) (sealed bool, err error) {
	const query = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('marks') WHERE name = 'seal')"
	err = conn.QueryRowContext(ctx, query).Scan(&sealed)
	return sealed, err
}

// checkSchema refuses a newer file whose head does not say so yet, but its -wal.
func (db *DB) checkSchema(ctx context.Context) error {
	var version uint32
	if err := db.conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("reading %s: %v", db.path, err)
	}
	return newerFile(db.path, version)
}

// upgrade gives the rows of a file without seals theirs, in one transaction. The version
// comes first and is in the file itself before: an older pawl, which would write rows
// without seals, must not open the file again from then on.
func (db *DB) upgrade(ctx context.Context) error {
	sealed, err := hasSeals(ctx, db.conn)
	if err != nil {
		return fmt.Errorf("reading %s: %w", db.path, err)
	}
	if sealed {
		return nil
	}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return db.exec(ctx, setVersion) },
		func(ctx context.Context) error { return db.checkpoint(ctx, "TRUNCATE") },
		db.begin,
		func(ctx context.Context) error { return db.exec(ctx, addSeals) },
		db.sealMarks,
		db.sealRegistrations,
		db.execCommit,
		func(ctx context.Context) error { return db.checkpoint(ctx, "TRUNCATE") },
	} {
		if err := step(ctx); err != nil { // what has begun ends with the connection
			return fmt.Errorf("upgrading %s: %w", db.path, err)
		}
	}
	return nil
}

func (db *DB) sealMarks(ctx context.Context) error {
	const update = "UPDATE marks SET seal = ? WHERE key = ? AND chain = ? AND kind = ?"
	marks, err := readMarks(ctx, db.conn, false)
	for _, m := range marks {
		if err == nil {
			_, err = db.conn.ExecContext(ctx, update, m.seal(), m.key[:], m.chain[:], m.kind)
		}
	}
	return err
}

func (db *DB) sealRegistrations(ctx context.Context) error {
	registrations, err := readRegistrations(ctx, db.conn, false)
	for _, r := range registrations {
		switch {
		case err != nil:
		case r.AnyChain:
			_, err = db.conn.ExecContext(ctx, "UPDATE never_used SET seal = ? WHERE key = ?", r.seal(), r.Key[:])
		default:
			_, err = db.conn.ExecContext(ctx, "UPDATE registrations SET seal = ? WHERE key = ? AND chain = ?", r.seal(), r.Key[:], r.ChainID[:])
		}
	}
	return err
}
