package sqlite

// A file whose -wal is gone, and whether anything is gone with it.

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// checkWhole returns nil if a file that was not closed has all its rows though its -wal is gone or empty.
// A database shell leaves it so: it copies the -wal into the file and removes it, even if it only reads.
//
// The proof is the note of the last mark. It has the totals of all rows as they were committed last, and
// as long as the host runs it cannot be older than that. After a start of the host it can, and then the
// error says so.
func checkWhole(ctx context.Context, path string, database file) error {
	said, err := readLast(path, database.identity)
	switch {
	case err != nil:
		return err
	case said == nil || said.boot == "":
		return fmt.Errorf("%s%s does not tell what it should hold", path, lastSuffix)
	case said.boot != bootID():
		return fmt.Errorf("the host was started since %s%s was written, which may be older", path, lastSuffix)
	}
	found, err := totalsAlone(ctx, path)
	if err != nil {
		return err
	}
	if found != said.totals {
		return fmt.Errorf("its %d rows are not the %d that were written last", found.rows, said.totals.rows)
	}
	return nil
}

// totalsAlone checks and reads the database file without its -wal. It writes and locks nothing
// (immutable=1).
func totalsAlone(ctx context.Context, path string) (found totals, err error) {
	pool, err := sql.Open("sqlite3", sourceOf(path, "mode=ro&immutable=1"))
	if err != nil {
		return totals{}, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return totals{}, fmt.Errorf("reading %s: %v", path, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := quickCheck(ctx, conn, path); err != nil {
		return totals{}, err
	}
	all, mixed, err := readAll(ctx, conn, path)
	if err == nil && mixed.Verdict != InPlace {
		err = verdict(Lost, mixed.Text)
	}
	return totalsOf(all), err
}
