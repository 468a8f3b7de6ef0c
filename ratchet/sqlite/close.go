package sqlite

// Closing, so that the next opening knows that nothing is missing.

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"pawl/internal/durable"
	"pawl/ratchet"

	"golang.org/x/sys/unix"
)

// Close marks the file as closed cleanly and removes its -wal. After a failure it returns the reason and
// leaves the files exactly as they are, and locked, for the next process to recover. A second call does
// nothing.
func (db *Store) Close() error {
	if db.ended.Swap(true) {
		return nil
	}
	db.trouble.close()
	db.writer.close()
	if db.err() == nil {
		if err := db.inPlace(); err != nil {
			_ = db.fail(err) // returned below
		}
	}
	if err := db.err(); err != nil {
		// Closing SQLite would checkpoint, though the outcome of the last commit is unknown, and
		// would remove files by name. The descriptors are closed with the process.
		return fmt.Errorf("%w: %v", ratchet.ErrStopped, err)
	}
	return db.closeCleanly()
}

// closeCleanly leaves a file that can be opened, wherever it is killed. While the row says "not clean",
// the -wal that it names is there. Once it says "clean", that -wal is there or gone. The lock is
// released last: another process could open the file before, and would have its -wal removed.
func (db *Store) closeCleanly() error {
	err := db.record(context.Background(), true, touch)
	if closed := db.closeSQLite(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Remove(db.path + walSuffix)
	}
	if err == nil {
		err = durable.Sync(filepath.Dir(db.path))
	}
	if err = errors.Join(err, db.unlock()); err != nil {
		return fmt.Errorf("closing %s: %v", db.path, err)
	}
	return nil
}

// closeSQLite closes the statements first: SQLite keeps a connection, and its locks, while a statement is
// open.
func (db *Store) closeSQLite() error {
	var errs []error
	for _, stmt := range []*sql.Stmt{db.beginStmt, db.commitStmt} {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	if db.conn != nil {
		errs = append(errs, db.conn.Close())
	}
	if db.pool != nil {
		errs = append(errs, db.pool.Close())
	}
	return errors.Join(errs...)
}

// unlock releases the lock before it closes the descriptor: a child process that is just being started
// has a copy of the descriptor until it calls exec.
func (db *Store) unlock() error {
	db.witness.close()
	if db.last.fd >= 0 {
		_ = unix.Close(db.last.fd)
		db.last.fd = -1
	}
	if db.lock < 0 {
		return nil
	}
	return errors.Join(unix.Flock(db.lock, unix.LOCK_UN), unix.Close(db.lock))
}
