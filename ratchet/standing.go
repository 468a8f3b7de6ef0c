package ratchet

import (
	"context"
	"database/sql"
	"errors"

	"pawl/tezos"
)

// row is a stored mark.
type row struct {
	level, round int32
	digest       tezos.Digest
	signature    *tezos.Signature // nil for a mark imported without one
}

// standing is all that a verdict on a mark depends on.
type standing struct {
	registered bool            // the key, on the chain
	floor      sql.Null[int32] // not valid for a key that was new
	neverUsed  bool            // the key may be registered for any further chain
	chains     int             // that the key is registered for
	mark       *row            // nil when nothing was signed yet
}

// admits says whether a key that was made for pawl may have one chain more.
func (s standing) admits() bool { return !s.registered && s.neverUsed && s.chains < maxChains }

// judge finds the stored signature of the very same bytes, or the reason to
// refuse m, or neither: then m may be signed. The words of the watermark come
// first, as a baker knows them from Octez.
func (s standing) judge(m Mark, d tezos.Digest, maxGap int32) (*tezos.Signature, error) {
	if s.mark != nil {
		if stored, err := s.mark.judge(m, d); stored != nil || err != nil {
			return stored, err
		}
	}
	switch {
	case s.admits():
		return nil, nil
	case !s.registered && s.neverUsed:
		return nil, &RefusedError{Reason: TooManyChains, Mark: m}
	case !s.registered:
		return nil, &RefusedError{Reason: NotRegistered, Mark: m}
	case s.floor.Valid && m.Level < s.floor.V:
		return nil, &RefusedError{Reason: BelowFloor, Mark: m, Level: s.floor.V}
	}
	base, known := s.base()
	if known && int64(m.Level)-int64(base) > int64(maxGap) {
		return nil, &RefusedError{Reason: LevelGap, Mark: m, Level: base}
	}
	return nil, nil
}

// base is the level from which the gap counts: the higher of mark and floor. A
// key that was new has neither before its first mark, and then no gap applies.
func (s standing) base() (int32, bool) {
	switch {
	case s.mark == nil:
		return s.floor.V, s.floor.Valid
	case s.floor.Valid:
		return max(s.mark.level, s.floor.V), true
	}
	return s.mark.level, true
}

func (r row) judge(m Mark, d tezos.Digest) (*tezos.Signature, error) {
	refused := &RefusedError{Mark: m, Level: r.level, Round: r.round}
	switch {
	case m.Level > r.level, m.Level == r.level && m.Round > r.round:
		return nil, nil
	case m.Level < r.level, m.Round < r.round:
		refused.Reason = BelowWatermark
	case r.signature == nil:
		refused.Reason = NoSignature
	case r.digest != d:
		refused.Reason = OtherBytes
	default:
		return r.signature, nil
	}
	return nil, refused
}

// readStanding reads in one transaction what judge must know of m.
func readStanding(ctx context.Context, tx *sql.Conn, m Mark) (standing, error) {
	s, err := readRegistered(ctx, tx, m)
	if err != nil {
		return standing{}, err
	}
	const markQuery = "SELECT seal, level, round, digest, signature FROM marks WHERE key = ? AND chain = ? AND kind = ?"
	var seal []byte
	r, err := scanRow(tx.QueryRowContext(ctx, markQuery, m.Key[:], m.ChainID[:], m.Kind), &seal)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return s, nil
	case err != nil:
		return standing{}, err
	}
	s.mark = &r
	return s, slotRow{m.slot(), r}.checkSeal(seal)
}

// readRegistered reads where the key of m may sign.
func readRegistered(ctx context.Context, tx *sql.Conn, m Mark) (s standing, err error) {
	registrations, err := queryRegistrations(ctx, tx, true, registrationsOfKeyQuery, m.Key[:])
	for _, r := range registrations {
		switch {
		case r.AnyChain:
			s.neverUsed = true
			continue
		case r.ChainID == m.ChainID:
			s.registered, s.floor = true, r.floor
		}
		s.chains++
	}
	return s, err
}

// scanRow reads level, round, digest and signature, after any other columns.
func scanRow(from interface{ Scan(dest ...any) error }, before ...any) (row, error) {
	var (
		r         row
		digest    []byte
		signature sql.Null[string]
	)
	if err := from.Scan(append(before, &r.level, &r.round, &digest, &signature)...); err != nil {
		return row{}, unreadable(err)
	}
	copy(r.digest[:], digest)
	if signature.Valid {
		parsed, err := tezos.ParseSignature(signature.V)
		if err != nil {
			return row{}, damaged("a stored %v", err)
		}
		r.signature = &parsed
	}
	return r, nil
}
