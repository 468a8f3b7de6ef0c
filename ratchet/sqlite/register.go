package sqlite

// Where a key may sign.

import (
	"context"
	"database/sql"
	"fmt"

	"pawl/ratchet"
	"pawl/tezos"
)

// Register allows a key to sign on a chain from a level on, or raises that level. With AnyChain it
// allows a key that was just made to sign anywhere. See [ratchet.Store].
func (db *Store) Register(ctx context.Context, r ratchet.Registration) error {
	r.NoFloor = false // register writes one
	var refused error
	if err := ctx.Err(); err != nil {
		return err
	}
	j := newJob()
	j.run = func(ctx context.Context, tx *sql.Conn) (err error) {
		if r.AnyChain {
			refused, err = registerNew(ctx, tx, r.Key, &j.change)
		} else {
			refused, err = register(ctx, tx, r, &j.change)
		}
		return err
	}
	if err := db.commitFresh(j); err != nil {
		return err
	}
	if refused == nil {
		db.memory.putRegistration(r)
	}
	return refused
}

// register allows a key on one chain. A refusal is a result: it rolls nothing back.
func register(ctx context.Context, tx *sql.Conn, r ratchet.Registration, c *change) (refused, err error) {
	if r.FromLevel < 0 {
		return fmt.Errorf("from level %d: want a level, 0 or higher", r.FromLevel), nil
	}
	s, err := readStanding(ctx, tx, ratchet.Mark{Key: r.Key, ChainID: r.ChainID})
	if err != nil {
		return nil, err
	}
	const floors = "SELECT count(*) FROM registrations WHERE key = ? AND from_level IS NOT NULL"
	var registered int
	if err := tx.QueryRowContext(ctx, floors, r.Key[:]).Scan(&registered); err != nil {
		return nil, err
	}
	switch {
	case !s.Registered && registered >= ratchet.MaxChains:
		return &ratchet.RefusedError{Reason: ratchet.TooManyChains, Mark: ratchet.Mark{Key: r.Key, ChainID: r.ChainID}}, nil
	case s.HasFloor && r.FromLevel < s.Floor:
		return &ratchet.FloorError{Registration: r, Base: s.Floor}, nil
	}
	const upsert = `
INSERT INTO registrations (key, chain, from_level, seal) VALUES (?, ?, ?, ?)
ON CONFLICT (key, chain) DO UPDATE SET from_level = excluded.from_level, seal = excluded.seal
 WHERE excluded.from_level > ifnull(registrations.from_level, -1)`
	made := ratchet.Registration{Key: r.Key, ChainID: r.ChainID, FromLevel: r.FromLevel}
	seal := sealOfRegistration(made)
	result, err := tx.ExecContext(ctx, upsert, r.Key[:], r.ChainID[:], r.FromLevel, seal)
	if err != nil {
		return nil, err
	}
	if rows, err := result.RowsAffected(); rows == 0 || err != nil {
		return nil, err
	}
	if c.add(seal); s.Registered {
		before := ratchet.Registration{Key: r.Key, ChainID: r.ChainID, NoFloor: !s.HasFloor, FromLevel: s.Floor}
		c.remove(sealOfRegistration(before))
	}
	return nil, nil
}

// registerNew allows a key on any chain. A key that the store knows is refused.
func registerNew(ctx context.Context, tx *sql.Conn, key tezos.PublicKeyHash, c *change) (refused, err error) {
	const insert = `
INSERT INTO never_used (key, seal) SELECT ?1, ?2
 WHERE NOT EXISTS (SELECT 1 FROM registrations WHERE key = ?1)
   AND NOT EXISTS (SELECT 1 FROM marks WHERE key = ?1)
ON CONFLICT DO NOTHING`
	seal := sealOfRegistration(ratchet.Registration{Key: key, AnyChain: true})
	result, err := tx.ExecContext(ctx, insert, key[:], seal)
	if err != nil {
		return nil, err
	}
	added, err := result.RowsAffected()
	switch {
	case added > 0:
		c.add(seal)
	case err == nil:
		refused = fmt.Errorf("key %s is known to the ratchet, so it is not new: pawl ratchet register %s --chain NetX… "+
			"--from-level N", key, key)
	}
	return refused, err
}
