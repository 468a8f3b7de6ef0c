package ratchet

import (
	"context"
	"database/sql"
	"fmt"

	"pawl/tezos"
)

// maxChains is how many chains the requests to a key that was never used may
// register: stray chain ids must not fill the file. An operator may register as
// many, whatever requests did.
const maxChains = 8

// Register allows a key to sign on a chain from a level on, or raises that level.
// It never lowers it. A ninth chain is a [*RefusedError].
func (db *DB) Register(ctx context.Context, key tezos.PublicKeyHash, chain tezos.ChainID, fromLevel int32) error {
	if fromLevel < 0 {
		return fmt.Errorf("from level %d: want a level, 0 or higher", fromLevel)
	}
	var refused error
	err := db.do(ctx, func(ctx context.Context, tx *sql.Conn) (err error) {
		refused, err = registerIn(ctx, tx, key, chain, fromLevel)
		return err
	})
	if err != nil {
		return err
	}
	if refused == nil {
		db.memory.putFloor(key, chain, sql.Null[int32]{V: fromLevel, Valid: true})
	}
	return refused
}

func registerIn(ctx context.Context, tx *sql.Conn, key tezos.PublicKeyHash, chain tezos.ChainID, fromLevel int32) (refused, err error) {
	s, err := readStanding(ctx, tx, Mark{Key: key, ChainID: chain})
	if err != nil {
		return nil, err
	}
	const floors = "SELECT count(*) FROM registrations WHERE key = ? AND from_level IS NOT NULL"
	var registered int
	if err := tx.QueryRowContext(ctx, floors, key[:]).Scan(&registered); err != nil {
		return nil, err
	}
	switch {
	case !s.registered && registered >= maxChains:
		return &RefusedError{Reason: TooManyChains, Mark: Mark{Key: key, ChainID: chain}}, nil
	case s.floor.Valid && fromLevel < s.floor.V:
		return fmt.Errorf("key %s is registered for chain %s from level %d, which only rises: %d is lower", key, chain, s.floor.V, fromLevel), nil
	}
	const upsert = `
INSERT INTO registrations (key, chain, from_level, seal) VALUES (?, ?, ?, ?)
ON CONFLICT (key, chain) DO UPDATE SET from_level = excluded.from_level, seal = excluded.seal
 WHERE excluded.from_level > ifnull(registrations.from_level, -1)`
	made := registration{Registration{Key: key, ChainID: chain}, sql.Null[int32]{V: fromLevel, Valid: true}}
	_, err = tx.ExecContext(ctx, upsert, key[:], chain[:], fromLevel, made.seal())
	return nil, err
}

// RegisterNew allows a key that was made a moment ago, and never used, to sign on
// any chain, from any level: its first request on a chain registers the chain. It
// is an error for a key that the ratchet knows already.
func (db *DB) RegisterNew(ctx context.Context, key tezos.PublicKeyHash) error {
	const insert = `
INSERT INTO never_used (key, seal) SELECT ?1, ?2
 WHERE NOT EXISTS (SELECT 1 FROM registrations WHERE key = ?1)
   AND NOT EXISTS (SELECT 1 FROM marks WHERE key = ?1)
ON CONFLICT DO NOTHING`
	made := registration{Registration: Registration{Key: key, AnyChain: true}}
	var added int64
	err := db.do(ctx, func(ctx context.Context, tx *sql.Conn) error {
		result, err := tx.ExecContext(ctx, insert, key[:], made.seal())
		if err != nil {
			return err
		}
		added, err = result.RowsAffected()
		return err
	})
	if err != nil {
		return err
	}
	if added == 0 {
		return fmt.Errorf("key %s is known to the ratchet, so it is not new: pawl ratchet register %s --chain NetX… --from-level N", key, key)
	}
	db.memory.putNeverUsed(key)
	return nil
}
