package sqlite

// Reading the tables. Each row is checked against its seal.

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"pawl/ratchet"
	"pawl/tezos"
)

// readSnapshot reads all marks and registrations.
func readSnapshot(ctx context.Context, tx *sql.Conn) (all ratchet.Snapshot, err error) {
	return readSnapshotBy(ctx, tx, marksQuery, registrationsQuery)
}

// readSnapshotBy reads with queries of its own: older files have no times, and no bounds.
func readSnapshotBy(ctx context.Context, tx *sql.Conn, marks, registrations string) (all ratchet.Snapshot, err error) {
	if all.Marks, err = readMarks(ctx, tx, marks); err != nil {
		return all, err
	}
	all.Registrations, err = readRegistrations(ctx, tx, registrations)
	return all, err
}

// readAll reads the rows and their totals, and finds rows of different times. Its errors name the file.
func readAll(ctx context.Context, tx *sql.Conn, path string) (all ratchet.Snapshot, found Finding, err error) {
	if all, err = readSnapshot(ctx, tx); err != nil {
		return all, found, fmt.Errorf("reading %s: %w", path, err)
	}
	stored, err := readTotals(ctx, tx)
	if err != nil {
		return all, found, fmt.Errorf("reading %s: %w", path, err)
	}
	return all, checkTotals(path, stored, all), nil
}

// readStanding reads what Judge must know of m.
func readStanding(ctx context.Context, tx *sql.Conn, m ratchet.Mark) (s ratchet.Standing, err error) {
	registrations, err := readRegistrations(ctx, tx, registrationsOfKeyQuery, m.Key[:])
	if err != nil {
		return ratchet.Standing{}, err
	}
	for _, r := range registrations {
		s.Add(r, m.ChainID)
	}
	const query = `
SELECT key, chain, kind, seal, level, round, digest, signature, time FROM marks
 WHERE key = ? AND chain = ?`
	err = eachRow(ctx, tx, query, func(row scan) error {
		mark, err := scanMark(row)
		s.AddMark(mark, m.Kind)
		return err
	}, m.Key[:], m.ChainID[:])
	if err != nil {
		return ratchet.Standing{}, err
	}
	return s, nil
}

const (
	marksQuery = `
SELECT key, chain, kind, seal, level, round, digest, signature, time FROM marks ORDER BY key, chain, kind`
	timelessMarksQuery = `
SELECT key, chain, kind, seal, level, round, digest, signature, NULL FROM marks ORDER BY key, chain, kind`
)

// readMarks reads the marks of a query, by key, chain and kind.
func readMarks(ctx context.Context, tx *sql.Conn, query string) (marks []ratchet.StoredMark, err error) {
	err = eachRow(ctx, tx, query, func(row scan) error {
		m, err := scanMark(row)
		marks = append(marks, m)
		return err
	})
	return marks, err
}

// scan reads the columns of a row: the Scan of a *sql.Row or of *sql.Rows.
type scan func(columns ...any) error

func scanMark(row scan) (m ratchet.StoredMark, err error) {
	var seal []byte
	if m, seal, err = scanUnchecked(row); err != nil {
		return m, err
	}
	return m, checkSealOfMark(m, seal)
}

// scanUnchecked reads a mark with its seal.
func scanUnchecked(row scan) (m ratchet.StoredMark, seal []byte, err error) {
	var key, chain, digest []byte
	var signature sql.Null[string]
	var committed sql.Null[int64]
	if err := row(&key, &chain, &m.Kind, &seal, &m.Level, &m.Round, &digest, &signature, &committed); err != nil {
		return m, nil, unreadable(err)
	}
	if len(key) != len(m.Key) || len(chain) != len(m.ChainID) {
		return m, nil, damaged("a mark has a key of %d bytes on a chain of %d", len(key), len(chain))
	}
	m.Key, m.ChainID = tezos.PublicKeyHash(key), tezos.ChainID(chain)
	copy(m.Digest[:], digest)
	if committed.Valid {
		m.Time = time.UnixMilli(committed.V).UTC()
	}
	if !signature.Valid {
		return m, seal, nil
	}
	parsed, err := tezos.ParseSignature(signature.V)
	if err != nil {
		return m, nil, damaged("a stored %v", err)
	}
	m.Signature = &parsed
	return m, seal, nil
}

const (
	registrationsQuery = `
SELECT key, NULL, NULL, seal, NULL, retired, fence, known, NULL FROM never_used
UNION ALL SELECT key, chain, from_level, seal, not_after, retired, fence, known, until FROM registrations
 ORDER BY 1, 2`
	registrationsOfKeyQuery = `
SELECT key, NULL, NULL, seal, NULL, retired, fence, known, NULL FROM never_used WHERE key = ?1
UNION ALL SELECT key, chain, from_level, seal, not_after, retired, fence, known, until FROM registrations WHERE key = ?1`
	unboundRegistrationsQuery = `
SELECT key, NULL, NULL, seal, NULL, NULL, NULL, NULL, NULL FROM never_used
UNION ALL SELECT key, chain, from_level, seal, NULL, NULL, NULL, NULL, NULL FROM registrations
 ORDER BY 1, 2`
)

// readRegistrations reads the registrations of a query, by key and chain.
func readRegistrations(
	ctx context.Context, tx *sql.Conn, query string, args ...any,
) (list []ratchet.Registration, err error) {
	err = eachRow(ctx, tx, query, func(row scan) error {
		r, seal, err := scanRegistration(row)
		list = append(list, r)
		if err != nil {
			return err
		}
		return checkSealOfRegistration(r, seal)
	}, args...)
	return list, err
}

// scanRegistration reads a registration with its seal.
func scanRegistration(row scan) (r ratchet.Registration, seal []byte, err error) {
	var key, chain []byte
	var floor, last, fence, known, until sql.Null[int32]
	var retired sql.Null[string]
	if err := row(&key, &chain, &floor, &seal, &last, &retired, &fence, &known, &until); err != nil {
		return r, nil, unreadable(err)
	}
	r.Bounded, r.NotAfter, r.Retired = last.Valid, last.V, retired.V
	r.Fence = ratchet.Fence{
		Cause: ratchet.Cause(fence.V), Known: known.V, Set: until.Valid, Until: until.V, //nolint:gosec // 1 to 3
	}
	r.AnyChain, r.NoFloor, r.FromLevel = chain == nil, chain != nil && !floor.Valid, floor.V
	if len(key) != len(r.Key) || !r.AnyChain && len(chain) != len(r.ChainID) {
		return r, nil, damaged("a registration has a key of %d bytes and a chain of %d", len(key), len(chain))
	}
	r.Key = tezos.PublicKeyHash(key)
	copy(r.ChainID[:], chain)
	return r, seal, nil
}

// eachRow calls read for each row of a query.
func eachRow(ctx context.Context, conn *sql.Conn, query string, read func(scan) error, args ...any) error {
	rows, err := conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := read(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
