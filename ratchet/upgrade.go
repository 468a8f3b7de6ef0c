package ratchet

import (
	"context"
	"database/sql"
	"fmt"
)

// unsealedVersion is that of files whose rows have no seals, made before there were any.
const unsealedVersion = 1

// addSeals makes the tables of such a file those of schema.sql.
const addSeals = `
ALTER TABLE marks ADD COLUMN seal BLOB CHECK (length(seal) = 16);
ALTER TABLE registrations ADD COLUMN seal BLOB CHECK (length(seal) = 16);
ALTER TABLE never_used ADD COLUMN seal BLOB CHECK (length(seal) = 16);
PRAGMA user_version = 2;`

// readVersion is the schema version, as SQLite sees it: with the -wal.
func readVersion(ctx context.Context, conn *sql.Conn) (version int, err error) {
	err = conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	return version, err
}

// upgrade gives the rows of a file without seals theirs, in one transaction.
func (db *DB) upgrade(ctx context.Context) error {
	version, err := readVersion(ctx, db.conn)
	if err != nil || version != unsealedVersion {
		return err
	}
	err = db.begin(ctx)
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return db.exec(ctx, addSeals) }, db.sealMarks, db.sealRegistrations, db.execCommit,
	} {
		if err == nil {
			err = step(ctx)
		}
	}
	if err != nil {
		db.rollback(ctx)
		return fmt.Errorf("upgrading %s: %v", db.path, err)
	}
	return db.checkpoint(ctx, "TRUNCATE")
}

func (db *DB) sealMarks(ctx context.Context) error {
	const update = "UPDATE marks SET seal = ? WHERE key = ? AND chain = ? AND kind = ?"
	marks, err := readMarks(ctx, db.conn, unsealedVersion)
	for _, m := range marks {
		if err == nil {
			_, err = db.conn.ExecContext(ctx, update, m.seal(), m.key[:], m.chain[:], m.kind)
		}
	}
	return err
}

func (db *DB) sealRegistrations(ctx context.Context) error {
	registrations, err := readRegistrations(ctx, db.conn, unsealedVersion)
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
