package ratchet

import (
	"context"
	"database/sql"
	"fmt"

	"pawl/tezos"
)

// Marks lists every stored mark, by key, chain and kind.
func (db *DB) Marks(ctx context.Context) ([]Entry, error) {
	var marks []slotRow
	err := db.ask(ctx, func(ctx context.Context, tx *sql.Conn) (err error) {
		marks, err = readMarks(ctx, tx)
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
		found, err = readRegistrations(ctx, tx)
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

func readMarks(ctx context.Context, tx *sql.Conn) ([]slotRow, error) {
	rows, err := tx.QueryContext(ctx, "SELECT key, chain, kind, level, round, digest, signature FROM marks ORDER BY key, chain, kind")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var marks []slotRow
	for rows.Next() {
		var (
			m          slotRow
			key, chain []byte
		)
		if m.row, err = scanRow(rows, &key, &chain, &m.kind); err != nil {
			return nil, fmt.Errorf("reading mark %d: %v", len(marks)+1, err)
		}
		m.key, m.chain = tezos.PublicKeyHash(key), tezos.ChainID(chain)
		marks = append(marks, m)
	}
	return marks, rows.Err()
}

type registration struct {
	Registration
	floor sql.Null[int32]
}

func readRegistrations(ctx context.Context, tx *sql.Conn) ([]registration, error) {
	const query = `
SELECT key, NULL, NULL FROM never_used
UNION ALL
SELECT key, chain, from_level FROM registrations
ORDER BY 1, 2`
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var registrations []registration
	for rows.Next() {
		var (
			r          registration
			key, chain []byte
		)
		if err := rows.Scan(&key, &chain, &r.floor); err != nil {
			return nil, fmt.Errorf("reading registration %d: %v", len(registrations)+1, err)
		}
		r.Key, r.FromLevel = tezos.PublicKeyHash(key), r.floor.V
		if r.AnyChain = chain == nil; !r.AnyChain {
			r.ChainID = tezos.ChainID(chain)
		}
		registrations = append(registrations, r)
	}
	return registrations, rows.Err()
}
