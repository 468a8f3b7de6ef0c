package ratchet

import (
	"context"
	"database/sql"

	"pawl/tezos"
)

// Marks lists every stored mark, by key, chain and kind.
func (db *DB) Marks(ctx context.Context) ([]Entry, error) {
	var marks []slotRow
	err := db.ask(ctx, func(ctx context.Context, tx *sql.Conn) (err error) {
		marks, err = readMarks(ctx, tx, true)
		return err
	})
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(marks))
	for _, m := range marks {
		mark := Mark{Key: m.key, ChainID: m.chain, Kind: m.kind, Level: m.level, Round: m.round}
		entries = append(entries, Entry{Mark: mark, Digest: m.digest, HasSignature: m.signature != nil})
	}
	return entries, nil
}

// Registrations lists on which chains each key may sign, by key and chain.
func (db *DB) Registrations(ctx context.Context) ([]Registration, error) {
	var found []registration
	err := db.ask(ctx, func(ctx context.Context, tx *sql.Conn) (err error) {
		found, err = readRegistrations(ctx, tx, true)
		return err
	})
	if err != nil {
		return nil, err
	}
	registrations := make([]Registration, 0, len(found))
	for _, r := range found {
		registrations = append(registrations, r.Registration)
	}
	return registrations, nil
}

type slotRow struct {
	slot
	row
}

const (
	marksQuery         = "SELECT key, chain, kind, seal, level, round, digest, signature FROM marks ORDER BY key, chain, kind"
	unsealedMarksQuery = "SELECT key, chain, kind, NULL, level, round, digest, signature FROM marks ORDER BY key, chain, kind"
)

// readMarks reads every mark, and checks the seals if the file has them.
func readMarks(ctx context.Context, tx *sql.Conn, sealed bool) ([]slotRow, error) {
	query := marksQuery
	if !sealed {
		query = unsealedMarksQuery
	}
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var marks []slotRow
	for rows.Next() {
		m, err := scanMark(rows, sealed)
		if err != nil {
			return nil, err
		}
		marks = append(marks, m)
	}
	return marks, rows.Err()
}

func scanMark(rows *sql.Rows, sealed bool) (m slotRow, err error) {
	var key, chain, seal []byte
	if m.row, err = scanRow(rows, &key, &chain, &m.kind, &seal); err != nil {
		return m, err
	}
	if len(key) != len(m.key) || len(chain) != len(m.chain) {
		return m, damaged("a mark has a key of %d bytes on a chain of %d", len(key), len(chain))
	}
	m.key, m.chain = tezos.PublicKeyHash(key), tezos.ChainID(chain)
	if sealed {
		err = m.checkSeal(seal)
	}
	return m, err
}

type registration struct {
	Registration
	floor sql.Null[int32]
}

const (
	registrationsQuery = `
SELECT key, NULL, NULL, seal FROM never_used UNION ALL SELECT key, chain, from_level, seal FROM registrations ORDER BY 1, 2`
	unsealedRegistrationsQuery = `
SELECT key, NULL, NULL, NULL FROM never_used UNION ALL SELECT key, chain, from_level, NULL FROM registrations ORDER BY 1, 2`
	registrationsOfKeyQuery = `
SELECT key, NULL, NULL, seal FROM never_used WHERE key = ?1 UNION ALL SELECT key, chain, from_level, seal FROM registrations WHERE key = ?1`
)

// readRegistrations reads every registration, and checks the seals if the file has them.
func readRegistrations(ctx context.Context, tx *sql.Conn, sealed bool) ([]registration, error) {
	if !sealed {
		return queryRegistrations(ctx, tx, false, unsealedRegistrationsQuery)
	}
	return queryRegistrations(ctx, tx, true, registrationsQuery)
}

func queryRegistrations(ctx context.Context, tx *sql.Conn, sealed bool, query string, args ...any) ([]registration, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var registrations []registration
	for rows.Next() {
		r, err := scanRegistration(rows, sealed)
		if err != nil {
			return nil, err
		}
		registrations = append(registrations, r)
	}
	return registrations, rows.Err()
}

func scanRegistration(rows *sql.Rows, sealed bool) (r registration, err error) {
	var key, chain, seal []byte
	if err := rows.Scan(&key, &chain, &r.floor, &seal); err != nil {
		return r, unreadable(err)
	}
	r.AnyChain = chain == nil
	if len(key) != len(r.Key) || !r.AnyChain && len(chain) != len(r.ChainID) {
		return r, damaged("a registration has a key of %d bytes and a chain of %d", len(key), len(chain))
	}
	r.Key, r.FromLevel = tezos.PublicKeyHash(key), r.floor.V
	copy(r.ChainID[:], chain)
	if sealed {
		err = r.checkSeal(seal)
	}
	return r, err
}
