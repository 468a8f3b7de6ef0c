package sqlite_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"

	"golang.org/x/sys/unix"
)

// kept are the files of a ratchet, to be put back in place.
type kept map[string][]byte

var suffixes = []string{"", "-wal", "-last", "-opening", "-kept"}

func keep(t *testing.T, path string) kept {
	t.Helper()
	k := make(kept)
	for _, suffix := range suffixes {
		if present(t, path+suffix) {
			k[suffix] = read(t, path+suffix)
		}
	}
	return k
}

// putBack writes the files over those that are there, as cp does: their inodes stay.
func (k kept) putBack(t *testing.T, path string) {
	t.Helper()
	for _, suffix := range suffixes {
		if content, there := k[suffix]; there {
			write(t, path+suffix, content)
		} else if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// witnessFile is that of a ratchet.
func witnessFile(t *testing.T, path string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(ratchettest.WitnessOf(path), "*.witness"))
	if err != nil || len(files) != 1 {
		t.Fatalf("witnesses %v, %v, want one", files, err)
	}
	return files[0]
}

// TestWitness: what a start finds out, and what the keys are fenced for.
func TestWitness(t *testing.T) {
	t.Parallel()
	rewrite := func(from, to string) func(*testing.T, string) string {
		return func(t *testing.T, path string) string {
			t.Helper()
			file := witnessFile(t, path)
			text := read(t, file)
			if !bytes.Contains(text, []byte(from)) {
				t.Fatalf("there is no %q in\n%s", from, text)
			}
			write(t, file, bytes.Replace(text, []byte(from), []byte(to), 1))
			return path
		}
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Skip(err)
	}
	boot := strings.TrimSpace(string(bootID))
	for name, c := range map[string]struct {
		stop   func(*testing.T, string)
		change func(*testing.T, string) string // returns the path
		want   sqlite.Verdict
	}{
		"closed": {closed, func(_ *testing.T, path string) string { return path }, sqlite.InPlace},
		"killed": {killed, func(_ *testing.T, path string) string { return path }, sqlite.InPlace},
		"killed, the folder moved": {killed, func(t *testing.T, path string) string {
			t.Helper()
			to := filepath.Dir(path) + "2"
			err := errors.Join(os.Rename(filepath.Dir(path), to), os.Rename(ratchettest.WitnessOf(path), to+"-witness"))
			if err != nil {
				t.Fatal(err)
			}
			return filepath.Join(to, filepath.Base(path))
		}, sqlite.InPlace},
		"closed, another mode": {closed, func(t *testing.T, path string) string {
			t.Helper()
			if err := errors.Join(os.Chmod(path, 0o640), os.Chmod(path+"-last", 0o640)); err != nil {
				t.Fatal(err)
			}
			return path
		}, sqlite.InPlace},
		"no witness": {killed, func(t *testing.T, path string) string {
			t.Helper()
			if err := os.Remove(witnessFile(t, path)); err != nil {
				t.Fatal(err)
			}
			return path
		}, sqlite.Unwitnessed},
		"a witness of another start of the host": {closed, rewrite(boot, "another"), sqlite.Unwitnessed},
		"a witness with a torn line":             {killed, rewrite("m ", "x "), sqlite.Unwitnessed},
		"a witness of another file":              {closed, rewrite("pawl-witness 1 ", "pawl-witness 1 9"), sqlite.Unwitnessed},
		"a witness that others may write": {closed, func(t *testing.T, path string) string {
			t.Helper()
			if err := os.Chmod(witnessFile(t, path), 0o622); err != nil {
				t.Fatal(err)
			}
			return path
		}, sqlite.Unwitnessed},
		"another machine": {closed, func(t *testing.T, path string) string {
			t.Helper()
			if !present(t, "/etc/machine-id") {
				t.Skip("this host has no id")
			}
			alter(t, path, "UPDATE machine SET digest = 'another'")
			return path
		}, sqlite.Moved},
		"copied, the witness of the first one there": {killed, func(t *testing.T, path string) string {
			t.Helper()
			keep(t, path).putBack(t, path+"2")
			return path + "2"
		}, sqlite.Moved},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := c.change(t, left(t, c.stop))
			db := open(t, path, options{})
			if found := db.Finding(); found.Verdict != c.want || (found.Text == "") != (c.want == sqlite.InPlace) {
				t.Errorf("found %+v, want %v", found, c.want)
			}
			if c.want == sqlite.InPlace {
				mustSign(t, db, block(500, 0), bytesNumber(500))
				return
			}
			wantFenced(t, db, c.want.Cause())
			closeDB(t, db)
			wantFenced(t, open(t, path, options{}), c.want.Cause()) // the next start finds nothing, and the fences stay
		})
	}
}

// TestSetBack puts older content back in place, with all that lies beside it, and asks on for what a baker asks:
// no slot is signed twice, and three levels are missed at the most.
func TestSetBack(t *testing.T) {
	t.Parallel()
	for name, running := range map[string]bool{"kept while stopped": false, "kept while running": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newFile(t)
			db := open(t, path, options{})
			register(t, db, baker, mainnet, 1)
			for level := int32(1); level <= 10; level++ {
				mustSign(t, db, block(level, 0), bytesNumber(int(level)))
			}
			if !running {
				closeDB(t, db)
			}
			older := keep(t, path)
			if !running {
				db = open(t, path, options{})
			}
			for level := int32(11); level <= 20; level++ {
				mustSign(t, db, block(level, 0), bytesNumber(int(level)))
			}
			closeDB(t, db)
			older.putBack(t, path)

			db = open(t, path, options{})
			if found := db.Finding(); found.Verdict != sqlite.RolledBack {
				t.Errorf("found %+v", found)
			}
			missed := 0
			for level := int32(20); level < 220; level++ {
				other := bytesNumber(1000 + int(level))
				_, err := db.Sign(t.Context(), block(level, 0), other, new(card).Sign(other))
				if err == nil && level <= 20 {
					t.Errorf("level %d is signed a second time", level)
				}
				if err != nil && level > 20 {
					missed++
				}
			}
			if missed > 3 {
				t.Errorf("%d levels missed, want 3 at the most", missed)
			}
		})
	}
}

// TestSetBackKeepsBounds: what was retired and handed over stays so when the content of before is put back.
func TestSetBackKeepsBounds(t *testing.T) {
	t.Parallel()
	for name, plan := range map[string]ratchet.Plan{
		"retired": func(held ratchet.Snapshot) (ratchet.Changes, error) { return held.Retire(baker, "sold") },
		"handed over": func(held ratchet.Snapshot) (ratchet.Changes, error) {
			done, _, err := held.HandOver(mainnet, 12, 0)
			return done, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newFile(t)
			db := open(t, path, options{})
			register(t, db, baker, mainnet, 1)
			mustSign(t, db, block(10, 0), bytesNumber(10))
			closeDB(t, db)
			older := keep(t, path)
			db = open(t, path, options{})
			if _, err := db.Change(t.Context(), plan); err != nil {
				t.Fatal(err)
			}
			closeDB(t, db)
			older.putBack(t, path)
			db = open(t, path, options{})
			if found := db.Finding(); found.Verdict != sqlite.RolledBack {
				t.Errorf("found %+v", found)
			}
			for level := int32(12); level < 30; level++ {
				if _, err := db.Sign(t.Context(), block(level, 0), bytesNumber(1), new(card).Sign(bytesNumber(1))); err == nil {
					t.Fatalf("level %d was signed", level)
				}
			}
		})
	}
}

// TestPlaceDecidesByBounds: it is the transaction that decides, whatever the look had seen before.
func TestPlaceDecidesByBounds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plan ratchet.Plan
		want ratchet.Reason
	}{
		"retired": {func(held ratchet.Snapshot) (ratchet.Changes, error) { return held.Retire(baker, "sold") }, ratchet.Retired},
		"handed over": {func(held ratchet.Snapshot) (ratchet.Changes, error) {
			done, _, err := held.HandOver(mainnet, 12, 0)
			return done, err
		}, ratchet.HandedOver},
		"fenced": {func(held ratchet.Snapshot) (ratchet.Changes, error) { return held.Fenced(ratchet.RolledBack), nil }, ratchet.Fenced},
		"fenced, and set": {func(held ratchet.Snapshot) (ratchet.Changes, error) {
			fenced := held.Fenced(ratchet.RolledBack)
			return fenced.Then(held.With(fenced).Heads(mainnet, 20)), nil
		}, ratchet.Fenced},
	} {
		for kind, before := range map[string]int32{"the first mark": 0, "a mark that rises": 10} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				db := open(t, newFile(t), options{})
				register(t, db, baker, mainnet, 1)
				if before > 0 {
					mustSign(t, db, block(before, 0), bytesNumber(1))
				}
				if _, err := db.Change(t.Context(), c.plan); err != nil {
					t.Fatal(err)
				}
				d := bytesNumber(2)
				_, err := db.Place(block(15, 0), d, signatureOf(t, d, 1))
				wantRefused(t, err, c.want, "")
				if marks, err := db.TableMarks(t.Context()); err != nil || len(marks) > 0 && marks[0].Level != before {
					t.Errorf("marks %+v, %v", marks, err)
				}
			})
		}
	}
}

// TestRetiredKeyOpensNoChain, nor does one that is fenced.
func TestRetiredKeyOpensNoChain(t *testing.T) {
	t.Parallel()
	for name, plan := range map[string]ratchet.Plan{
		"retired": func(held ratchet.Snapshot) (ratchet.Changes, error) { return held.Retire(baker, "sold") },
		"fenced":  func(held ratchet.Snapshot) (ratchet.Changes, error) { return held.Fenced(ratchet.Moved), nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, newFile(t), options{})
			if err := db.RegisterNew(t.Context(), baker); err != nil {
				t.Fatal(err)
			}
			if _, err := db.Change(t.Context(), plan); err != nil {
				t.Fatal(err)
			}
			d := bytesNumber(2)
			if _, err := db.Place(block(15, 0), d, signatureOf(t, d, 1)); !errors.Is(err, ratchet.ErrRefused) {
				t.Errorf("%v, want it refused", err)
			}
			all, err := db.Tables(t.Context())
			if err != nil || len(all.Registrations) != 1 || len(all.Marks) != 0 {
				t.Errorf("%+v, %v, want the registration alone", all, err)
			}
		})
	}
}

// TestWitnessThatCannotBeWritten is given up, and removed: one that lags would vouch for what it has not seen.
// Signing goes on.
func TestWitnessThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	var lost []error
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{
		Witness: t.TempDir(), OnWitnessLost: func(cause error) { lost = append(lost, cause) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Change(t.Context(), ratchet.Registering(ratchet.Registration{Key: baker, AnyChain: true})); err != nil {
		t.Fatal(err)
	}
	file := store.SpoilWitness()
	d := bytesNumber(1)
	for level := int32(1); level < 4; level++ {
		proposal := ratchet.Proposal{Mark: block(level, 0), Digest: d.Digest(), Signature: signatureOf(t, d, 1), MaxGap: 10}
		if _, err := store.Place(t.Context(), proposal); err != nil {
			t.Errorf("level %d: %v", level, err)
		}
	}
	if len(lost) != 1 || !strings.Contains(lost[0].Error(), file) || present(t, file) {
		t.Errorf("told %v, want it once and the file %s gone", lost, file)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// TestWitnessIsWrittenAnew: it does not grow for ever, and what it holds is as it was.
func TestWitnessIsWrittenAnew(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 1)
	for level := int32(1); level <= 5000; level += 50 {
		var proposals []ratchet.Proposal
		for n := range int32(50) {
			d := bytesNumber(int(level + n))
			proposals = append(proposals, db.Proposal(block(level+n, 0), d, signatureOf(t, d, 1)))
		}
		if _, errs := db.PlaceTogether(proposals...); errors.Join(errs...) != nil {
			t.Fatal(errors.Join(errs...))
		}
	}
	lines := bytes.Count(read(t, witnessFile(t, path)), []byte("\n"))
	if lines > 4200 || lines < 3 {
		t.Errorf("the witness has %d lines", lines)
	}
	closeDB(t, db)
	if found := open(t, path, options{}).Finding(); found.Verdict != sqlite.InPlace {
		t.Errorf("found %+v", found)
	}
}

// TestWitnessFolder: a folder that is not ours alone is none.
func TestWitnessFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	made := filepath.Join(dir, "made")
	if folder, err := sqlite.LookupWitnessFolder(made); err != nil || folder != made || present(t, made) {
		t.Errorf("looked up: %s, %v", folder, err)
	}
	if folder, err := sqlite.WitnessFolder(made); err != nil || folder != made {
		t.Errorf("made: %s, %v", folder, err)
	}
	open, file, link := filepath.Join(dir, "open"), filepath.Join(dir, "file"), filepath.Join(dir, "link")
	write(t, file, nil)
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.Symlink(made, link)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{open, file, link, filepath.Join(dir, "no", "parent")} {
		if folder, err := sqlite.WitnessFolder(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %s, %v, want it refused by name", bad, folder, err)
		}
	}
	if unix.Geteuid() != 0 {
		return
	}
	if err := os.Chown(made, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.WitnessFolder(made); err != nil {
		t.Errorf("root in the folder of the service: %v", err)
	}
}

// TestNewFileKnowsNoWitness: a new file may have the inode of a former one, whose witness says nothing of it.
func TestNewFileKnowsNoWitness(t *testing.T) {
	t.Parallel()
	path := left(t, closed)
	file := witnessFile(t, path)
	text := read(t, file)
	if err := errors.Join(os.Remove(path), os.Remove(file), sqlite.Create(t.Context(), path)); err != nil {
		t.Fatal(err)
	}
	closeDB(t, open(t, path, options{}))
	was, _, _ := strings.Cut(strings.TrimPrefix(string(text), "pawl-witness 1 "), " ")
	is, _, _ := strings.Cut(strings.TrimPrefix(string(read(t, witnessFile(t, path))), "pawl-witness 1 "), " ")
	write(t, witnessFile(t, path), bytes.Replace(text, []byte(was), []byte(is), 1))
	db := open(t, path, options{})
	if found := db.Finding(); found.Verdict != sqlite.InPlace {
		t.Errorf("found %+v", found)
	}
	register(t, db, baker, mainnet, 1)
	mustSign(t, db, block(1, 0), bytesNumber(1))
}
