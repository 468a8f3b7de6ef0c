package sqlite

// Bringing the rows of another store into this one.

import (
	"context"
	"database/sql"

	"pawl/ratchet"
	"pawl/tezos"
)

// Merge brings what another store held into this one, in one transaction, and returns what it has
// changed: see [ratchet.Snapshot.Plan], whose errors it returns too. When it returns nil the changes are
// durable; after an error there are none, unless the store has failed.
func (db *Store) Merge(ctx context.Context, other ratchet.Snapshot) (ratchet.Merge, error) {
	if err := ctx.Err(); err != nil {
		return ratchet.Merge{}, err
	}
	var m ratchet.Merge
	var refused error
	j := newJob()
	j.run = func(ctx context.Context, tx *sql.Conn) error {
		held, err := readSnapshot(ctx, tx)
		if err != nil {
			return err
		}
		m, refused = held.Plan(other) // empty if it is refused, which is a result: it rolls nothing back
		return writeMerge(ctx, tx, m, &j.change)
	}
	if err := db.commitFresh(j); err != nil {
		return ratchet.Merge{}, err
	}
	if refused != nil {
		return ratchet.Merge{}, refused
	}
	db.memory.merge(m)
	return m, nil
}

func writeMerge(ctx context.Context, tx *sql.Conn, m ratchet.Merge, c *change) error {
	for _, r := range m.Registrations {
		if err := putRegistration(ctx, tx, r.After); err != nil {
			return err
		}
		if c.add(sealOfRegistration(r.After)); r.Before != nil {
			c.remove(sealOfRegistration(*r.Before))
		}
	}
	for _, mark := range m.Marks {
		if err := putMark(ctx, tx, mark.After); err != nil {
			return err
		}
		if c.add(sealOfMark(mark.After)); mark.Before != nil {
			c.remove(sealOfMark(*mark.Before))
		}
	}
	return nil
}

// putRegistration writes a row in the place of the one that may be there.
func putRegistration(ctx context.Context, tx *sql.Conn, r ratchet.Registration) error {
	seal := sealOfRegistration(r)
	if r.AnyChain {
		_, err := tx.ExecContext(ctx, "INSERT INTO never_used (key, seal) VALUES (?, ?)", r.Key[:], seal)
		return err
	}
	const put = "INSERT OR REPLACE INTO registrations (key, chain, from_level, seal) VALUES (?, ?, ?, ?)"
	floor := sql.Null[int32]{V: r.FromLevel, Valid: !r.NoFloor}
	_, err := tx.ExecContext(ctx, put, r.Key[:], r.ChainID[:], floor, seal)
	return err
}

// putMark writes a row in the place of the one that may be there.
func putMark(ctx context.Context, tx *sql.Conn, m ratchet.StoredMark) error {
	const put = `
INSERT OR REPLACE INTO marks (key, chain, kind, level, round, digest, signature, seal, time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	var digest []byte
	var signature sql.Null[string]
	if m.Digest != (tezos.Digest{}) {
		digest = m.Digest[:]
	}
	if m.Signature != nil {
		signature = sql.Null[string]{V: m.Signature.String(), Valid: true}
	}
	_, err := tx.ExecContext(ctx, put, m.Key[:], m.ChainID[:], m.Kind, m.Level, m.Round, digest, signature, sealOfMark(m),
		milliseconds(m.Time))
	return err
}
