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
		marks, err = readMarks(ctx, tx, schemaVersion)
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
		found, err = readRegistrations(ctx, tx, schemaVersion)
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

// marksQuery reads all marks of a file of a schema version.
var marksQuery = map[int]string{
	unsealedVersion: "SELECT key, chain, kind, NULL, level, round, digest, signature FROM marks ORDER BY key, chain, kind",
	schemaVersion:   "SELECT key, chain, kind, seal, level, round, digest, signature FROM marks ORDER BY key, chain, kind",
}

// readMarks reads every mark of a file of this schema version, and checks the seals.
func readMarks(ctx context.Context, tx *sql.Conn, version int) ([]slotRow, error) {
	rows, err := tx.QueryContext(ctx, marksQuery[version])
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var marks []slotRow
	for rows.Next() {
		var (
			m                slotRow
			key, chain, seal []byte
		)
		if m.row, err = scanRow(rows, &key, &chain, &m.kind, &seal); err != nil {
			return nil, fmt.Errorf("reading mark %d: %v", len(marks)+1, err)
		}
		m.key, m.chain = tezos.PublicKeyHash(key), tezos.ChainID(chain)
		if err := m.checkSeal(version, seal); err != nil {
			return nil, err
		}
		marks = append(marks, m)
	}
	return marks, rows.Err()
}

type registration struct {
	Registration
	floor sql.Null[int32]
}

// registrationsQuery reads all registrations of a file of a schema version.
var registrationsQuery = map[int]string{
	unsealedVersion: "SELECT key, NULL, NULL, NULL FROM never_used UNION ALL SELECT key, chain, from_level, NULL FROM registrations ORDER BY 1, 2",
	schemaVersion:   "SELECT key, NULL, NULL, seal FROM never_used UNION ALL SELECT key, chain, from_level, seal FROM registrations ORDER BY 1, 2",
}

// readRegistrations does the same with all registrations.
func readRegistrations(ctx context.Context, tx *sql.Conn, version int) ([]registration, error) {
	rows, err := tx.QueryContext(ctx, registrationsQuery[version])
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var registrations []registration
	for rows.Next() {
		var (
			r                registration
			key, chain, seal []byte
		)
		if err := rows.Scan(&key, &chain, &r.floor, &seal); err != nil {
			return nil, fmt.Errorf("reading registration %d: %v", len(registrations)+1, err)
		}
		r.Key, r.FromLevel = tezos.PublicKeyHash(key), r.floor.V
		if r.AnyChain = chain == nil; !r.AnyChain {
			r.ChainID = tezos.ChainID(chain)
		}
		if err := r.checkSeal(version, seal); err != nil {
			return nil, err
		}
		registrations = append(registrations, r)
	}
	return registrations, rows.Err()
}
