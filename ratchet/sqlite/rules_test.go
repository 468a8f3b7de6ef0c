package sqlite

// The rules that decide from what lies on the disk, as tables: what files lead to them is in the other tests.

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"pawl/ratchet"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	a := identity{inode: 7, birth: 9}
	for name, test := range map[string]struct {
		other identity
		same  bool
	}{
		"itself":                           {a, true},
		"another birth":                    {identity{7, 8}, false},
		"another inode":                    {identity{6, 9}, false},
		"no birth":                         {identity{7, 0}, true},
		"no birth and another inode":       {identity{6, 0}, false},
		"nothing":                          {identity{}, false},
		"another inode, and another birth": {identity{6, 8}, false},
	} {
		if a.is(test.other) != test.same || test.other.is(a) != test.same {
			t.Errorf("%s: the same file: %v and %v, want %v", name, a.is(test.other), test.other.is(a), test.same)
		}
	}
	if got, err := parseIdentity(a.String()); err != nil || got != a {
		t.Errorf("parseIdentity(%q) = %v, %v", a.String(), got, err)
	}
	for _, text := range []string{"", "7/9", a.String() + " ", a.String() + "/1", "0000000000000000000x/00000000000000000009"} {
		if got, err := parseIdentity(text); err == nil || got != (identity{}) {
			t.Errorf("parseIdentity(%q) = %v, %v; want it refused", text, got, err)
		}
	}
}

// TestProvenanceCheck goes through what can lie there when a file is opened.
func TestProvenanceCheck(t *testing.T) {
	t.Parallel()
	database, recorded, other := identity{1, 10}, identity{2, 20}, identity{3, 30}
	missing := errors.New("rows are missing")
	of := func(i identity, size uint64) *file { return &file{identity: i, size: size} }
	const taken = InPlace
	for name, test := range map[string]struct {
		clean bool
		found identity // of the database
		wal   *file
		note  identity // of an interrupted opening
		whole error
		want  Verdict
	}{
		"closed":                                     {true, database, nil, identity{}, missing, taken},
		"closed, the -wal not removed yet":           {true, database, of(recorded, 9), identity{}, missing, taken},
		"closed, and an empty -wal":                  {true, database, of(other, 0), identity{}, missing, taken},
		"closed, and a -wal with content":            {true, database, of(other, 9), identity{}, missing, RolledBack},
		"closed, and the -wal of an opening":         {true, database, of(other, 9), other, missing, taken},
		"killed":                                     {false, database, of(recorded, 9), identity{}, missing, taken},
		"killed, and another -wal":                   {false, database, of(other, 9), identity{}, missing, RolledBack},
		"killed, and the -wal of an opening":         {false, database, of(other, 9), other, missing, taken},
		"killed, the -wal gone, rows missing":        {false, database, nil, identity{}, missing, Lost},
		"killed, the -wal gone, nothing missing":     {false, database, nil, identity{}, nil, taken},
		"killed, the -wal gone, a note of one":       {false, database, nil, recorded, missing, Lost},
		"killed, the -wal emptied, rows missing":     {false, database, of(recorded, 0), identity{}, missing, Lost},
		"killed, the -wal emptied, nothing missing":  {false, database, of(recorded, 0), identity{}, nil, taken},
		"killed, another empty -wal, rows missing":   {false, database, of(other, 0), identity{}, missing, Lost},
		"killed, the -wal emptied by an opening":     {false, database, of(recorded, 0), recorded, missing, taken},
		"another file":                               {true, other, nil, identity{}, nil, Moved},
		"another file, and the -wal of an opening":   {true, other, of(recorded, 9), recorded, nil, Moved},
		"another file that was killed, with its wal": {false, other, of(recorded, 9), identity{}, nil, Moved},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ratchet.db")
			if test.note != (identity{}) {
				if err := os.WriteFile(path+openingSuffix, []byte(test.note.String()+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			left := provenance{clean: test.clean, database: database, wal: recorded}
			found, err := left.check(path, file{identity: test.found}, test.wal, func() error { return test.whole })
			var lost *VerdictError
			if refused := errors.As(err, &lost); refused != (test.want == Lost) || !refused && (err != nil || found.Verdict != test.want) {
				t.Errorf("%v, %v, want %v", found, err, test.want)
			}
		})
	}
}

// TestNoteOfAnOpening names a file only if it is whole.
func TestNoteOfAnOpening(t *testing.T) {
	t.Parallel()
	whole := identity{2, 20}
	for text, want := range map[string]identity{
		whole.String(): whole, " " + whole.String() + "\n": whole, "": {}, whole.String()[:30]: {}, "x": {},
	} {
		path := filepath.Join(t.TempDir(), "ratchet.db")
		if err := os.WriteFile(path+openingSuffix, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readOpening(path); got != want {
			t.Errorf("%q names %v, want %v", text, got, want)
		}
	}
	if got := readOpening(filepath.Join(t.TempDir(), "ratchet.db")); got != (identity{}) {
		t.Errorf("no note names %v", got)
	}
}

// TestSamePlace: a file is in place while it is the same one, with one name, and no shorter than it ever was.
func TestSamePlace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	seen, err := lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, seen file, good bool) {
		t.Helper()
		if err := samePlace(path, &seen); (err == nil) != good {
			t.Errorf("%s: %v, want it in place: %v", what, err, good)
		}
	}
	check("untouched", seen, true)
	for what, change := range map[string]func(*file){
		"another device": func(f *file) { f.device++ },
		"another inode":  func(f *file) { f.inode++ },
		"another birth":  func(f *file) { f.birth++ },
		"a byte shorter": func(f *file) { f.size = 101 },
	} {
		changed := seen
		change(&changed)
		check(what, changed, false)
	}
	shorter := seen
	shorter.size = 99
	check("a byte longer", shorter, true)
	if err := os.Truncate(path, 200); err != nil {
		t.Fatal(err)
	}
	if err := samePlace(path, &seen); err != nil || seen.size != 200 {
		t.Errorf("grown: %v, size %d is remembered, want 200", err, seen.size)
	}
	if err := os.Truncate(path, 150); err != nil {
		t.Fatal(err)
	}
	check("cut to more than it had at first", seen, false)
	if err := errors.Join(os.Truncate(path, 200), os.Link(path, path+"2")); err != nil {
		t.Fatal(err)
	}
	check("two names", seen, false)
	if err := errors.Join(os.Remove(path+"2"), os.Rename(path, path+"3")); err != nil {
		t.Fatal(err)
	}
	check("moved away", seen, false)
	if err := os.WriteFile(path, make([]byte, 200), 0o600); err != nil {
		t.Fatal(err)
	}
	check("replaced", seen, false)
}

// TestBothFilesStayInPlace: the database and its -wal, after a commit; the -wal before it.
func TestBothFilesStayInPlace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		suffix        string
		before, after bool // whether the look before and after COMMIT notices
	}{{"", false, true}, {walSuffix, true, true}} {
		db := newStore(filepath.Join(t.TempDir(), "ratchet.db"), Options{})
		for suffix, seen := range map[string]*file{"": &db.database, walSuffix: &db.wal} {
			if err := os.WriteFile(db.path+suffix, make([]byte, 10), 0o600); err != nil {
				t.Fatal(err)
			}
			var err error
			if *seen, err = lookup(db.path + suffix); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(db.inPlace(), db.notCutShort()); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(db.path+test.suffix, 9); err != nil {
			t.Fatal(err)
		}
		if before, after := db.notCutShort(), db.inPlace(); (before != nil) != test.before || (after != nil) != test.after {
			t.Errorf("%q cut short: before COMMIT %v, after it %v; want it noticed: %v and %v", test.suffix, before, after, test.before, test.after)
		}
	}
}

// TestNamesOfTheWAL: it is a file with one name, or with its second one too.
func TestNamesOfTheWAL(t *testing.T) {
	t.Parallel()
	empty := func(t *testing.T, path string) {
		t.Helper()
		if err := createEmpty(path); err != nil {
			t.Fatal(err)
		}
	}
	link := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Link(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		lay   func(t *testing.T, path string)
		there bool
		good  bool
		freed bool // whether freeWAL leaves it with its first name alone
	}{
		"none":       {func(*testing.T, string) {}, false, true, false},
		"one":        {func(t *testing.T, path string) { t.Helper(); empty(t, path+walSuffix) }, true, true, true},
		"the second": {func(t *testing.T, path string) { t.Helper(); empty(t, path+keptSuffix) }, true, true, true},
		"both": {func(t *testing.T, path string) {
			t.Helper()
			empty(t, path+walSuffix)
			link(t, path+walSuffix, path+keptSuffix)
		}, true, true, true},
		"two files": {func(t *testing.T, path string) {
			t.Helper()
			empty(t, path+walSuffix)
			empty(t, path+keptSuffix)
		}, false, false, false},
		"a third name": {func(t *testing.T, path string) {
			t.Helper()
			empty(t, path+walSuffix)
			link(t, path+walSuffix, path+"-third")
		}, false, false, true},
		"a third name beside both": {func(t *testing.T, path string) {
			t.Helper()
			empty(t, path+walSuffix)
			link(t, path+walSuffix, path+keptSuffix)
			link(t, path+walSuffix, path+"-third")
		}, false, false, true},
		"the second and a third": {func(t *testing.T, path string) {
			t.Helper()
			empty(t, path+keptSuffix)
			link(t, path+keptSuffix, path+"-third")
		}, false, false, true},
		"a folder": {func(t *testing.T, path string) {
			t.Helper()
			if err := os.Mkdir(path+walSuffix, 0o700); err != nil {
				t.Fatal(err)
			}
		}, false, false, true},
		"a symbolic link": {func(t *testing.T, path string) {
			t.Helper()
			empty(t, path+"-elsewhere")
			if err := os.Symlink(path+"-elsewhere", path+walSuffix); err != nil {
				t.Fatal(err)
			}
		}, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ratchet.db")
			test.lay(t, path)
			wal, err := lookupWAL(path)
			if (err == nil) != test.good || (wal != nil) != test.there {
				t.Errorf("%v, %v; want one: %v, and no error: %v", wal, err, test.there, test.good)
			}
			err = freeWAL(path)
			first, err1 := exists(path + walSuffix)
			second, err2 := exists(path + keptSuffix)
			if errors.Join(err1, err2) != nil || test.freed != (err == nil && first && !second) {
				t.Errorf("freeWAL: %v, first name %v, second name %v; want the first alone: %v", err, first, second, test.freed)
			}
		})
	}
}

// TestFilesystems: each that is named is refused, and no other.
func TestFilesystems(t *testing.T) {
	t.Parallel()
	for _, magic := range []uint32{
		unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC,
		unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.CODA_SUPER_MAGIC, unix.NCP_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC,
		0x0bd00bd0, 0x786f4256, 0x47504653, 0x01161970,
	} {
		if checkFilesystemType("/x", magic) == nil {
			t.Errorf("file system 0x%x is taken", magic)
		}
	}
	for magic := range localFilesystems {
		if err := checkFilesystemType("/x", magic); err != nil {
			t.Errorf("file system 0x%x: %v", magic, err)
		}
	}
}

// TestDefiniteNo: only a rollback that is certain lets the store go on.
func TestDefiniteNo(t *testing.T) {
	t.Parallel()
	for code, want := range map[sqlite3.ErrNo]bool{
		sqlite3.ErrFull: true, sqlite3.ErrBusy: true, sqlite3.ErrReadonly: true,
		sqlite3.ErrIoErr: false, sqlite3.ErrCorrupt: false, sqlite3.ErrConstraint: false, sqlite3.ErrNomem: false,
	} {
		if got := definite(sqlite3.Error{Code: code}); got != want {
			t.Errorf("%v: definite %v, want %v", sqlite3.Error{Code: code}, got, want)
		}
	}
	if definite(errors.New("full")) || definite(nil) {
		t.Error("an error that is not SQLite's is a definite no")
	}
	if definite(sqlite3.Error{Code: sqlite3.ErrReadonly, ExtendedCode: sqlite3.ErrReadonlyDbMoved}) {
		t.Error("a file that was moved away is a definite no")
	}
}

// TestBatchCounts: marks that were stored, and whether the disk has shown that it takes writes.
func TestBatchCounts(t *testing.T) {
	t.Parallel()
	stored, read, probe := newJob(), newJob(), newProbe()
	stored.stored = &ratchet.Mark{Level: 1}
	for name, test := range map[string]struct {
		batch []*job
		marks int
		wrote bool
	}{
		"none":         {nil, 0, false},
		"reads":        {[]*job{read, read}, 0, false},
		"a probe":      {[]*job{read, probe}, 0, true},
		"a mark":       {[]*job{read, stored}, 1, true},
		"two and more": {[]*job{stored, read, stored, probe}, 2, true},
	} {
		if marks, wrote := marksIn(test.batch), wroteIn(test.batch); marks != test.marks || wrote != test.wrote {
			t.Errorf("%s: %d marks, wrote %v; want %d and %v", name, marks, wrote, test.marks, test.wrote)
		}
	}
}

// TestTroubleRecords the last transaction that failed or wrote, and a running one that takes too long.
func TestTroubleRecords(t *testing.T) {
	t.Parallel()
	db := newStore("ratchet.db", Options{})
	full := errors.New("full")
	for i, step := range []struct {
		err   error
		wrote bool
		want  error
	}{
		{nil, true, nil}, {full, false, full}, {nil, false, full}, {nil, true, nil}, {full, true, full}, {nil, false, full}, {nil, true, nil},
	} {
		db.trouble.begin()
		db.trouble.end(step.err, step.wrote)
		if got := db.Trouble(); !errors.Is(got, step.want) || (got == nil) != (step.want == nil) {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	db.trouble.begin()
	if err := db.Trouble(); err != nil {
		t.Errorf("a transaction that has just begun: %v", err)
	}
	db.trouble.running = time.Now().Add(-slowCommit - 100*time.Millisecond)
	if err := db.Trouble(); err == nil {
		t.Error("a transaction has been running for over a second, and there is no trouble")
	}
	db.trouble.end(nil, false)
	if err := db.Trouble(); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// TestWriterHasOneLeader, who hands the lead on, and takes no job once it is closed.
func TestWriterHasOneLeader(t *testing.T) {
	t.Parallel()
	var w writer
	jobs := make([]*job, maxBatch+3)
	for i := range jobs {
		jobs[i] = newJob()
		if lead, err := w.enter(jobs[i]); err != nil || lead != (i == 0) {
			t.Fatalf("job %d: lead %v, %v; want that of the first alone", i, lead, err)
		}
	}
	if w.enterIdle() {
		t.Error("an idle checkpoint beside a leader")
	}
	if batch := w.batch(); len(batch) != maxBatch || batch[0] != jobs[0] || batch[maxBatch-1] != jobs[maxBatch-1] {
		t.Errorf("a batch of %d, want the first %d", len(batch), maxBatch)
	}
	w.leave()
	for i, j := range jobs[maxBatch:] {
		select {
		case <-j.lead:
			if i != 0 {
				t.Errorf("waiting job %d leads", i)
			}
		default:
			if i == 0 {
				t.Error("nobody leads")
			}
		}
	}
	closed := make(chan struct{})
	go func() { defer close(closed); w.close() }()
	for { // until close has begun
		if _, err := w.enter(newJob()); errors.Is(err, ratchet.ErrStopped) {
			break
		}
	}
	select {
	case <-closed:
		t.Error("closed while jobs wait")
	case <-time.After(20 * time.Millisecond):
	}
	for len(w.batch()) > 0 { // the jobs that came meanwhile too
	}
	w.leave()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("close does not end")
	}
	if w.enterIdle() {
		t.Error("an idle checkpoint after the end")
	}
}

// TestIdleCounts: a checkpoint comes when enough marks were committed and then none.
func TestIdleCounts(t *testing.T) {
	t.Parallel()
	called := make(chan struct{}, 10)
	var i idle
	i.count(idleMarks-1, func() { called <- struct{}{} })
	if i.timer != nil {
		t.Errorf("a timer after %d marks", i.marks)
	}
	i.count(1, func() { called <- struct{}{} })
	if i.timer == nil || i.marks != idleMarks {
		t.Fatalf("no timer after %d marks", i.marks)
	}
	for range 4 { // each commit puts it off
		time.Sleep(idleAfter / 4)
		i.count(1, func() { t.Error("another timer") })
	}
	select {
	case <-called:
		t.Error("called while marks were committed")
	default:
	}
	select {
	case <-called:
	case <-time.After(20 * time.Second):
		t.Error("never called")
	}
}

// TestChangeOfNothingWritesNothing, and changes add up.
func TestChangeOfNothingWritesNothing(t *testing.T) {
	t.Parallel()
	if err := (change{}).write(context.Background(), (*sql.Conn)(nil)); err != nil {
		t.Errorf("no change: %v", err)
	}
	one, two := sealOf([]byte("one")), sealOf([]byte("two"))
	var c change
	c.add(one)
	c.add(two)
	c.remove(one)
	if want := (totals{}).with(change(totals{rows: 1, high: c.high, low: c.low})); totals(c) != want {
		t.Errorf("two added and one removed: %+v", c)
	}
	var alone change
	alone.add(two)
	if c != alone {
		t.Errorf("two added and one removed: %+v, want %+v", c, alone)
	}
	a, b := newJob(), newJob()
	a.change.add(one)
	b.change.add(two)
	if all := changeOf([]*job{a, b}); all.rows != 2 || all.high != a.change.high^b.change.high || all.low != a.change.low^b.change.low {
		t.Errorf("of two jobs: %+v", all)
	}
}

// TestDatabaseFile: Open takes a regular file with one name, and says what else it has found.
func TestDatabaseFile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lay  func(path string) error
		want string // within the error; "" if it is taken
		is   error
	}{
		"a file":          {createEmpty, "", nil},
		"none":            {func(string) error { return nil }, "pawl ratchet init", ratchet.ErrMissing},
		"a symbolic link": {func(path string) error { return errors.Join(createEmpty(path+"2"), os.Symlink(path+"2", path)) }, "symbolic link", nil},
		"a dangling link": {func(path string) error { return os.Symlink(path+"2", path) }, "symbolic link", nil},
		"a folder":        {func(path string) error { return os.Mkdir(path, 0o700) }, "not a regular file", nil},
		"a pipe":          {func(path string) error { return unix.Mkfifo(path, 0o600) }, "not a regular file", nil},
		"two names":       {func(path string) error { return errors.Join(createEmpty(path), os.Link(path, path+"2")) }, "2 names", ratchet.ErrSuspect},
	} {
		path := filepath.Join(t.TempDir(), "ratchet.db")
		if err := test.lay(path); err != nil {
			t.Fatal(err)
		}
		f, err := lookupDatabase(path)
		switch {
		case test.want == "":
			if err != nil || !f.regular() || f.links != 1 || f.inode == 0 {
				t.Errorf("%s: %+v, %v; want it taken", name, f, err)
			}
		case err == nil || !strings.Contains(err.Error(), test.want) || f != (file{}):
			t.Errorf("%s: %+v, %v; want an error with %q", name, f, err, test.want)
		case test.is != nil && !errors.Is(err, test.is), test.is == nil && (errors.Is(err, ratchet.ErrMissing) || errors.Is(err, ratchet.ErrSuspect)):
			t.Errorf("%s: %v, want %v", name, err, test.is)
		}
	}
}

// TestPathsThatCannotBeExamined: that something is not known to be there is not that it is not there.
func TestPathsThatCannotBeExamined(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := createEmpty(filepath.Join(dir, "f")); err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(dir, "f", "ratchet.db") // a file is no folder
	if found, err := lookupOptional(below); err == nil || found != nil {
		t.Errorf("below a file: %v, %v; want an error", found, err)
	}
	if there, err := exists(below); err == nil || there {
		t.Errorf("below a file: %v, %v; want an error", there, err)
	}
	if _, err := lookupDatabase(below); err == nil || errors.Is(err, ratchet.ErrMissing) {
		t.Errorf("below a file: %v; want another error than %v", err, ratchet.ErrMissing)
	}
	for suffix := range map[string]bool{walSuffix: true, keptSuffix: true} { // names have 255 bytes at most
		long := filepath.Join(dir, strings.Repeat("n", 256-len(suffix)))
		if wal, err := lookupWAL(long); err == nil || wal != nil {
			t.Errorf("%s cannot have a name: %v, %v; want an error", suffix, wal, err)
		}
		if err := freeWAL(long); err == nil {
			t.Errorf("%s cannot have a name, and freeWAL has no error", suffix)
		}
	}
}

// TestPrepareWAL: what cannot be noted is not opened.
func TestPrepareWAL(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ratchet.db")
	if err := createEmpty(path); err != nil {
		t.Fatal(err)
	}
	database, err := lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	made, err := prepareWAL(path, database, nil)
	if err != nil || made.size != 0 || !readOpening(path).is(made.identity) {
		t.Fatalf("no -wal: %+v, %v, noted %v; want one that is noted", made, err, readOpening(path))
	}
	if again, err := prepareWAL(path, database, &made); err != nil || !again.is(made.identity) || !readOpening(path).is(made.identity) {
		t.Errorf("the -wal that is there: %+v, %v, noted %v; want it noted", again, err, readOpening(path))
	}
	if _, err := prepareWAL(path, database, nil); err == nil {
		t.Error("a -wal that has come meanwhile is taken for an empty one")
	}
	if err := errors.Join(os.Remove(path+openingSuffix), os.Mkdir(path+openingSuffix, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := prepareWAL(path, database, &made); err == nil {
		t.Error("a note that cannot be written is no error")
	}
	if err := os.Remove(path + walSuffix); err != nil {
		t.Fatal(err)
	}
	if _, err := prepareWAL(path, database, &made); err == nil {
		t.Error("a -wal that has gone meanwhile is no error")
	}
}
