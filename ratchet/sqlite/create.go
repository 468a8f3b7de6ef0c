package sqlite

// Making a new file: the only way to one.

import (
	"context"
	"database/sql"
	_ "embed" // schema.sql
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pawl/internal/durable"
)

//go:embed schema.sql
var schema string

// firstGeneration is so high that it and all that follow take four bytes in SQLite's record format: the
// row must not change its length (see identity.String).
const firstGeneration = 1 << 24

// leftovers are the suffixes of files that must not lie beside a new ratchet.
var leftovers = []string{walSuffix, shmSuffix, journalSuffix, openingSuffix, keptSuffix}

// Create makes a new, empty ratchet file. It never overwrites: a file on that path, or one that a
// former ratchet left beside it, is an error. When it returns nil the file and its name are on disk.
func Create(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := checkFilesystem(filepath.Dir(path)); err != nil {
		return err
	}
	for _, suffix := range leftovers {
		if there, err := exists(path + suffix); err != nil {
			return err
		} else if there {
			return &LeftoverError{path, path + suffix}
		}
	}
	err = createEmpty(path)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("creating %s: already exists: pawl never overwrites a ratchet", path)
	}
	if err != nil {
		return fmt.Errorf("creating %s: %v", path, err)
	}
	if err := fill(ctx, path); err != nil {
		removeUnfinished(path)
		return fmt.Errorf("creating %s: %v", path, err)
	}
	return nil
}

// LeftoverError means that a file lies beside the path of a new ratchet, which a former one left there.
type LeftoverError struct{ Path, File string }

func (e *LeftoverError) Error() string {
	return fmt.Sprintf("creating %s: %s is left from a former ratchet: move it away, or choose another path",
		e.Path, e.File)
}

// Leftovers returns the files that must be moved away before Create can make a ratchet at path.
func Leftovers(path string) (files []string) {
	for _, suffix := range append([]string{""}, leftovers...) {
		if there, err := exists(path + suffix); there && err == nil {
			files = append(files, path+suffix)
		}
	}
	return files
}

// fill writes the schema, the provenance and the WAL mode, which stays for ever, into the new file, and
// syncs it.
func fill(ctx context.Context, path string) error {
	made, err := lookup(path)
	if err != nil {
		return err
	}
	// The note of a former ratchet may name this very inode: inodes are reused.
	if err := os.Remove(path + lastSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	pool, err := sql.Open("sqlite3", dataSource(path))
	if err != nil {
		return err
	}
	pool.SetMaxOpenConns(1)
	if err := writeSchema(ctx, pool, made.identity); err != nil {
		_ = pool.Close()
		return err
	}
	if err := pool.Close(); err != nil {
		return err
	}
	if err := durable.Sync(path); err != nil {
		return err
	}
	return durable.Sync(filepath.Dir(path))
}

func writeSchema(ctx context.Context, pool *sql.DB, database identity) error {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return err
	}
	const first = "INSERT INTO provenance (id, generation, clean, database, wal) VALUES (1, ?, 1, ?, ?)"
	if _, err := tx.ExecContext(ctx, first, firstGeneration, database.String(), identity{}.String()); err != nil {
		return err
	}
	const none = "INSERT INTO totals (id, generation, rows, high, low) VALUES (1, ?, 0, 0, 0)"
	if _, err := tx.ExecContext(ctx, none, firstGeneration); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	var mode string
	if err := pool.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("journal mode is %s, want wal", mode)
	}
	return nil
}

// removeUnfinished removes what Create made and could not finish.
func removeUnfinished(path string) {
	for _, suffix := range []string{walSuffix, shmSuffix, journalSuffix, ""} {
		_ = os.Remove(path + suffix)
	}
}
