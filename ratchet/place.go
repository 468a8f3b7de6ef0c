package ratchet

import (
	"context"
	"database/sql"
	"errors"

	"pawl/tezos"
)

// raise and first are the upsert of a mark. Registration, floor, gap and watermark
// stand in the statement that writes, and rows affected is the verdict. It is two
// statements because one that joins the table it inserts into costs thirty times
// as much (SQLite then copies the row through a temporary table).
const (
	raise = `
UPDATE marks SET level = ?4, round = ?5, digest = ?6, signature = ?7, seal = ?9
 WHERE key = ?1 AND chain = ?2 AND kind = ?3
   AND (?4, ?5) > (level, round)
   AND EXISTS (SELECT 1 FROM registrations AS r
                WHERE r.key = ?1 AND r.chain = ?2
                  AND ?4 >= ifnull(r.from_level, 0)
                  AND ?4 - max(marks.level, ifnull(r.from_level, 0)) <= ?8)`

	// A key that was new has no floor, and no gap applies to its first mark.
	first = `
INSERT INTO marks (key, chain, kind, level, round, digest, signature, seal)
SELECT r.key, r.chain, ?3, ?4, ?5, ?6, ?7, ?9
  FROM registrations AS r
 WHERE r.key = ?1 AND r.chain = ?2
   AND ?4 >= ifnull(r.from_level, 0)
   AND ?4 - ifnull(r.from_level, ?4) <= ?8
ON CONFLICT (key, chain, kind) DO NOTHING`
)

// admit registers a chain for a key that was registered as never used.
const admit = `
INSERT INTO registrations (key, chain, from_level, seal)
SELECT key, ?2, NULL, ?3 FROM never_used WHERE key = ?1`

// errContradiction cannot happen: the statement refused what judge allows.
var errContradiction = errors.New("the ratchet's statement and its explanation contradict each other")

// outcome is what became of one mark in a transaction.
type outcome struct {
	release Release
	refused error
}

// proposal is a mark with the signature that was just made for it.
type proposal struct {
	Mark
	digest    tezos.Digest
	signature tezos.Signature
	text      string // of the signature, as it is stored
	seal      []byte // of the row
	maxGap    int32
}

func (db *DB) proposal(m Mark, d tezos.Digest, fresh tezos.Signature) proposal {
	made := slotRow{m.slot(), row{m.Level, m.Round, d, &fresh}}
	return proposal{Mark: m, digest: d, signature: fresh, text: fresh.String(), seal: made.seal(), maxGap: db.opts.MaxLevelGap}
}

// place commits a fresh signature, or finds out why it may not leave. The
// release holds the signature that is in the row, which is the only one of its
// slot: the fresh one, or the stored one of the same bytes.
func (db *DB) place(m Mark, d tezos.Digest, fresh tezos.Signature) (Release, error) {
	p := db.proposal(m, d, fresh)
	var got outcome
	if err := db.submit(p.job(&got)); err != nil {
		return Release{}, err
	}
	if got.refused != nil {
		return Release{}, got.refused
	}
	db.memory.putMark(m.slot(), row{m.Level, m.Round, d, &got.release.Signature})
	return got.release, nil
}

func (p proposal) job(got *outcome) *job {
	j := newJob()
	j.run = func(ctx context.Context, tx *sql.Conn) (err error) {
		*got, err = p.place(ctx, tx)
		j.stored = nil
		if got.refused == nil && !got.release.Stored {
			j.stored = &p.Mark
		}
		return err
	}
	return j
}

// place looks at nothing but rows affected when the mark is good.
func (p proposal) place(ctx context.Context, tx *sql.Conn) (outcome, error) {
	if placed, err := p.upsert(ctx, tx); placed || err != nil {
		return outcome{release: Release{Signature: p.signature}}, err
	}
	s, err := readStanding(ctx, tx, p.Mark)
	if err != nil {
		return outcome{}, err
	}
	switch stored, refused := s.judge(p.Mark, p.digest, p.maxGap); {
	case refused != nil:
		return outcome{refused: refused}, nil //nolint:nilerr // a refusal is a result, and rolls nothing back
	case stored != nil:
		return outcome{release: Release{Signature: *stored, Stored: true}}, nil
	case !s.admits():
		return outcome{}, errContradiction
	}
	admitted := registration{Registration: Registration{Key: p.Key, ChainID: p.ChainID}}
	if _, err := tx.ExecContext(ctx, admit, p.Key[:], p.ChainID[:], admitted.seal()); err != nil {
		return outcome{}, err
	}
	placed, err := p.upsert(ctx, tx)
	if err == nil && !placed {
		err = errContradiction
	}
	return outcome{release: Release{Signature: p.signature}}, err
}

func (p proposal) upsert(ctx context.Context, tx *sql.Conn) (placed bool, err error) {
	for _, statement := range []string{raise, first} {
		result, err := tx.ExecContext(ctx, statement,
			p.Key[:], p.ChainID[:], p.Kind, p.Level, p.Round, p.digest[:], p.text, p.maxGap, p.seal)
		if err != nil {
			return false, err
		}
		if rows, err := result.RowsAffected(); rows > 0 || err != nil {
			return err == nil, err
		}
	}
	return false, nil
}
