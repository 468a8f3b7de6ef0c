package sqlite

// The first bytes of the file: is it a ratchet, and of which schema.

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// What schema.sql writes into the header.
const (
	applicationID = 0x7061776c // "pawl"
	schemaVersion = 5
)

// The SQLite header (https://www.sqlite.org/fileformat.html, section 1.3).
const (
	headerSize          = 100
	headerMagic         = "SQLite format 3\x00"
	writeVersionOffset  = 18 // 1 rollback journal, 2 WAL
	userVersionOffset   = 60
	applicationIDOffset = 68
)

// checkHeader refuses a file that is not a ratchet before SQLite opens it: a foreign file is never
// written to. fd is the descriptor of the lock.
func checkHeader(ctx context.Context, fd int, path string) error {
	var header [headerSize]byte
	n, err := unix.Pread(fd, header[:], 0)
	if err != nil {
		return fmt.Errorf("reading %s: %v", path, err)
	}
	switch {
	case n == 0:
		return interrupted(path)
	case n < headerSize || string(header[:len(headerMagic)]) != headerMagic:
		return fmt.Errorf("%s is not a ratchet file: set db to another path and run pawl ratchet init", path)
	}
	if binary.BigEndian.Uint32(header[applicationIDOffset:]) != applicationID {
		return foreignFile(ctx, path)
	}
	version := binary.BigEndian.Uint32(header[userVersionOffset:])
	switch {
	case version < 1: // it is written together with the application id
		return verdict(Lost, fmt.Sprintf("%s has schema version %d, which never existed", path, version))
	case header[writeVersionOffset] != 2:
		return interrupted(path)
	}
	return newerFile(path, version)
}

// newerFile refuses a schema that this pawl does not know.
func newerFile(path string, version uint32) error {
	if version <= schemaVersion {
		return nil
	}
	return fmt.Errorf("%s has schema version %d, this pawl knows %d: use the newer pawl", path, version, schemaVersion)
}

// interrupted refuses a file that Create has not finished.
func interrupted(path string) error {
	return fmt.Errorf("the creation of %s was interrupted: remove it with the files beside it (-wal, -journal) and "+
		"run pawl ratchet init", path)
}

// foreignFile refuses the database of another program, and says what to do. The Python GREP11 signer
// keeps its marks in a table named signature.
func foreignFile(ctx context.Context, path string) error {
	pool, err := sql.Open("sqlite3", sourceOf(path, "mode=ro&immutable=1"))
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }()
	var tables int
	row := pool.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'signature'")
	if err := row.Scan(&tables); err == nil && tables > 0 {
		return fmt.Errorf("%s is the ratchet of the Python signer: set db to a new path, run pawl ratchet init and "+
			"pawl ratchet import --from python %[1]s --key PKH for each key", path)
	}
	return fmt.Errorf("%s is the database of another program: set db to a new path and run pawl ratchet init", path)
}
