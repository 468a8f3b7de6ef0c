package sqlite

// The statements that decide: they raise a mark, or find out why it may not rise.

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"pawl/ratchet"
)

// raise and first are the upsert of a mark. The statement that writes also checks registration, floor,
// gap and watermark, and the number of rows affected tells whether the mark rose. There are two
// statements because one that joins the table it inserts into costs thirty times as much (SQLite then
// copies the row through a temporary table); first, which a mark needs once, pays that for its gap.
// raise replaces the row whose seal is known and no other: the totals lose that seal.
const (
	raise = `
UPDATE marks SET level = ?4, round = ?5, digest = ?6, signature = ?7, seal = ?9, time = ?10
 WHERE key = ?1 AND chain = ?2 AND kind = ?3 AND seal = ?11
   AND (?4, ?5) > (level, round)
   AND EXISTS (SELECT 1 FROM registrations AS r
                WHERE r.key = ?1 AND r.chain = ?2
                  AND ?4 >= ifnull(r.from_level, 0) AND ` + within + `
                  AND (?4 - max(marks.level, ifnull(r.from_level, 0)) <= ?8 OR ` + near + `))`

	// A key that was new has no floor, and no gap applies to the first mark of all its kinds.
	first = `
INSERT INTO marks (key, chain, kind, level, round, digest, signature, seal, time)
SELECT r.key, r.chain, ?3, ?4, ?5, ?6, ?7, ?9, ?10
  FROM registrations AS r
 WHERE r.key = ?1 AND r.chain = ?2
   AND ?4 >= ifnull(r.from_level, 0) AND ` + within + `
   AND (?4 - r.from_level <= ?8 OR ` + near + ` OR r.from_level IS NULL AND NOT ` + signed + `)
ON CONFLICT (key, chain, kind) DO NOTHING`

	// within is about the bounds of the registration. A fence that is not set has no level and compares to
	// NULL, which is not true.
	within = `r.retired IS NULL AND ?4 <= ifnull(r.not_after, ?4) AND (r.fence IS NULL OR ?4 > r.until)`

	// signed and near are about the marks of all kinds: there is one, it is no more than the gap below.
	signed = `EXISTS (SELECT 1 FROM marks AS m WHERE m.key = ?1 AND m.chain = ?2)`
	near   = `EXISTS (SELECT 1 FROM marks AS m WHERE m.key = ?1 AND m.chain = ?2 AND ?4 - m.level <= ?8)`
)

// admit registers a chain for a key that was registered as never used.
const admit = `
INSERT INTO registrations (key, chain, from_level, seal)
SELECT key, ?2, NULL, ?3 FROM never_used WHERE key = ?1 AND retired IS NULL AND fence IS NULL`

// errContradiction means that the statement refused what Judge allows, which cannot happen.
var errContradiction = errors.New("the ratchet's statement and its explanation contradict each other")

// placement is the job of one proposal, with the columns to store and the outcome.
type placement struct {
	ratchet.Proposal
	made   ratchet.StoredMark // the row of the proposal
	text   string             // of its signature
	seal   []byte
	before *ratchet.StoredMark // in the slot, as memory has it; nil for none
	job    *job

	row     ratchet.StoredMark // what the slot holds then: made, or what was there for the same bytes
	release ratchet.Release    // or
	refused error
}

// now returns the time as a row can hold it, or none with a clock that was never set.
func now() time.Time {
	if at := time.Now().UTC().Truncate(time.Millisecond); at.UnixMilli() > 0 {
		return at
	}
	return time.Time{}
}

// milliseconds is a time in a row: since 1970, or NULL.
func milliseconds(at time.Time) sql.Null[int64] {
	return sql.Null[int64]{V: at.UnixMilli(), Valid: !at.IsZero()}
}

func (db *Store) newPlacement(p ratchet.Proposal) *placement {
	made := ratchet.StoredMark{Mark: p.Mark, Digest: p.Digest, Signature: &p.Signature, Time: now()}
	placing := &placement{Proposal: p, made: made, text: p.Signature.String(), seal: sealOfMark(made), job: newJob()}
	placing.before = db.memory.standing(p.Mark).Mark
	placing.job.run = placing.run
	return placing
}

// Place commits a fresh signature, or returns why it may not leave. See [ratchet.Store].
func (db *Store) Place(_ context.Context, p ratchet.Proposal) (ratchet.Release, error) {
	placing := db.newPlacement(p)
	if err := db.commitFresh(placing.job); err != nil {
		return ratchet.Release{}, err
	}
	if placing.refused != nil {
		return ratchet.Release{}, placing.refused
	}
	db.memory.opened(p.Key, p.ChainID)
	db.memory.putMark(placing.row)
	return placing.release, nil
}

// run is the statements of the job. It reads nothing if the mark rises. It may be run twice.
func (p *placement) run(ctx context.Context, tx *sql.Conn) error {
	p.row, p.release, p.refused, p.job.stored = p.made, ratchet.Release{Signature: p.Signature}, nil, nil
	placed, err := p.upsert(ctx, tx, p.before)
	if err == nil && !placed {
		placed, err = p.admitOrRefuse(ctx, tx)
	}
	if placed {
		p.job.stored = &p.Mark
	}
	return err
}

// admitOrRefuse is called when the upsert changed nothing: the mark is refused, or the same bytes
// were signed before, or the chain is opened for a key that pawl made, and the upsert repeated.
func (p *placement) admitOrRefuse(ctx context.Context, tx *sql.Conn) (placed bool, err error) {
	s, err := readStanding(ctx, tx, p.Mark)
	if err != nil {
		return false, err
	}
	switch stored, refused := s.Judge(p.Mark, p.Digest, p.MaxGap); {
	case refused != nil:
		p.refused = refused
		return false, nil //nolint:nilerr // a refusal is a result: it rolls nothing back
	case stored != nil: // the fresh one is dropped
		p.row = *s.Mark
		p.release = ratchet.Release{Signature: *stored, Stored: true}
		return false, nil
	case p.setBack(s.Mark):
		return false, verdict(RolledBack, fmt.Sprintf("the mark of %s on %s, %s level %d and round %d, was set back while "+
			"it was open", p.Key, p.ChainID, p.Kind, p.before.Level, p.before.Round))
	case s.Admits():
		if err := p.admit(ctx, tx); err != nil {
			return false, err
		}
	}
	if placed, err = p.upsert(ctx, tx, s.Mark); err == nil && !placed {
		err = errContradiction
	}
	return placed, err
}

// setBack reports whether the row is below what memory has, which holds nothing but what was committed:
// somebody has written older content over the file.
func (p *placement) setBack(row *ratchet.StoredMark) bool {
	return p.before != nil && (row == nil || p.before.Above(row.Mark))
}

func (p *placement) admit(ctx context.Context, tx *sql.Conn) error {
	seal := sealOfRegistration(ratchet.Registration{Key: p.Key, ChainID: p.ChainID, NoFloor: true})
	if _, err := tx.ExecContext(ctx, admit, p.Key[:], p.ChainID[:], seal); err != nil {
		return err
	}
	p.job.change.add(seal)
	return nil
}

// upsert replaces a row of the slot, nil for none, by that of the proposal.
func (p *placement) upsert(ctx context.Context, tx *sql.Conn, row *ratchet.StoredMark) (placed bool, err error) {
	statement, args := first, []any{
		p.Key[:], p.ChainID[:], p.Kind, p.Level, p.Round, p.Digest[:], p.text, p.MaxGap, p.seal, milliseconds(p.made.Time),
	}
	var replaced []byte
	if row != nil {
		replaced = sealOfMark(*row)
		statement, args = raise, append(args, replaced)
	}
	result, err := tx.ExecContext(ctx, statement, args...)
	if err != nil {
		return false, err
	}
	if rows, err := result.RowsAffected(); rows == 0 || err != nil {
		return false, err
	}
	if p.job.change.add(p.seal); row != nil {
		p.job.change.remove(replaced)
	}
	return true, nil
}
