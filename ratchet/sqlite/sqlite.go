package sqlite

// The connection to SQLite: its settings, read back, and its errors.

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/mattn/go-sqlite3"
)

// walPages is the number of pages of the -wal at which SQLite copies them into the database file and
// starts the -wal again, if no idle checkpoint came before: 4 MiB and one batch at most. While the file
// grows commits are slower than when they overwrite it.
const walPages = "1000"

// settings are read back after opening. The driver was asked for each of them.
var settings = []struct{ pragma, want string }{
	{"journal_mode", "wal"},
	{"synchronous", "2"}, // FULL: COMMIT returns after fsync
	{"locking_mode", "exclusive"},
	{"busy_timeout", "500"}, // milliseconds
	{"wal_autocheckpoint", walPages},
}

// dataSource returns the name under which a ratchet is opened. mode=rw never creates a file. There must
// be no _journal_mode: the driver would run it before the locking mode, and the exclusive lock would be
// reported, but not held until the first write.
func dataSource(path string) string {
	return sourceOf(path, "mode=rw"+
		"&_synchronous=FULL"+
		"&_txlock=immediate"+
		"&_busy_timeout=500"+
		"&_locking_mode=EXCLUSIVE"+
		"&_stmt_cache_size=16")
}

func sourceOf(path, query string) string {
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query}).String()
}

// oldestSQLite is 3.51.3, the first without the WAL-reset corruption
// (https://www.sqlite.org/wal.html, "The WAL-Reset Bug").
const oldestSQLite = 3_051_003

func checkVersion(number int) error {
	if number < oldestSQLite {
		return fmt.Errorf("SQLite %d is too old, want %d (3.51.3) or newer: build pawl with a newer one",
			number, oldestSQLite)
	}
	return nil
}

// connect opens the one connection that a store ever has and reads the settings back. SQLite takes its
// exclusive lock here.
func (db *Store) connect(ctx context.Context) error {
	_, number, _ := sqlite3.Version()
	if err := checkVersion(number); err != nil {
		return err
	}
	pool, err := sql.Open("sqlite3", dataSource(db.path))
	if err != nil {
		return err
	}
	db.pool = pool
	pool.SetMaxOpenConns(1)
	pool.SetConnMaxLifetime(0)
	pool.SetConnMaxIdleTime(0)
	if err := db.attach(ctx); err != nil {
		return err
	}
	if _, err := db.conn.ExecContext(ctx, "PRAGMA wal_autocheckpoint = "+walPages); err != nil {
		return err
	}
	if err := db.prepare(ctx); err != nil {
		return err
	}
	return db.checkSettings(ctx)
}

// attach makes the connection. The -wal stays even if that fails.
func (db *Store) attach(ctx context.Context) (err error) {
	holdWAL(db.path)
	defer func() { err = errors.Join(err, freeWAL(db.path)) }()
	if db.conn, err = db.pool.Conn(ctx); err != nil {
		return db.connectError(err)
	}
	return db.keepWAL()
}

// prepare prepares BEGIN and COMMIT once. The driver caches statements with arguments by itself
// (_stmt_cache_size).
func (db *Store) prepare(ctx context.Context) (err error) {
	if db.beginStmt, err = db.conn.PrepareContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	db.commitStmt, err = db.conn.PrepareContext(ctx, "COMMIT")
	return err
}

// connectError names the other program, such as a database shell, that has the file open without our
// flock.
func (db *Store) connectError(err error) error {
	if code(err) == sqlite3.ErrBusy {
		return newLockedError(db.path, holder("POSIX", db.database))
	}
	return fmt.Errorf("opening %s: %v", db.path, err)
}

// keepWAL stops SQLite from removing the -wal when the connection is closed: an opening that fails
// half-way must leave the files as a kill would. Close removes the -wal.
func (db *Store) keepWAL() error {
	return db.conn.Raw(func(driver any) error {
		conn, ok := driver.(*sqlite3.SQLiteConn)
		if !ok {
			return fmt.Errorf("want the driver mattn/go-sqlite3, got %T", driver)
		}
		return conn.SetFileControlInt("main", sqlite3.SQLITE_FCNTL_PERSIST_WAL, 1)
	})
}

func (db *Store) checkSettings(ctx context.Context) error {
	for _, s := range settings {
		var got string
		if err := db.conn.QueryRowContext(ctx, "PRAGMA "+s.pragma).Scan(&got); err != nil {
			return fmt.Errorf("reading back %s of %s: %v", s.pragma, db.path, err)
		}
		if got != s.want {
			return fmt.Errorf("%s has %s %s, want %s", db.path, s.pragma, got, s.want)
		}
	}
	return nil
}

// rolledBack reports whether the connection has no transaction open any more.
func (db *Store) rolledBack() bool {
	var auto bool
	err := db.conn.Raw(func(driver any) error {
		conn, ok := driver.(*sqlite3.SQLiteConn)
		auto = ok && conn.AutoCommit()
		return nil
	})
	return err == nil && auto
}

// code returns SQLite's primary result code, 0 for any other error.
func code(err error) sqlite3.ErrNo {
	sqliteErr, _ := errors.AsType[sqlite3.Error](err)
	return sqliteErr.Code
}

// definite reports whether an error of SQLite means that nothing was stored and
// that the next transaction may succeed (https://www.sqlite.org/rescode.html).
// A file that was moved away is READONLY too, but that does not pass.
func definite(err error) bool {
	sqliteErr, ok := errors.AsType[sqlite3.Error](err)
	if !ok || sqliteErr.ExtendedCode == sqlite3.ErrReadonlyDbMoved {
		return false
	}
	switch sqliteErr.Code {
	case sqlite3.ErrFull, sqlite3.ErrBusy, sqlite3.ErrReadonly:
		return true
	}
	return false
}
