package sqlite

// Reading a file that nobody has open, from a copy.

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"pawl/ratchet"
)

// Held is what a ratchet file holds.
type Held struct {
	ratchet.Snapshot
	// Generation counts how often the file was opened, probed or at rest, from 2^24 on.
	Generation int64
	// Finding is what a start would find without the witness, which only Open asks.
	Finding Finding
}

// Read returns what a ratchet file holds. It changes neither the file nor its -wal: both are copied to a
// folder that only this user can enter, and the copy is read. Its errors are those of [Open];
// [ratchet.ErrLocked] means that a daemon uses the file.
func Read(ctx context.Context, path string) (all Held, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return all, err
	}
	if err := checkFilesystem(filepath.Dir(path)); err != nil {
		return all, err
	}
	database, err := lookupDatabase(path)
	if err != nil {
		return all, err
	}
	err = whileUnused(ctx, path, database, func() error {
		_, found, err := examineLeft(ctx, path, database)
		if err != nil {
			return err
		}
		all, err = readCopy(ctx, path, database)
		all.Finding = found.and(all.Finding)
		return err
	})
	return all, err
}

// whileUnused calls read while no process has the ratchet open. If one has opened it meanwhile, that is
// [ratchet.ErrLocked], whatever was read. If one has opened and closed it, it is read again, once.
func whileUnused(ctx context.Context, path string, database file, read func() error) error {
	if err := unused(path, database); err != nil {
		return err
	}
	for try := 1; ; try++ {
		before := changedAt(path)
		err := read()
		if locked := unused(path, database); locked != nil {
			return locked
		}
		same := changedAt(path) == before
		if same && err == nil || try == 2 {
			if err == nil && !same {
				err = fmt.Errorf("%s was opened and closed while it was read: try again", path)
			}
			return orEnded(ctx, path, err)
		}
	}
}

// changedAt returns when the content of the file was changed last, in nanoseconds since 1970. Each
// opening writes to the file.
func changedAt(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}

// readCopy reads a copy of the file, in the form of this pawl. It finds out whether the last mark is there.
func readCopy(ctx context.Context, path string, database file) (all Held, err error) {
	said, err := readLast(path, database.identity)
	if err != nil {
		return all, err
	}
	folder, err := copyFolder(path)
	if err != nil {
		return all, fmt.Errorf("reading %s: %v", path, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	copied := filepath.Join(folder, "copy.db")
	if err := copyRatchet(path, copied); err != nil {
		return all, fmt.Errorf("reading %s: %v", path, err)
	}
	if all, err = readTables(ctx, copied, path); err != nil {
		return all, err
	}
	all.Finding = all.Finding.and(checkLast(path, said, all.Snapshot))
	return all, err
}

// copyFolder makes a folder that only this user can enter: among the temporary files or, where there
// can be none, as in an empty container image, beside the file.
func copyFolder(path string) (string, error) {
	const pattern = "pawl-ratchet-*"
	folder, err := os.MkdirTemp("", pattern) // mode 0700
	if err != nil {
		folder, err = os.MkdirTemp(filepath.Dir(path), pattern)
	}
	return folder, err
}

// readTables reads what a copy of the file at path holds.
func readTables(ctx context.Context, copied, path string) (all Held, err error) {
	pool, err := sql.Open("sqlite3", dataSource(copied))
	if err != nil {
		return all, err
	}
	defer func() { _ = pool.Close() }()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return all, fmt.Errorf("reading %s: %v", path, err)
	}
	defer func() { _ = conn.Close() }()
	if err := quickCheck(ctx, conn, path); err != nil {
		return all, err
	}
	if err := checkSchema(ctx, conn, path); err != nil {
		return all, err
	}
	if err := migrate(ctx, conn); err != nil {
		return all, fmt.Errorf("reading %s: %w", path, err)
	}
	if all.Snapshot, all.Finding, err = readAll(ctx, conn, path); err != nil {
		return all, err
	}
	err = conn.QueryRowContext(ctx, "SELECT generation FROM provenance").Scan(&all.Generation)
	return all, err
}

// copyRatchet copies the database and its -wal, if there is one, under whichever name.
func copyRatchet(path, to string) error {
	if err := copyFile(path, to); err != nil {
		return err
	}
	for _, suffix := range []string{walSuffix, keptSuffix} {
		err := copyFile(path+suffix, to+walSuffix)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// copyFile copies a file to a name that is free.
func copyFile(path, to string) (err error) {
	from, err := os.Open(path) //nolint:gosec // the operator's own ratchet file
	if err != nil {
		return err
	}
	defer from.Close()                                                       //nolint:errcheck // only read
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // in a new folder
	if err != nil {
		return err
	}
	_, err = io.Copy(target, from)
	return errors.Join(err, target.Close())
}
