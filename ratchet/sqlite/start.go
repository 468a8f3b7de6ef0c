package sqlite

// What a start finds out: whether marks may be missing, and what follows from it.

import (
	"context"
	"database/sql"
	"fmt"

	"pawl/ratchet"
)

// found is what a start has found out, and what it writes.
type found struct {
	Finding
	changes ratchet.Changes
	after   ratchet.Snapshot // with the changes
	mixed   bool             // the rows are of different times
	last    ratchet.Mark     // of the note
	machine string
}

// judgeStart reads the rows and finds out what else knows of marks. What is known and not in the rows is
// merged into them, and the keys are fenced by the verdict.
func (db *Store) judgeStart(ctx context.Context, left provenance, place Finding) (f found, err error) {
	held, mixed, err := readAll(ctx, db.conn, db.path)
	if err != nil {
		return f, err
	}
	if _, err := held.Merge(ratchet.Snapshot{}); err != nil { // a row that is there twice
		return f, verdict(Lost, fmt.Sprintf("%s: %v", db.path, err))
	}
	f.Finding, f.mixed = place.and(mixed), mixed.Verdict != InPlace
	known, err := f.lookAround(ctx, db, left, held)
	if err != nil {
		return f, err
	}
	cause := f.Verdict.Cause()
	if db.opts.Command && cause == ratchet.Unwitnessed {
		cause = ratchet.NoCause
	}
	f.changes = known.missingIn(held)
	f.changes = f.changes.Then(held.With(f.changes).Fenced(cause))
	f.after = held.With(f.changes)
	return f, nil
}

// lookAround asks the note of the last mark, the machine and the witness, and returns what they know.
func (f *found) lookAround(ctx context.Context, db *Store, left provenance, held ratchet.Snapshot) (witnessed, error) {
	known := newWitnessed()
	said, err := readLast(db.path, left.database)
	if err != nil {
		return known, err
	}
	const query = "SELECT digest, ratchet FROM machine"
	var was string
	if err := db.conn.QueryRowContext(ctx, query).Scan(&was, &db.witness.ratchet); err != nil {
		return known, fmt.Errorf("reading %s: %w", db.path, unreadable(err))
	}
	f.machine = Machine()
	f.Finding = f.and(checkLast(db.path, said, held)).and(checkMachine(db.path, was, f.machine))
	if len(held.Marks)+len(held.Registrations) > 0 { // else nothing is signed, and a former file may have had this inode
		known = db.witness.read(left.database)
		f.Finding = f.and(known.check(db.path, held))
	}
	if said != nil && said.mark.Kind != 0 {
		f.last = said.mark
		known.add(f.last)
	}
	return known, nil
}

// checkMachine finds out whether the file was last used on another machine.
func checkMachine(path, was, is string) Finding {
	if was == "" || is == "" || was == is {
		return Finding{}
	}
	return Finding{Moved, path + " was last used on another host"}
}

// write writes what follows from a start, in the transaction that makes this file the one that was last
// used: a kill leaves both, or neither.
func (f found) write(ctx context.Context, tx *sql.Conn) error {
	err := writeChanges(ctx, tx, f.changes, new(change))
	if f.mixed {
		err = f.rebuild(ctx, tx)
	}
	if err != nil {
		return err
	}
	if f.machine != "" {
		if _, err := tx.ExecContext(ctx, "UPDATE machine SET digest = ?1 WHERE digest <> ?1", f.machine); err != nil {
			return err
		}
	}
	all := totalsOf(f.after)
	const totals = `
UPDATE totals SET rows = ?, high = ?, low = ?, generation = (SELECT generation FROM provenance)`
	_, err = tx.ExecContext(ctx, totals, all.rows, int64(all.high), int64(all.low)) //nolint:gosec // the same 64 bits
	return err
}

// rebuild writes all rows anew. Of pages of different times the rows can be read one after the other, and yet
// not be found by their keys: SQLite takes the order of the pages for granted.
func (f found) rebuild(ctx context.Context, tx *sql.Conn) error {
	const empty = "DELETE FROM marks; DELETE FROM registrations; DELETE FROM never_used"
	if _, err := tx.ExecContext(ctx, empty); err != nil {
		return err
	}
	var all ratchet.Changes
	for _, r := range f.after.Registrations {
		all.Registrations = append(all.Registrations, ratchet.RegistrationChange{After: r})
	}
	for _, m := range f.after.Marks {
		all.Marks = append(all.Marks, ratchet.MarkChange{After: m})
	}
	return writeChanges(ctx, tx, all, new(change))
}
