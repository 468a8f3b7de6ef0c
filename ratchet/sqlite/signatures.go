package sqlite

// The database of the Python GREP11 signer, read from a copy: a foreign file is never written to.

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pawl/internal/durable"
)

// maxForeign bounds a foreign database, in bytes: it has a row for each key, chain and kind.
const maxForeign = 64 << 20

// SignatureRow is a row of the table signature, as it stands there.
type SignatureRow struct {
	Name         string // of kind, chain and perhaps key
	Level, Round string
}

// ReadSignatures reads the table signature of the Python GREP11 signer (columns sigtype, lastblock,
// lastround). The file is copied and the copy is read, with the journal that a kill may have left. What
// is no such database is an error that names the file.
func ReadSignatures(ctx context.Context, path string) (rows []SignatureRow, err error) {
	folder, err := copyFolder(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	copied := filepath.Join(folder, "copy.db")
	for _, suffix := range []string{"", journalSuffix, walSuffix} {
		content, _, err := durable.ReadFile(path+suffix, maxForeign)
		if suffix != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = durable.WriteNew(copied+suffix, content, 0o600)
		}
		if err != nil {
			return nil, err
		}
	}
	if rows, err = readSignatures(ctx, copied); err != nil {
		return nil, fmt.Errorf("%s is no database of the Python signer: %v", path, err)
	}
	return rows, nil
}

func readSignatures(ctx context.Context, copied string) (rows []SignatureRow, err error) {
	pool, err := sql.Open("sqlite3", sourceOf(copied, "mode=rw"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	const query = "SELECT sigtype, lastblock, lastround FROM signature ORDER BY sigtype"
	err = eachRow(ctx, conn, query, func(row scan) error {
		var r SignatureRow
		if err := row(&r.Name, &r.Level, &r.Round); err != nil {
			return err
		}
		rows = append(rows, r)
		return nil
	})
	return rows, err
}
