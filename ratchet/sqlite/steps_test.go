package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-sqlite3"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// TestStoredSignatureIsRemembered: of two signatures of the same bytes, which were made before either was
// known, memory keeps the stored row: the next request gets its signature too.
func TestStoredSignatureIsRemembered(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	m, d := block(5, 0), bytesNumber(0)
	stored := signatureOf(t, d, 1)
	if _, errs := db.PlaceTogether(db.Proposal(m, d, stored)); errs[0] != nil { // which memory does not hear of
		t.Fatal(errs[0])
	}
	release, err := db.Place(m, d, signatureOf(t, d, 2))
	if err != nil || !release.Stored || release.Signature != stored {
		t.Fatalf("the same bytes: got %+v, %v, want the stored %s", release, err, stored)
	}
	standing, err := db.Look(t.Context(), m)
	rows, _ := contents(t, db)
	if diff := cmp.Diff(&rows[0], standing.Mark, sameSignature); err != nil || diff != "" {
		t.Errorf("memory has another row, %v (-table +memory):\n%s", err, diff)
	}
	var c card
	again, err := db.Sign(t.Context(), m, d, c.Sign(d))
	if err != nil || again.Signature != stored || c.Calls.Load() != 0 {
		t.Errorf("asked again: got %+v, %v after %d calls, want the stored %s after none", again, err, c.Calls.Load(), stored)
	}
}

// TestRefusedMarkIsNotRemembered: memory holds what was committed and nothing else.
func TestRefusedMarkIsNotRemembered(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	d, other := bytesNumber(0), bytesNumber(1)
	stored := signatureOf(t, d, 1)
	if _, errs := db.PlaceTogether(db.Proposal(block(5, 0), d, stored)); errs[0] != nil {
		t.Fatal(errs[0])
	}
	for _, m := range []ratchet.Mark{block(5, 0), block(4, 0)} {
		if _, err := db.Place(m, other, signatureOf(t, other, 1)); !errors.Is(err, ratchet.ErrRefused) {
			t.Errorf("level %d: %v, want it refused", m.Level, err)
		}
	}
	db.SetCommit(func(_, rollback func() error) error {
		return errors.Join(rollback(), sqlite3.Error{Code: sqlite3.ErrFull})
	})
	if _, err := db.Place(block(6, 0), other, signatureOf(t, other, 1)); !errors.Is(err, ratchet.ErrCommit) {
		t.Errorf("on a full disk: %v, want %v", err, ratchet.ErrCommit)
	}
	db.SetCommit(nil)
	if noted, err := db.Noted(); err != nil || noted != block(5, 0) {
		t.Errorf("noted %+v, %v, want the mark that was committed", noted, err)
	}
	if standing, err := db.Look(t.Context(), block(5, 0)); err != nil || standing.Mark != nil {
		t.Errorf("memory has %+v, %v, want nothing", standing.Mark, err)
	}
	if got, err := db.Sign(t.Context(), block(5, 0), d, new(card).Sign(d)); err != nil || got.Signature != stored {
		t.Errorf("got %+v, %v, want the stored %s", got, err, stored)
	}
}

// TestLastMarkOfTheSameLevel: a file that lacks the last round of a level is refused, as one that lacks a level.
func TestLastMarkOfTheSameLevel(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	register(t, db, baker, mainnet, 0)
	mustSign(t, db, block(5, 0), bytesNumber(0))
	older := contentOf(t, db)
	db = open(t, db.Path(), options{})
	mustSign(t, db, block(5, 1), bytesNumber(1))
	closeDB(t, db)
	write(t, db.Path(), older)
	wantOfTwoTimes(t, db.Path())
}

// TestLastMarkIsOfItsSlotKey: that another key, kind or chain is further is no proof that the last mark is there.
func TestLastMarkIsOfItsSlotKey(t *testing.T) {
	t.Parallel()
	vote, elsewhere, another := block(5, 0), block(5, 0), block(5, 0)
	vote.Kind, elsewhere.ChainID, another.Key = tezos.Attestation, ghostnet, keyNumber(2)
	for name, last := range map[string]ratchet.Mark{"kind": vote, "chain": elsewhere, "key": another} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, newFile(t), options{})
			for _, key := range []tezos.PublicKeyHash{baker, another.Key} {
				register(t, db, key, mainnet, 0)
				register(t, db, key, ghostnet, 0)
			}
			mustSign(t, db, block(9, 0), bytesNumber(0))
			older := contentOf(t, db)
			db = open(t, db.Path(), options{})
			mustSign(t, db, last, bytesNumber(1))
			closeDB(t, db)
			write(t, db.Path(), older)
			wantOfTwoTimes(t, db.Path())
		})
	}
}

// TestNoteIsOfTheLastMark: of the last one of a batch that was stored, and of all rows.
func TestNoteIsOfTheLastMark(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	register(t, db, keyNumber(2), mainnet, 0)
	d := bytesNumber(0)
	other := block(7, 0)
	other.Key = keyNumber(2)
	for name, test := range map[string]struct {
		batch []ratchet.Mark
		want  ratchet.Mark
	}{
		"one":                       {[]ratchet.Mark{block(5, 0)}, block(5, 0)},
		"two keys":                  {[]ratchet.Mark{block(8, 0), other}, other},
		"two rounds":                {[]ratchet.Mark{block(9, 0), block(9, 1)}, block(9, 1)},
		"the last one is refused":   {[]ratchet.Mark{block(10, 0), block(3, 0)}, block(10, 0)},
		"the first one is refused":  {[]ratchet.Mark{block(3, 0), block(11, 0)}, block(11, 0)},
		"all of them are refused":   {[]ratchet.Mark{block(3, 0), block(2, 0)}, ratchet.Mark{}},
		"the last one is not fresh": {[]ratchet.Mark{block(12, 0), block(12, 0)}, block(12, 0)},
	} {
		db := db
		if name != "one" {
			db = openRegistered(t, options{})
			register(t, db, keyNumber(2), mainnet, 0)
			mustSign(t, db, block(5, 0), bytesNumber(0))
			if test.want == (ratchet.Mark{}) {
				test.want = block(5, 0)
			}
		}
		var batch []ratchet.Proposal
		for i, m := range test.batch {
			batch = append(batch, db.Proposal(m, d, signatureOf(t, d, i)))
		}
		_, errs := db.PlaceTogether(batch...)
		for i, err := range errs {
			if err != nil && !errors.Is(err, ratchet.ErrRefused) {
				t.Errorf("%s, mark %d: %v", name, i, err)
			}
		}
		noted, err := db.Noted()
		if err != nil || noted != test.want {
			t.Errorf("%s: noted %+v, %v, want %+v", name, noted, err, test.want)
		}
		if err := db.CheckTotals(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBatchRaisesAMarkTwice: memory has an older mark when the second one is placed, which is no reason to take
// the file for set back.
func TestBatchRaisesAMarkTwice(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	mustSign(t, db, block(5, 0), bytesNumber(0))
	d := bytesNumber(1)
	releases, errs := db.PlaceTogether(db.Proposal(block(6, 0), d, signatureOf(t, d, 1)), db.Proposal(block(6, 1), d, signatureOf(t, d, 2)),
		db.Proposal(block(7, 0), d, signatureOf(t, d, 3)))
	for i, err := range errs {
		if err != nil || releases[i].Stored || releases[i].Signature != signatureOf(t, d, i+1) {
			t.Errorf("mark %d: got %+v, %v, want the fresh signature", i, releases[i], err)
		}
	}
	if err := db.CheckTotals(); err != nil {
		t.Error(err)
	}
	closeDB(t, db)
	marks, err := open(t, db.Path(), options{}).Marks(t.Context())
	if err != nil || len(marks) != 1 || marks[0].Mark != block(7, 0) || *marks[0].Signature != signatureOf(t, d, 3) {
		t.Errorf("marks %+v, %v, want level 7 with its signature", marks, err)
	}
}

// TestStatementThatChangesNothing: a mark that should have risen and did not is not stored, so its signature does
// not leave, and nobody can say why.
func TestStatementThatChangesNothing(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"the first mark": false, "a higher mark": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openRegistered(t, options{})
			event := "INSERT"
			if before {
				mustSign(t, db, block(5, 0), bytesNumber(0))
				event = "UPDATE"
			}
			if err := db.ExecOutside(t.Context(), "CREATE TEMP TRIGGER idle BEFORE "+event+" ON marks BEGIN SELECT RAISE(IGNORE); END"); err != nil {
				t.Fatal(err)
			}
			d := bytesNumber(1)
			release, err := db.Place(block(6, 0), d, signatureOf(t, d, 1))
			if !errors.Is(err, ratchet.ErrStopped) || !strings.Contains(err.Error(), "contradict") || release != (ratchet.Release{}) {
				t.Errorf("got %+v, %v, want %v for a contradiction", release, err, ratchet.ErrStopped)
			}
			if db.Err() == nil {
				t.Error("the ratchet goes on")
			}
		})
	}
}

// TestStatementThatFails: its error is that of the request, whatever comes after it.
func TestStatementThatFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		table string
		fresh bool // a key that opens the chain
	}{"a mark": {"marks", false}, "a chain": {"registrations", true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openRegistered(t, options{})
			m := block(6, 0)
			if test.fresh {
				m.Key = keyNumber(2)
				if err := db.RegisterNew(t.Context(), m.Key); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.ExecOutside(t.Context(), "CREATE TEMP TRIGGER fails BEFORE INSERT ON "+test.table+
				" BEGIN SELECT RAISE(ABORT, 'as the test wants'); END"); err != nil {
				t.Fatal(err)
			}
			d := bytesNumber(1)
			release, err := db.Place(m, d, signatureOf(t, d, 1))
			if !errors.Is(err, ratchet.ErrStopped) || !strings.Contains(err.Error(), "as the test wants") || release != (ratchet.Release{}) {
				t.Errorf("got %+v, %v, want %v and the words of SQLite", release, err, ratchet.ErrStopped)
			}
		})
	}
}

// TestLookBeforeAndAfter: the look knows a chain that a request has opened, and a floor, at once.
func TestLookBeforeAndAfter(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	m, d := block(5, 0), bytesNumber(0)
	look := func(want ratchet.Standing) {
		t.Helper()
		got, err := db.Look(t.Context(), m)
		got.Mark = nil
		if err != nil || got != want {
			t.Errorf("look %+v, %v, want %+v", got, err, want)
		}
	}
	look(ratchet.Standing{})
	if err := db.RegisterNew(t.Context(), baker); err != nil {
		t.Fatal(err)
	}
	look(ratchet.Standing{NeverUsed: true})
	if _, err := db.Place(m, d, signatureOf(t, d, 1)); err != nil {
		t.Fatal(err)
	}
	look(ratchet.Standing{NeverUsed: true, Registered: true, Chains: 1, Signed: true, Highest: 5})
	if _, err := db.Place(block(9, 0), d, signatureOf(t, d, 1)); err != nil {
		t.Fatal(err)
	}
	look(ratchet.Standing{NeverUsed: true, Registered: true, Chains: 1, Signed: true, Highest: 9})
	for _, floor := range []int32{20, 30} {
		register(t, db, baker, mainnet, floor)
		look(ratchet.Standing{
			NeverUsed: true, Registered: true, Confined: true, Chains: 1, HasFloor: true, Floor: floor, Signed: true, Highest: 9,
		})
	}
	register(t, db, baker, ghostnet, 40)
	look(ratchet.Standing{
		NeverUsed: true, Registered: true, Confined: true, Chains: 2, HasFloor: true, Floor: 30, Signed: true, Highest: 9,
	})
}

// TestAskOfWhoHasLeft asks nothing, and a wait that ends changes nothing.
func TestAskOfWhoHasLeft(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	if held, err := db.Store.List(canceled(t)); !errors.Is(err, context.Canceled) || held.Registrations != nil {
		t.Errorf("List: %+v, %v, want %v", held, err, context.Canceled)
	}
	if _, err := db.Store.Change(canceled(t), ratchet.Registering(ratchet.Registration{Key: keyNumber(3), ChainID: mainnet})); !errors.Is(err, context.Canceled) {
		t.Errorf("Register: %v, want %v", err, context.Canceled)
	}
	time.Sleep(50 * time.Millisecond) // what was begun all the same is done by then
	held, err := db.Store.List(t.Context())
	if err != nil || len(held.Registrations) != 1 {
		t.Errorf("registrations %+v, %v, want that of the baker", held.Registrations, err)
	}
}

// TestFailedStoreStoresNothing, whoever asks it.
func TestFailedStoreStoresNothing(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	mustSign(t, db, block(1, 0), bytesNumber(0))
	before, database := read(t, db.Path()+"-wal"), read(t, db.Path())
	cause := errors.New("as the test wants")
	db.Fail(cause)
	d := bytesNumber(1)
	release, err := db.Place(block(2, 0), d, signatureOf(t, d, 1))
	if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
		t.Errorf("Place: %+v, %v, want %v", release, err, ratchet.ErrStopped)
	}
	if _, err := db.Store.Change(t.Context(), ratchet.Registering(ratchet.Registration{Key: keyNumber(3), ChainID: mainnet})); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("Register: %v, want %v", err, ratchet.ErrStopped)
	}
	db.IdleCheckpoint()
	db.Probe()
	if err := db.Store.Trouble(); !errors.Is(err, cause) {
		t.Errorf("Trouble: %v, want %v", err, cause)
	}
	if after := read(t, db.Path()+"-wal"); !bytes.Equal(before, after) {
		t.Error("the -wal has changed after the failure")
	}
	if after := read(t, db.Path()); !bytes.Equal(database, after) {
		t.Error("the database has changed after the failure")
	}
	if err := db.Store.Close(); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("Close: %v, want %v", err, ratchet.ErrStopped)
	}
	if !present(t, db.Path()+"-wal") {
		t.Error("Close after a failure removed the -wal")
	}
}

// TestPanicStaysInTheStore: it is a failure of the store, also for those who wait for the same commit.
func TestPanicStaysInTheStore(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	db.SetCommit(func(_, _ func() error) error { panic("as the test wants") })
	d := bytesNumber(0)
	func() {
		defer func() {
			if value := recover(); value != nil {
				t.Errorf("the panic came through: %v", value)
			}
		}()
		release, err := db.Store.Place(t.Context(), db.Proposal(block(1, 0), d, signatureOf(t, d, 1)))
		if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
			t.Errorf("got %+v, %v, want %v", release, err, ratchet.ErrStopped)
		}
	}()
	select {
	case <-db.Store.Failed():
	default:
		t.Error("the store has not failed")
	}
}

// TestFileMovedDuringCommit: the look after COMMIT notices what the one before it cannot.
func TestFileMovedDuringCommit(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", "-wal"} {
		db := openRegistered(t, options{})
		mustSign(t, db, block(1, 0), bytesNumber(0))
		db.SetCommit(func(commit, _ func() error) error {
			return errors.Join(commit(), os.Rename(db.Path()+suffix, db.Path()+suffix+".away"))
		})
		d := bytesNumber(1)
		release, err := db.Place(block(2, 0), d, signatureOf(t, d, 1))
		if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
			t.Errorf("%q moved away: %+v, %v, want %v", suffix, release, err, ratchet.ErrStopped)
		}
		if noted, err := db.Noted(); err != nil || noted != block(1, 0) {
			t.Errorf("%q moved away: noted %+v, %v, want the mark before", suffix, noted, err)
		}
	}
}

// TestProvenanceThatNamesNoFile: a row from which nobody can tell which files belong together.
func TestProvenanceThatNamesNoFile(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		"UPDATE provenance SET wal = 'x'", "UPDATE provenance SET database = 'x'", "UPDATE provenance SET wal = wal || ' '", "DELETE FROM provenance",
	} {
		path := left(t, closed)
		alter(t, path, statement)
		for range 2 {
			db, err := openDB(t.Context(), path, options{})
			if err == nil {
				closeDB(t, db)
			}
			found, ok := errors.AsType[*sqlite.VerdictError](err)
			if !ok || found.Verdict != sqlite.Lost {
				t.Errorf("%s: %v, want it refused as lost", statement, err)
			}
		}
	}
}

// TestClosedStoreTakesNothing: whoever comes after Close is told so, and waits for nobody.
func TestClosedStoreTakesNothing(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	mustSign(t, db, block(1, 0), bytesNumber(0))
	if err := db.Store.Close(); err != nil {
		t.Fatal(err)
	}
	d := bytesNumber(1)
	release, err := db.Place(block(2, 0), d, signatureOf(t, d, 1))
	if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
		t.Errorf("Place: %+v, %v, want %v", release, err, ratchet.ErrStopped)
	}
	db.IdleCheckpoint()
	db.Probe()
	if err := db.Failure(); err != nil {
		t.Errorf("what came after Close was tried, and failed: %v", err)
	}
	if err := db.Store.Close(); err != nil {
		t.Errorf("Close again: %v, want nothing", err)
	}
	again := open(t, db.Path(), options{})
	if marks, err := again.Marks(t.Context()); err != nil || len(marks) != 1 || marks[0].Mark != block(1, 0) {
		t.Errorf("marks %+v, %v, want the one before Close", marks, err)
	}
}
