package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// TestNoteThatCounts: a note that is whole and of this database is believed, an older pawl's too; any other says
// nothing, whatever it names.
func TestNoteThatCounts(t *testing.T) {
	t.Parallel()
	other := open(t, newFile(t), options{})
	register(t, other, baker, mainnet, 0)
	mustSign(t, other, block(9, 0), bytesNumber(0))
	foreign := read(t, other.Path()+"-last")
	summed := func(identity, words string) []byte {
		return fmt.Appendf(nil, "%-*s\n", 255, fmt.Sprintf("%s %s %08x", identity, words, crc32.ChecksumIEEE([]byte(words))))
	}
	for name, c := range map[string]struct {
		note    func(db *DB, now []byte) []byte
		refused bool
	}{
		"as it is":                        {func(_ *DB, now []byte) []byte { return now }, false},
		"an older pawl's":                 {func(db *DB, _ []byte) []byte { return db.NoteOf(block(5, 1)) }, false},
		"a higher level, an older pawl's": {func(db *DB, _ []byte) []byte { return db.NoteOf(block(6, 0)) }, true},
		"a higher round, an older pawl's": {func(db *DB, _ []byte) []byte { return db.NoteOf(block(5, 2)) }, true},
		"a lower one":                     {func(db *DB, _ []byte) []byte { return db.NoteOf(block(5, 0)) }, false},
		"of no mark":                      {func(db *DB, _ []byte) []byte { return db.NoteOf(ratchet.Mark{}) }, false},
		"of another database":             {func(*DB, []byte) []byte { return foreign }, false},
		"a higher level, the old checksum": {func(_ *DB, now []byte) []byte {
			return bytes.Replace(now, []byte(" 17 5 1 "), []byte(" 17 6 1 "), 1)
		}, false},
		"a short key": {func(_ *DB, now []byte) []byte { return summed(strings.Fields(string(now))[0], "aabb 7a06a770 17 6 0") }, false},
		"a short chain": {func(_ *DB, now []byte) []byte {
			return summed(strings.Fields(string(now))[0], fmt.Sprintf("%x 7a06 17 6 0", baker[:]))
		}, false},
		"words, not numbers": {func(_ *DB, now []byte) []byte { return summed(strings.Fields(string(now))[0], "a b c d e") }, false},
		"six words":          {func(_ *DB, now []byte) []byte { return summed(strings.Fields(string(now))[0], "a b c d") }, false},
		"no identity": {func(db *DB, _ []byte) []byte {
			return bytes.Replace(db.NoteOf(block(6, 0)), []byte("/"), []byte("-"), 1)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, newFile(t), options{})
			register(t, db, baker, mainnet, 0)
			mustSign(t, db, block(5, 1), bytesNumber(0))
			now := read(t, db.Path()+"-last")
			note := c.note(db, now)
			closeDB(t, db)
			write(t, db.Path()+"-last", note)
			if c.refused {
				wantOfTwoTimes(t, db.Path())
				return
			}
			again := open(t, db.Path(), options{})
			if marks, err := again.Marks(t.Context()); err != nil || len(marks) != 1 || marks[0].Mark != block(5, 1) {
				t.Errorf("marks %+v, %v, want the one that was signed", marks, err)
			}
		})
	}
}

// TestNoteThatCannotBeRead is an error: nobody knows what it says.
func TestNoteThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(note string) error{
		"a folder": func(note string) error { return os.Mkdir(note, 0o700) },
		"a link":   func(note string) error { return os.Symlink("elsewhere", note) },
	} {
		path := left(t, closed)
		if err := errors.Join(os.Remove(path+"-last"), spoil(path+"-last")); err != nil {
			t.Fatal(err)
		}
		_, readErr := sqlite.Read(t.Context(), path)
		db, openErr := openDB(t.Context(), path, options{})
		if openErr == nil {
			closeDB(t, db)
		}
		for what, err := range map[string]error{"Read": readErr, "Open": openErr} {
			if err == nil || !strings.Contains(err.Error(), path+"-last") {
				t.Errorf("%s, where the note is %s: %v, want an error that names it", what, name, err)
			}
		}
	}
}

// TestNoteOnAFullDisk: a note that finds no room holds up nothing; any other failure ends all.
func TestNoteOnAFullDisk(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	full, err := unix.Open("/dev/full", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("/dev/full: %v", err)
	}
	db.NoteInto(full)
	d := bytesNumber(0)
	if _, err := db.Place(block(5, 0), d, signatureOf(t, d, 0)); err != nil {
		t.Errorf("Place: %v, want it stored: only the note has no room", err)
	}
	mustSign(t, db, block(6, 0), d)
}

// TestMemoryOnlyRises: commits may reach it in any order.
func TestMemoryOnlyRises(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	register(t, db, baker, mainnet, 0)
	m := block(0, 0)
	look := func(what string, want ratchet.Mark, floor int32) {
		t.Helper()
		got, err := db.Look(t.Context(), m)
		if err != nil || got.Mark == nil || got.Mark.Mark != want || got.Floor != floor || !got.HasFloor || !got.Confined || got.Chains != 1 {
			t.Errorf("after %s: %+v, %v, want mark %+v and floor %d", what, got, err, want, floor)
		}
	}
	mustSign(t, db, m, bytesNumber(0))
	look("level 0 and round 0", m, 0)
	for _, step := range []struct{ put, want ratchet.Mark }{
		{block(5, 3), block(5, 3)},
		{block(5, 2), block(5, 3)},
		{block(4, 9), block(5, 3)},
		{block(5, 4), block(5, 4)},
	} {
		db.Remember(ratchet.StoredMark{Mark: step.put})
		look(fmt.Sprintf("level %d and round %d", step.put.Level, step.put.Round), step.want, 0)
	}
	register(t, db, baker, mainnet, 31)
	db.Opened(baker, mainnet)
	look("a chain that was open already", block(5, 4), 31)
}
