package sqlite_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-sqlite3"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// moved is a ratchet with a mark and a registration of each kind, and what it holds.
func moved(t *testing.T) ratchet.Snapshot {
	t.Helper()
	path := sealedFile(t)
	all, err := sqlite.Read(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return all.Snapshot
}

// TestMergeIsTheOtherStore: an empty ratchet that was merged with another one holds the same, also after it
// was closed, and gives the same answers.
func TestMergeIsTheOtherStore(t *testing.T) {
	t.Parallel()
	all, path := moved(t), newFile(t)
	db := open(t, path, options{})
	m, err := db.Change(t.Context(), merging(all))
	if err != nil || len(m.Marks) != len(all.Marks) || len(m.Registrations) != len(all.Registrations) {
		t.Fatalf("%+v, %v, want each row new", m, err)
	}
	for range 2 {
		listed, err := db.Ratchet.List(t.Context())
		if diff := cmp.Diff(all, listed, sameSignature); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if m, err := db.Change(t.Context(), merging(all)); err != nil || !m.Empty() {
			t.Errorf("merged again: %+v, %v, want nothing to do", m, err)
		}
		closeDB(t, db)
		db = open(t, path, options{})
	}
	if got := mustSign(t, db, block(10, 1), bytesNumber(0)); !got.Stored || got.Signature != *all.Marks[0].Signature {
		t.Errorf("the same bytes: %+v, want the signature of the other store", got)
	}
	_, err = db.Sign(t.Context(), block(10, 1), bytesNumber(1), new(card).Sign(bytesNumber(1)))
	wantRefused(t, err, ratchet.OtherBytes, "")
	mustSign(t, db, block(11, 0), bytesNumber(1))
}

// TestMergeRaises: the higher of each mark and floor stays, in memory and in the file.
func TestMergeRaises(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 1)
	mustSign(t, db, block(5, 0), bytesNumber(5))
	elsewhere := ratchet.StoredMark{Mark: block(5, 0), Digest: bytesNumber(6).Digest()} // other bytes in the same slot
	signature := signatureOf(t, bytesNumber(6), 0)
	elsewhere.Signature = &signature
	other := ratchet.Snapshot{
		Marks:         []ratchet.StoredMark{elsewhere},
		Registrations: []ratchet.Registration{{Key: baker, ChainID: mainnet, FromLevel: 4}},
	}
	if m, err := db.Change(t.Context(), merging(other)); err != nil || len(m.Marks) != 1 || len(m.Registrations) != 1 {
		t.Fatalf("%+v, %v, want both rows changed", m, err)
	}
	for range 2 {
		for _, d := range []int{5, 6} {
			_, err := db.Sign(t.Context(), block(5, 0), bytesNumber(d), new(card).Sign(bytesNumber(d)))
			wantRefused(t, err, ratchet.NoSignature, "")
		}
		wantLookOfTables(t, db, baker)
		closeDB(t, db)
		db = open(t, path, options{})
	}
	if registrations, err := db.Registrations(t.Context()); err != nil || registrations[0].FromLevel != 4 {
		t.Errorf("%+v, %v, want the floor 4", registrations, err)
	}
	mustSign(t, db, block(6, 0), bytesNumber(6))
}

// TestRefusedMergeChangesNothing, not even the rows before the one that is refused.
func TestRefusedMergeChangesNothing(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	mustSign(t, db, block(5, 0), bytesNumber(5))
	marks, registrations := contents(t, db)
	bad := moved(t)
	bad.Marks = append(bad.Marks, bad.Marks[0])
	if m, err := db.Change(t.Context(), merging(bad)); err == nil {
		t.Errorf("a mark twice: %+v", m)
	}
	db.SetCommit(func(_, rollback func() error) error {
		return errors.Join(rollback(), sqlite3.Error{Code: sqlite3.ErrFull})
	})
	if m, err := db.Change(t.Context(), merging(moved(t))); !errors.Is(err, ratchet.ErrCommit) {
		t.Errorf("a full disk: %+v, %v, want %v", m, err, ratchet.ErrCommit)
	}
	db.SetCommit(nil)
	gotMarks, gotRegistrations := contents(t, db)
	if diff := cmp.Diff(marks, gotMarks, sameSignature) + cmp.Diff(registrations, gotRegistrations); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	wantLookOfTables(t, db, baker)
	mustSign(t, db, block(6, 0), bytesNumber(6))
}
