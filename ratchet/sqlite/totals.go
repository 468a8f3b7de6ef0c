package sqlite

// How many rows there are, and a digest of them all.

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"pawl/ratchet"
)

// totals are what the row of that name holds: the number of rows of the other tables, and the XOR of
// their seals. A seal shows that a row was written once; the totals show that all rows are of one time.
// A file in which some pages are older than others, because old content was written over it while it
// was open or because the disk has lost a write, has other totals than its rows.
//
// XOR needs no order, so that a transaction changes the totals by the rows it changes. Two equal rows
// cancel out, which is why the rows are counted. It keeps nobody out who writes rows on purpose: he can
// write the totals too. And it is in the file: a file set back as a whole agrees with itself. That is
// for the last mark to show (last.go).
type totals struct {
	rows      int64
	high, low uint64
}

// change is what a job does to the totals.
type change totals

// add counts a row, and remove a row that is replaced.
func (c *change) add(seal []byte)    { c.count(1, seal) }
func (c *change) remove(seal []byte) { c.count(-1, seal) }

func (c *change) count(rows int64, seal []byte) {
	c.rows += rows
	c.high ^= binary.BigEndian.Uint64(seal)
	c.low ^= binary.BigEndian.Uint64(seal[sealSize/2:])
}

func (t totals) with(c change) totals {
	return totals{t.rows + c.rows, t.high ^ c.high, t.low ^ c.low}
}

// totalsOf are those that the rows have.
func totalsOf(all ratchet.Snapshot) totals {
	var c change
	for _, m := range all.Marks {
		c.add(sealOfMark(m))
	}
	for _, r := range all.Registrations {
		c.add(sealOfRegistration(r))
	}
	return totals(c)
}

// changeTotals is XOR in SQL, which has no operator for it. Numbers have 64 bits with a sign there.
const changeTotals = `
UPDATE totals
   SET rows = rows + ?1, high = (high | ?2) - (high & ?2), low = (low | ?3) - (low & ?3)`

// write applies a change in the transaction that changes the rows.
func (c change) write(ctx context.Context, tx *sql.Conn) error {
	if c == (change{}) {
		return nil
	}
	_, err := tx.ExecContext(ctx, changeTotals, c.rows, int64(c.high), int64(c.low)) //nolint:gosec // the same 64 bits
	return err
}

// changeOf is what the jobs of a batch do together.
func changeOf(batch []*job) change {
	var all totals
	for _, j := range batch {
		all = all.with(j.change)
	}
	return change(all)
}

// readTotals reads the row. Its generation must be that of the provenance row.
func readTotals(ctx context.Context, tx *sql.Conn) (totals, error) {
	const query = `
SELECT t.rows, t.high, t.low, t.generation = p.generation FROM totals AS t, provenance AS p`
	var t totals
	var high, low int64
	var together bool
	err := tx.QueryRowContext(ctx, query).Scan(&t.rows, &high, &low, &together)
	t.high, t.low = uint64(high), uint64(low) //nolint:gosec // the same 64 bits
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = damaged("the totals of its rows are missing")
	case err == nil && !together:
		t.rows = otherTime
	}
	return t, err
}

// otherTime is the number of rows of totals that are of another time than the provenance row.
const otherTime = -1

// checkTotals finds rows of different times.
func checkTotals(path string, stored totals, all ratchet.Snapshot) Finding {
	switch found := totalsOf(all); {
	case found == stored:
		return Finding{}
	case stored.rows == otherTime:
		return Finding{RolledBack, path + " holds rows of different times (the totals of its rows are of another time)"}
	default:
		return Finding{RolledBack, fmt.Sprintf("%s holds rows of different times (%d rows, its totals are of %d)", path,
			found.rows, stored.rows)}
	}
}

// addTotals gives a file without totals those of its rows.
func addTotals(ctx context.Context, conn *sql.Conn) error {
	const table = `
CREATE TABLE totals (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  generation INTEGER NOT NULL,
  rows       INTEGER NOT NULL,
  high       INTEGER NOT NULL,
  low        INTEGER NOT NULL
) STRICT;
INSERT INTO totals SELECT 1, generation, 0, 0, 0 FROM provenance`
	if _, err := conn.ExecContext(ctx, table); err != nil {
		return err
	}
	all, err := readSnapshotBy(ctx, conn, timelessMarksQuery, unboundRegistrationsQuery)
	if err != nil {
		return err
	}
	return change(totalsOf(all)).write(ctx, conn)
}
