package sqlite

// Changing what the store holds, by a plan over all of it.

import (
	"context"
	"database/sql"

	"pawl/ratchet"
	"pawl/tezos"
)

// Change changes what the store holds, in one transaction. See [ratchet.Store].
func (db *Store) Change(ctx context.Context, plan ratchet.Plan) (ratchet.Changes, error) {
	if err := ctx.Err(); err != nil {
		return ratchet.Changes{}, err
	}
	db.changing.Lock() // so that the memory has them in the order of the commits
	defer db.changing.Unlock()
	var done ratchet.Changes
	var refused error
	j := newJob()
	j.run = func(ctx context.Context, tx *sql.Conn) error {
		held, err := readSnapshot(ctx, tx)
		if err != nil {
			return err
		}
		if done, refused = plan(held); refused != nil {
			return nil //nolint:nilerr // it is a result: it rolls nothing back
		}
		j.changed = &done
		return writeChanges(ctx, tx, done, &j.change)
	}
	if err := db.commitFresh(j); err != nil {
		return ratchet.Changes{}, err
	}
	if refused != nil {
		return ratchet.Changes{}, refused
	}
	db.memory.change(done)
	return done, nil
}

func writeChanges(ctx context.Context, tx *sql.Conn, done ratchet.Changes, c *change) error {
	for _, r := range done.Registrations {
		if err := putRegistration(ctx, tx, r.After); err != nil {
			return err
		}
		if c.add(sealOfRegistration(r.After)); r.Before != nil {
			c.remove(sealOfRegistration(*r.Before))
		}
	}
	for _, mark := range done.Marks {
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
	retired := sql.Null[string]{V: r.Retired, Valid: r.Retired != ""}
	fence := sql.Null[int32]{V: int32(r.Fence.Cause), Valid: r.Fence.Cause != ratchet.NoCause}
	known := sql.Null[int32]{V: r.Fence.Known, Valid: fence.Valid}
	if r.AnyChain {
		const put = "INSERT OR REPLACE INTO never_used (key, seal, retired, fence, known) VALUES (?, ?, ?, ?, ?)"
		_, err := tx.ExecContext(ctx, put, r.Key[:], seal, retired, fence, known)
		return err
	}
	const put = `
INSERT OR REPLACE INTO registrations (key, chain, from_level, seal, not_after, retired, fence, known, until)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	floor := sql.Null[int32]{V: r.FromLevel, Valid: !r.NoFloor}
	last := sql.Null[int32]{V: r.NotAfter, Valid: r.Bounded}
	until := sql.Null[int32]{V: r.Fence.Until, Valid: r.Fence.Set}
	_, err := tx.ExecContext(ctx, put, r.Key[:], r.ChainID[:], floor, seal, last, retired, fence, known, until)
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
