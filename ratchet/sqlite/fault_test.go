package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// TestNothingLeavesBeforeCommit stops COMMIT half-way and then has it fail.
func TestNothingLeavesBeforeCommit(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	committing, goOn := make(chan struct{}), make(chan struct{})
	db.SetCommit(func(commit, rollback func() error) error {
		close(committing)
		<-goOn
		_ = rollback()
		return sqlite3.Error{Code: sqlite3.ErrFull}
	})
	var c card
	d := bytesNumber(0)
	pending := ask(t.Context(), db, block(1, 0), d, c.Sign(d))
	<-committing
	select {
	case got := <-pending:
		close(goOn)
		t.Fatalf("answered before COMMIT returned: %+v", got)
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	select {
	case got := <-pending:
		if !errors.Is(got.Err, ratchet.ErrCommit) || got.Signature != (tezos.Signature{}) {
			t.Errorf("COMMIT failed and the caller got %+v, want %v", got, ratchet.ErrCommit)
		}
	case <-time.After(time.Minute):
		t.Error("no answer after COMMIT")
	}
	db.SetCommit(nil)
}

// wantDead checks that nothing is released any more, for any key, and that Close
// leaves the files as they are.
func wantDead(t *testing.T, db *DB, path string) {
	t.Helper()
	if db.Err() == nil {
		t.Fatal("no failure, want one at once")
	}
	select {
	case <-db.Failed():
	default:
		t.Fatal("Failed is not closed")
	}
	var c card
	other := block(1000, 0)
	other.Key = keyNumber(2)
	for _, m := range []ratchet.Mark{block(1, 0), block(1000, 0), other} {
		release, err := db.Sign(t.Context(), m, bytesNumber(1), c.Sign(bytesNumber(1)))
		if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
			t.Errorf("%d/%d after a failure: got %+v, %v, want %v", m.Level, m.Round, release, err, ratchet.ErrStopped)
		}
	}
	if calls := c.Calls.Load(); calls != 0 {
		t.Errorf("%d sign calls after a failure, want none", calls)
	}
	if _, err := db.Marks(t.Context()); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("Marks after a failure: %v, want %v", err, ratchet.ErrStopped)
	}
	if err := db.Register(t.Context(), baker, ghostnet, 1); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("Register after a failure: %v, want %v", err, ratchet.ErrStopped)
	}
	wal := present(t, path+"-wal")
	if err := db.Close(); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("Close after a failure: %v, want %v", err, ratchet.ErrStopped)
	}
	if wal != present(t, path+"-wal") {
		t.Error("Close after a failure removed the -wal")
	}
}

// TestUnknownOutcomeEndsAllReleases covers what an error of COMMIT other than a definite no can mean: the
// mark was stored, or it was not.
func TestUnknownOutcomeEndsAllReleases(t *testing.T) {
	t.Parallel()
	errIO := sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrFsync}
	for name, fault := range map[string]struct {
		stored bool
		commit func(commit, rollback func() error) error
	}{
		"committed but reported failed":  {true, func(commit, rollback func() error) error { return errors.Join(commit(), errIO) }},
		"not committed and an I/O error": {false, func(commit, rollback func() error) error { return errors.Join(rollback(), errIO) }},
		"not committed, file moved away": {false, func(commit, rollback func() error) error {
			return errors.Join(rollback(), sqlite3.Error{Code: sqlite3.ErrReadonly, ExtendedCode: sqlite3.ErrReadonlyDbMoved})
		}},
		"not committed, error not SQLite": {false, func(commit, rollback func() error) error { return errors.Join(rollback(), errors.New("lost")) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newFile(t)
			db := open(t, path, options{})
			register(t, db, baker, mainnet, 0)
			register(t, db, keyNumber(2), mainnet, 0)
			mustSign(t, db, block(1, 0), bytesNumber(1))
			db.SetCommit(fault.commit)
			made, d := signatureOf(t, bytesNumber(0), 7), bytesNumber(0)
			release, err := db.Place(block(2, 0), d, made)
			if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
				t.Fatalf("got %+v, %v, want %v", release, err, ratchet.ErrStopped)
			}
			wantDead(t, db, path)
			abandon(t, db)

			db = open(t, path, options{})
			again := mustSign(t, db, block(2, 0), d)
			if again.Stored != fault.stored || fault.stored && again.Signature != made {
				t.Errorf("after a restart: got %+v, want stored to be %t", again, fault.stored)
			}
		})
	}
}

// TestDefiniteNoNeedsARollback: FULL is not a definite no while the transaction is still open.
func TestDefiniteNoNeedsARollback(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	db.SetCommit(func(commit, rollback func() error) error { return sqlite3.Error{Code: sqlite3.ErrFull} })
	_, err := db.Place(block(1, 0), bytesNumber(0), signatureOf(t, bytesNumber(0), 0))
	if !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("got %v, want %v", err, ratchet.ErrStopped)
	}
	wantDead(t, db, db.Path())
}

// TestFailureOvertakesAnAnswer: a signature that is durable but not yet released when the ratchet fails is
// not released. The next process releases it.
func TestFailureOvertakesAnAnswer(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	var db *DB
	db = open(t, path, options{OnCommit: func(time.Duration, int) { db.Fail(errors.New("another commit was lost")) }})
	register(t, db, baker, mainnet, 0)
	d := bytesNumber(0)
	release, err := db.Sign(t.Context(), block(1, 0), d, new(card).Sign(d))
	if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
		t.Errorf("got %+v, %v, want %v", release, err, ratchet.ErrStopped)
	}
	wantDead(t, db, path)
	abandon(t, db)
	if again := mustSign(t, open(t, path, options{}), block(1, 0), d); !again.Stored {
		t.Errorf("after a restart: got %+v, want the stored signature", again)
	}
}

func TestDefiniteNoStaysUp(t *testing.T) {
	t.Parallel()
	for _, code := range []sqlite3.ErrNo{sqlite3.ErrFull, sqlite3.ErrBusy, sqlite3.ErrReadonly} {
		t.Run(code.Error(), func(t *testing.T) {
			t.Parallel()
			db := openRegistered(t, options{})
			db.SetCommit(func(commit, rollback func() error) error { return errors.Join(rollback(), sqlite3.Error{Code: code}) })
			var c card
			release, err := db.Sign(t.Context(), block(1, 0), bytesNumber(0), c.Sign(bytesNumber(0)))
			if !errors.Is(err, ratchet.ErrCommit) || release != (ratchet.Release{}) {
				t.Fatalf("got %+v, %v, want %v", release, err, ratchet.ErrCommit)
			}
			if db.Err() != nil || db.Dropped() != 1 {
				t.Errorf("Err %v and %d dropped, want nil and 1", db.Err(), db.Dropped())
			}
			db.SetCommit(nil)
			if got := mustSign(t, db, block(1, 0), bytesNumber(1)); got.Stored {
				t.Errorf("other bytes after a definite no: got %+v, want them signed", got)
			}
		})
	}
}

// TestStatementErrorSparesTheOthers: one member of a batch needs pages that the file may not have. The
// others are stored.
func TestStatementErrorSparesTheOthers(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	greedy := keyNumber(6)
	for n := 2; n < 12; n++ {
		register(t, db, keyNumber(n), mainnet, 0)
	}
	var members []ratchet.Proposal
	for n := 1; n < 12; n++ {
		m := block(5, 0)
		m.Key = keyNumber(n)
		if m.Key != greedy {
			mustSign(t, db, m, bytesNumber(n))
		}
		m.Level++
		members = append(members, db.Proposal(m, bytesNumber(n), signatureOf(t, bytesNumber(n), 1)))
	}
	if err := db.Exec("CREATE TRIGGER full BEFORE INSERT ON marks WHEN NEW.key = x'" + fmt.Sprintf("%x", greedy[:]) + "'" +
		" BEGIN INSERT INTO never_used (key) SELECT randomblob(21) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n); END"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.QueryString("PRAGMA max_page_count = 16"); err != nil {
		t.Fatal(err)
	}
	releases, errs := db.PlaceTogether(members...)
	for i, m := range members {
		if m.Key == greedy {
			if !errors.Is(errs[i], ratchet.ErrCommit) || releases[i] != (ratchet.Release{}) {
				t.Errorf("the member without room: got %+v, %v, want %v", releases[i], errs[i], ratchet.ErrCommit)
			}
		} else if errs[i] != nil || releases[i].Signature != m.Signature {
			t.Errorf("member %d: got %+v, %v, want its signature", i, releases[i], errs[i])
		}
	}
	marks, err := db.TableMarks(t.Context())
	if err != nil || len(marks) != len(members)-1 {
		t.Errorf("%d marks, %v, want %d", len(marks), err, len(members)-1)
	}
	for _, m := range marks {
		if m.Level != 6 {
			t.Errorf("%s is at level %d, want 6", m.Key, m.Level)
		}
	}
	if err := db.CheckTotals(); err != nil { // the members have run twice
		t.Error(err)
	}
	if err := db.Err(); err != nil {
		t.Errorf("the ratchet failed: %v", err)
	}
}

// TestStatementErrorIsNoDefiniteNo: only FULL, BUSY and READONLY are definite.
func TestStatementErrorIsNoDefiniteNo(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	if err := db.Exec("DROP TABLE registrations"); err != nil {
		t.Fatal(err)
	}
	_, err := db.Place(block(1, 0), bytesNumber(0), signatureOf(t, bytesNumber(0), 0))
	if !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("got %v, want %v", err, ratchet.ErrStopped)
	}
	wantDead(t, db, db.Path())
}

// TestBeginThatFails: in a transaction of somebody else nothing is placed.
func TestBeginThatFails(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	if err := db.ExecOutside(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	release, err := db.Place(block(1, 0), bytesNumber(0), signatureOf(t, bytesNumber(0), 0))
	if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
		t.Errorf("got %+v, %v, want %v", release, err, ratchet.ErrStopped)
	}
	wantDead(t, db, db.Path())
}

func TestBatchIsOneTransaction(t *testing.T) {
	t.Parallel()
	var (
		mu      sync.Mutex
		commits []int
	)
	db := openRegistered(t, options{OnCommit: func(elapsed time.Duration, marks int) {
		mu.Lock()
		defer mu.Unlock()
		if elapsed <= 0 {
			t.Errorf("a commit of %v", elapsed)
		}
		commits = append(commits, marks)
	}})
	var members []ratchet.Proposal
	for n := range 50 {
		m := block(1, 0)
		m.Key = keyNumber(n + 1)
		register(t, db, m.Key, mainnet, 0)
		members = append(members, db.Proposal(m, bytesNumber(n), signatureOf(t, bytesNumber(n), n)))
	}
	members = append(members, members[0]) // stored already: no mark of its own
	releases, errs := db.PlaceTogether(members...)
	for i := range members {
		if errs[i] != nil || releases[i].Signature != members[i].Signature {
			t.Errorf("member %d: got %+v, %v", i, releases[i], errs[i])
		}
	}
	if len(commits) != 1 || commits[0] != 50 {
		t.Errorf("OnCommit was told of %v marks, want one commit of 50", commits)
	}
}

// TestFileMovedWhileOpen: after COMMIT the names must still lead to the files that were opened.
func TestFileMovedWhileOpen(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", "-wal"} {
		for name, move := range map[string]func(path string) error{
			"unlinked":    os.Remove,
			"hard-linked": func(path string) error { return os.Link(path, path+"2") },
			"moved":       func(path string) error { return os.Rename(path, path+"2") },
			"replaced by a copy": func(path string) error {
				content, err := os.ReadFile(path)
				return errors.Join(err, os.WriteFile(path+"2", content, 0o600), os.Rename(path+"2", path))
			},
			"replaced by a link to itself": func(path string) error {
				return errors.Join(os.Rename(path, path+"2"), os.Symlink(path+"2", path))
			},
			"folder moved": func(path string) error {
				return os.Rename(filepath.Dir(path), filepath.Dir(path)+"2")
			},
		} {
			t.Run("ratchet.db"+suffix+" "+name, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "sub", "ratchet.db")
				if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), sqlite.Create(t.Context(), path)); err != nil {
					t.Fatal(err)
				}
				db := open(t, path, options{})
				register(t, db, baker, mainnet, 0)
				register(t, db, keyNumber(2), mainnet, 0)
				if err := move(path + suffix); err != nil {
					t.Fatal(err)
				}
				var c card
				d := bytesNumber(0)
				release, err := db.Sign(t.Context(), block(1, 0), d, c.Sign(d))
				if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
					t.Errorf("got %+v, %v, want %v", release, err, ratchet.ErrStopped)
				}
				wantDead(t, db, path)
			})
		}
	}
}

// TestCloseOfMovedFile: a clean stop must not remove the -wal of another file.
func TestCloseOfMovedFile(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	path := db.Path()
	if err := os.Rename(path+"-wal", path+"-wal2"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"-wal", []byte("not ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); !errors.Is(err, ratchet.ErrStopped) {
		t.Errorf("Close: %v, want %v", err, ratchet.ErrStopped)
	}
	if content, err := os.ReadFile(path + "-wal"); err != nil || string(content) != "not ours" {
		t.Errorf("the other file holds %q, %v", content, err)
	}
}

// TestWALStaysSmall: the -wal is copied into the database and started again.
func TestWALStaysSmall(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	for level := range int32(3000) {
		d := bytesNumber(int(level))
		if _, err := db.Place(block(level, 0), d, signatureOf(t, d, 0)); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(db.Path() + "-wal")
	if err != nil || st.Size() > 8<<20 {
		t.Errorf("after 3000 commits the -wal has %d bytes, %v, want at most 8 MiB", st.Size(), err)
	}
}

// TestSlowCommitIsTrouble: Trouble reports a disk that hangs while it hangs.
func TestSlowCommitIsTrouble(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	register(t, db, baker, mainnet, 0)
	release := make(chan struct{})
	db.SetCommit(func(commit, rollback func() error) error { <-release; return commit() })
	d := bytesNumber(0)
	flying := ask(t.Context(), db, block(1, 0), d, new(card).Sign(d))
	for start := time.Now(); db.Trouble() == nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("a commit hangs and there is no trouble")
		}
	}
	close(release)
	if got := <-flying; got.Err != nil || db.Trouble() != nil {
		t.Errorf("after the commit: %v, trouble %v, want none", got.Err, db.Trouble())
	}
}

// TestPanicIsAFailure: after a panic nobody knows what was written, and the caller may recover from it.
func TestPanicIsAFailure(t *testing.T) {
	t.Parallel()
	d := bytesNumber(0)
	for name, where := range map[string]func(*DB) ratchet.SignFunc{
		"sign": func(*DB) ratchet.SignFunc {
			return func(context.Context, tezos.Message) (tezos.Signature, error) { panic("broken") }
		},
		"commit": func(db *DB) ratchet.SignFunc {
			db.SetCommit(func(_, _ func() error) error { panic("broken") })
			return new(card).Sign(d)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, newFile(t), options{})
			register(t, db, baker, mainnet, 0)
			register(t, db, keyNumber(2), mainnet, 0)
			release, err := db.Sign(t.Context(), block(1, 0), d, where(db))
			if !errors.Is(err, ratchet.ErrStopped) || release != (ratchet.Release{}) {
				t.Errorf("got %+v, %v, want %v", release, err, ratchet.ErrStopped)
			}
			wantDead(t, db, db.Path())
		})
	}
}

// TestUnknownOutcomeEndsASplitBatch: when the members of a batch are committed one by one and the outcome of
// one is unknown, the next is not tried.
func TestUnknownOutcomeEndsASplitBatch(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	register(t, db, baker, mainnet, 0)
	if err := db.Exec("CREATE TRIGGER broken BEFORE INSERT ON marks WHEN NEW.level = 13 BEGIN SELECT RAISE(ROLLBACK, 'broken'); END"); err != nil {
		t.Fatal(err)
	}
	commits := 0
	db.SetCommit(func(commit, rollback func() error) error { commits++; return errors.New("disk I/O error") })
	member := func(kind tezos.Kind, level int32) ratchet.Proposal {
		m := block(level, 0)
		m.Kind = kind
		return db.Proposal(m, bytesNumber(int(level)), signatureOf(t, bytesNumber(int(level)), int(level)))
	}
	_, errs := db.PlaceTogether(member(tezos.Block, 1), member(tezos.Attestation, 2), member(tezos.Preattestation, 13))
	for i, err := range errs {
		if !errors.Is(err, ratchet.ErrStopped) {
			t.Errorf("member %d: %v, want %v", i, err, ratchet.ErrStopped)
		}
	}
	if commits != 1 {
		t.Errorf("%d commits, want the first only", commits)
	}
}
