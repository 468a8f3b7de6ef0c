package sqlite_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-sqlite3"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
)

const pageSize = 4096

// manyKeys makes a closed ratchet whose marks fill several pages.
func manyKeys(t *testing.T, keys int) string {
	t.Helper()
	db := open(t, newFile(t), options{})
	for n := range keys {
		register(t, db, keyNumber(n+1), mainnet, 0)
	}
	signAll(t, db, keys, 1)
	closeDB(t, db)
	return db.Path()
}

// signAll has some keys sign a block of a level.
func signAll(t *testing.T, db *DB, keys, level int) {
	t.Helper()
	for n := range keys {
		m := block(int32(level), 0)
		m.Key = keyNumber(n + 1)
		mustSign(t, db, m, bytesNumber(level))
	}
}

// overwrite changes the content of a file that may be open, which stays the same file. Another process does
// it: to close any descriptor of the file in this one would drop SQLite's locks.
func overwrite(t *testing.T, path string, content []byte) {
	t.Helper()
	cmd := childCommand(t.Context(), "overwrite", path)
	cmd.Stdin = bytes.NewReader(content)
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("writing over %s: %v %s", path, err, out)
	}
}

// TestOlderContentWhileOpen writes an older copy over the file while a store has it open. One key signs, so
// that the last mark is right; the marks of the others are older ones. The next opening refuses the file,
// and refuses it again.
func TestOlderContentWhileOpen(t *testing.T) {
	t.Parallel()
	const keys = 60
	for name, restBefore := range map[string]bool{"at once": false, "after a rest": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := manyKeys(t, keys)
			older := read(t, path)
			db := open(t, path, options{})
			signAll(t, db, keys, 10)
			closeDB(t, db)

			db = open(t, path, options{})
			if restBefore {
				db.IdleCheckpoint()
			}
			overwrite(t, path, older)
			mustSign(t, db, block(11, 0), bytesNumber(11))
			closeDB(t, db)
			wantOfTwoTimes(t, path)
		})
	}
}

// wantOfTwoTimes wants a file found to be rolled back, by all who read it, its keys fenced by a start, and
// the fences there at the next.
func wantOfTwoTimes(t *testing.T, path string) {
	t.Helper()
	examined, err := sqlite.Examine(t.Context(), path)
	held, errRead := sqlite.Read(t.Context(), path)
	if err := errors.Join(err, errRead); err != nil {
		t.Fatal(err)
	}
	db := open(t, path, options{Witness: ratchettest.NoWitness})
	for what, found := range map[string]sqlite.Finding{
		"Examine": examined.Finding, "Read": held.Finding, "Open": db.Finding(),
	} {
		if found.Verdict != sqlite.RolledBack || found.Text == "" || strings.Contains(found.Text, "\n") {
			t.Errorf("%s: %+v, want it rolled back", what, found)
		}
	}
	wantFenced(t, db, ratchet.RolledBack)
	closeDB(t, db)
	wantFenced(t, open(t, path, options{}), ratchet.RolledBack)
}

// wantFenced wants all registrations fenced for a cause, and the fences not set.
func wantFenced(t *testing.T, db *DB, cause ratchet.Cause) {
	t.Helper()
	all, err := db.Tables(t.Context())
	if err != nil || len(all.Registrations) == 0 {
		t.Errorf("registrations %+v, %v, want some", all.Registrations, err)
	}
	for _, r := range all.Registrations {
		if r.Fence.Cause != cause || !r.Fence.Pending() {
			t.Errorf("%+v, want it fenced: %v", r, cause)
		}
	}
}

// TestMixtureOfPages mixes the pages of two closed states of a file, in which the same mark is the last. It is
// found to be rolled back, or it is one of the two.
func TestMixtureOfPages(t *testing.T) {
	t.Parallel()
	const keys = 60
	path := manyKeys(t, keys)
	db := open(t, path, options{})
	mustSign(t, db, block(99, 0), bytesNumber(99)) // the last mark of both
	older := contentOf(t, db)
	note := read(t, path+"-last")
	db = open(t, path, options{})
	for n := 1; n < keys; n++ {
		m := block(10, 0)
		m.Key = keyNumber(n + 1)
		mustSign(t, db, m, bytesNumber(10))
	}
	newer := contentOf(t, db)
	if len(older) != len(newer) {
		t.Fatalf("%d and %d bytes, want the same pages", len(older), len(newer))
	}
	states := make([]ratchet.Snapshot, 2)
	for i, content := range [][]byte{older, newer} {
		write(t, path, content)
		write(t, path+"-last", note)
		all, err := sqlite.Read(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		states[i] = all.Snapshot
	}
	refused := 0
	pages := len(older) / pageSize
	for n := range 2*pages + 100 {
		mixed := slices.Clone(newer)
		for page := range pages {
			single := n < 2*pages && (n%pages == page) == (n < pages) // one old, or all but one
			if single || n >= 2*pages && rand.IntN(2) == 0 {
				copy(mixed[page*pageSize:], older[page*pageSize:][:pageSize])
			}
		}
		write(t, path, mixed)
		write(t, path+"-last", note)
		all, err := sqlite.Read(t.Context(), path)
		switch {
		case err == nil && all.Finding.Verdict == sqlite.RolledBack:
			refused++
			if n%4 == 0 {
				wantFoundByKey(t, path)
			}
		case err == nil && cmp.Diff(states[0], all.Snapshot, sameSignature) != "" && cmp.Diff(states[1], all.Snapshot, sameSignature) != "":
			t.Errorf("mixture %d of %d pages was taken", n, pages)
		case err != nil && !errors.Is(err, ratchet.ErrSuspect):
			t.Errorf("mixture %d of %d pages: %v, want %v", n, pages, err, ratchet.ErrSuspect)
		case err != nil:
			refused++
		}
	}
	t.Logf("%d mixtures of %d pages, %d refused", 2*pages+100, pages, refused)
	if refused < 50 {
		t.Errorf("%d mixtures were refused, want more", refused)
	}
}

// TestMixtureOfPagesThatMoved mixes pages between which rows have moved: of what can be read of them each row is
// found by its key.
func TestMixtureOfPagesThatMoved(t *testing.T) {
	t.Parallel()
	path := manyKeys(t, 40)
	older := read(t, path)
	db := open(t, path, options{})
	for _, n := range rand.Perm(40) {
		key := keyNumber(1_000_000*(n%3) + n + 41)
		register(t, db, key, mainnet, 0)
		m := block(int32(n), 0)
		m.Key = key
		mustSign(t, db, m, bytesNumber(n))
	}
	signAll(t, db, 40, 50)
	newer := contentOf(t, db)
	opened := 0
	for range 120 {
		mixed := slices.Clone(newer)
		for page := 1; page < len(older)/pageSize; page++ {
			if rand.IntN(3) == 0 {
				copy(mixed[page*pageSize:], older[page*pageSize:][:pageSize])
			}
		}
		write(t, path, mixed)
		if err := os.Remove(path + "-last"); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all, err := sqlite.Read(t.Context(), path)
		if err == nil && all.Finding.Verdict == sqlite.RolledBack {
			opened++
			wantFoundByKey(t, path)
		}
	}
	t.Logf("%d of 120 mixtures could be read", opened)
}

// wantFoundByKey opens a mixture, and wants each row found by its key: of pages of two times SQLite may read a
// row and not find it.
func wantFoundByKey(t *testing.T, path string) {
	t.Helper()
	db, err := openDB(t.Context(), path, options{Witness: ratchettest.NoWitness})
	if errors.Is(err, ratchet.ErrSuspect) {
		return // a row that is there twice
	}
	if err != nil {
		t.Fatal(err)
	}
	defer closeDB(t, db)
	all, err := db.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const query = "SELECT count(*) FROM marks WHERE key = ? AND chain = ? AND kind = ? AND level = ?"
	for _, m := range all.Marks {
		if got, err := db.QueryString(query, m.Key[:], m.ChainID[:], m.Kind, m.Level); err != nil || got != "1" {
			t.Errorf("%+v is read, and found %s times by its key (%v)", m.Mark, got, err)
		}
	}
	wantFenced(t, db, ratchet.RolledBack)
}

// contentOf closes a ratchet and returns the content of its file.
func contentOf(t *testing.T, db *DB) []byte {
	t.Helper()
	closeDB(t, db)
	return read(t, db.Path())
}

// TestTotalsThatAreNotThoseOfTheRows: whatever is wrong with them, the keys are fenced.
func TestTotalsThatAreNotThoseOfTheRows(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		"UPDATE totals SET rows = rows + 1",
		"UPDATE totals SET rows = rows - 2",
		"UPDATE totals SET high = high + 1",
		"UPDATE totals SET low = low + 1",
		"UPDATE totals SET generation = generation + 1",
		"UPDATE provenance SET generation = generation - 1",
		"DELETE FROM totals",
		"DELETE FROM marks WHERE level = 20", // as if it had never been written
		"DELETE FROM registrations WHERE from_level = 5",
		"DELETE FROM never_used",
	} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			path := sealedFile(t)
			if err := os.Remove(path + "-last"); err != nil {
				t.Fatal(err)
			}
			alter(t, path, statement)
			db, err := openDB(t.Context(), path, options{Witness: ratchettest.NoWitness})
			if lost := statement == "DELETE FROM totals"; lost {
				if !errors.Is(err, ratchet.ErrSuspect) || !strings.Contains(err.Error(), path) {
					t.Errorf("got %v, want %v", err, ratchet.ErrSuspect)
				}
				return
			}
			if err != nil || db.Finding().Verdict != sqlite.RolledBack || !strings.Contains(db.Finding().Text, path) {
				t.Fatalf("got %v, want it opened as rolled back", err)
			}
			wantFenced(t, db, ratchet.RolledBack)
			if err := db.CheckTotals(); err != nil {
				t.Error(err)
			}
			closeDB(t, db)
		})
	}
}

// TestTotalsFollowEachChange: whatever changes a row changes the totals, and what is refused does not.
func TestTotalsFollowEachChange(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	fresh, d := block(1, 0), bytesNumber(0)
	fresh.Key = keyNumber(2)
	place := func(m ratchet.Mark, try int) error { _, err := db.Place(m, d, signatureOf(t, d, try)); return err }
	for _, step := range []struct {
		name    string
		refused bool
		do      func() error
	}{
		{"nothing", false, func() error { return nil }},
		{"register", false, func() error { return db.Register(t.Context(), baker, mainnet, 5) }},
		{"register again", false, func() error { return db.Register(t.Context(), baker, mainnet, 5) }},
		{"raise the floor", false, func() error { return db.Register(t.Context(), baker, mainnet, 7) }},
		{"a lower floor", true, func() error { return db.Register(t.Context(), baker, mainnet, 1) }},
		{"as new", false, func() error { return db.RegisterNew(t.Context(), fresh.Key) }},
		{"a known key as new", true, func() error { return db.RegisterNew(t.Context(), baker) }},
		{"the first mark, on a new chain", false, func() error { return place(fresh, 0) }},
		{"a floor for that chain", false, func() error { return db.Register(t.Context(), fresh.Key, mainnet, 9) }},
		{"a mark that is refused", true, func() error { return place(block(6, 0), 1) }},
		{"marks of one slot in one batch", false, func() error {
			low, high := block(10, 0), block(11, 0)
			_, errs := db.PlaceTogether(db.Proposal(low, d, signatureOf(t, d, 1)), db.Proposal(high, d, signatureOf(t, d, 2)),
				db.Proposal(low, d, signatureOf(t, d, 3)))
			wantRefused(t, errs[2], ratchet.BelowWatermark, "")
			return errors.Join(errs[:2]...)
		}},
		{"a mark that memory does not know", false, func() error { return place(block(12, 0), 4) }},
		{"the stored one", false, func() error { return place(block(12, 0), 5) }},
		{"a probe", false, func() error { db.Probe(); return db.Trouble() }},
		{"a rest", false, func() error { db.IdleCheckpoint(); return db.Trouble() }},
		{"a commit that fails", true, func() error {
			db.SetCommit(func(_, rollback func() error) error {
				return errors.Join(rollback(), sqlite3.Error{Code: sqlite3.ErrFull})
			})
			defer db.SetCommit(nil)
			return place(block(13, 0), 6)
		}},
		{"another", false, func() error { return place(block(14, 0), 7) }},
	} {
		if err := step.do(); (err != nil) != step.refused {
			t.Errorf("%s: %v, want it refused: %t", step.name, err, step.refused)
		}
		if err := db.CheckTotals(); err != nil {
			t.Fatalf("after %s: %v", step.name, err)
		}
	}
	closeDB(t, db)
	open(t, db.Path(), options{})
}

// TestEqualRowsDoNotCancel: XOR alone would not show two rows that are the same.
func TestEqualRowsDoNotCancel(t *testing.T) {
	t.Parallel()
	signature := signatureOf(t, bytesNumber(0), 0)
	row := ratchet.StoredMark{Mark: block(1, 0), Digest: bytesNumber(0).Digest(), Signature: &signature}
	one := ratchet.Snapshot{Registrations: []ratchet.Registration{{Key: baker, AnyChain: true}}}
	two := one
	two.Marks = []ratchet.StoredMark{row, row}
	if sqlite.SameTotals(one, two) {
		t.Error("a row that is there twice does not count")
	}
	if !sqlite.SameTotals(two, two) {
		t.Error("the same rows have other totals")
	}
}

// TestRowSetBackWhileOpen: the transaction meets a row that is older than what was committed. The row bears its
// seal: somebody has put an old page back. The ratchet fails.
func TestRowSetBackWhileOpen(t *testing.T) {
	t.Parallel()
	for name, setBack := range map[string]string{
		"to an older one": "UPDATE marks SET level = old.level, round = old.round, digest = old.digest, signature = old.signature, " +
			"seal = old.seal, time = old.time FROM old WHERE marks.key = old.key AND marks.chain = old.chain AND marks.kind = old.kind",
		"to none": "DELETE FROM marks",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, newFile(t), options{})
			register(t, db, baker, mainnet, 0)
			register(t, db, keyNumber(2), mainnet, 0)
			mustSign(t, db, block(10, 0), bytesNumber(0))
			if err := db.ExecOutside(t.Context(), "CREATE TEMP TABLE old AS SELECT * FROM marks"); err != nil {
				t.Fatal(err)
			}
			mustSign(t, db, block(11, 0), bytesNumber(1))
			if err := db.Exec(setBack); err != nil {
				t.Fatal(err)
			}
			d := bytesNumber(2)
			release, err := db.Sign(t.Context(), block(12, 0), d, new(card).Sign(d))
			if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
				t.Errorf("got %+v, %v, want %v", release, err, ratchet.ErrStopped)
			}
			if !errors.Is(db.Err(), ratchet.ErrSuspect) || !strings.Contains(db.Err().Error(), "level 11 and round 0, was set back") {
				t.Errorf("failed with %v, want %v and the mark", db.Err(), ratchet.ErrSuspect)
			}
		})
	}
}
