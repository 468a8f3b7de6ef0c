package audit_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pawl/internal/audit"
)

// linesOf are the lines of a file, with their newlines.
func linesOf(t *testing.T, path string) (lines [][]byte) {
	t.Helper()
	return slices.Collect(bytes.Lines(read(t, path)))
}

// damagedTrail makes a trail of seven lines in one file, and changes them.
func damagedTrail(t *testing.T, change func(lines [][]byte) [][]byte) string {
	t.Helper()
	path := newRatchet(t)
	session(t, path, audit.Options{}, 5)
	write(t, audit.Path(path), bytes.Join(change(linesOf(t, audit.Path(path))), nil))
	return path
}

// TestVerifyTells the first line that does not fit, and how.
func TestVerifyTells(t *testing.T) {
	t.Parallel()
	replaced := func(line int, from, to string) func([][]byte) [][]byte {
		return func(lines [][]byte) [][]byte {
			if lines[line-1] = bytes.Replace(lines[line-1], []byte(from), []byte(to), 1); !bytes.Contains(lines[line-1], []byte(to)) {
				panic(from)
			}
			return lines
		}
	}
	text := func(line int, text string) func([][]byte) [][]byte {
		return func(lines [][]byte) [][]byte { lines[line-1] = []byte(text); return lines }
	}
	for what, c := range map[string]struct {
		change func(lines [][]byte) [][]byte
		line   int
		fault  audit.Fault
		text   string
	}{
		"changed":       {replaced(4, `"level":2`, `"level":3`), 4, audit.Changed, "line 5 tells"},
		"changed first": {replaced(1, `"start"`, `"stop"`), 1, audit.Changed, "line 2 tells"},
		"changed seq":   {replaced(4, `"seq":4`, `"seq":9`), 4, audit.Changed, "it follows seq 3 and says that it is 9"},
		"changed space": {replaced(4, `,"level"`, `, "level"`), 4, audit.Changed, "line 5 tells"},
		"changed prev":  {replaced(4, `"prev":"`, `"prev":"0000`), 4, audit.NotALine, "seq, prev and event"},
		"first prev":    {replaced(1, `"prev":"0000`, `"prev":"0001`), 1, audit.Changed, "tells of one before it"},
		"removed":       {func(l [][]byte) [][]byte { return slices.Delete(l, 3, 5) }, 4, audit.Removed, "seq 6 comes after 3"},
		"removed two of three": {
			func(l [][]byte) [][]byte { return slices.Delete(l, 4, 6) }, 5, audit.Removed, "seq 7 comes after 4",
		},
		"removed first": {func(l [][]byte) [][]byte { return l[1:] }, 1, audit.Removed, "begins with seq 2"},
		"only the last": {func(l [][]byte) [][]byte { return l[6:] }, 1, audit.Removed, "begins with seq 7"},
		"swapped":       {func(l [][]byte) [][]byte { l[2], l[3] = l[3], l[2]; return l }, 3, audit.Reordered, "seq 4 comes after 2"},
		"swapped far":   {func(l [][]byte) [][]byte { l[1], l[5] = l[5], l[1]; return l }, 2, audit.Reordered, "seq 6 comes after 1"},
		"swapped first": {func(l [][]byte) [][]byte { l[0], l[1] = l[1], l[0]; return l }, 1, audit.Reordered, "seq 2"},
		"swapped last":  {func(l [][]byte) [][]byte { l[5], l[6] = l[6], l[5]; return l }, 6, audit.Reordered, "seq 7 comes after 5"},
		"repeated":      {func(l [][]byte) [][]byte { return slices.Insert(l, 4, l[3]) }, 5, audit.Reordered, "seq 4 comes after 4"},
		"not JSON":      {text(3, "never\n"), 3, audit.NotALine, "JSON object"},
		"empty":         {text(3, "\n"), 3, audit.NotALine, "JSON object"},
		"no seq":        {text(3, `{"prev":"","event":"stop"}`+"\n"), 3, audit.NotALine, "JSON object"},
		"no event":      {replaced(3, `"event"`, `"evens"`), 3, audit.NotALine, "JSON object"},
		"too long":      {text(3, strings.Repeat("a", 5000)+"\n"), 3, audit.NotALine, "5001 bytes"},
		"just too long": {text(3, strings.Repeat("a", audit.MaxLine)+"\n"), 3, audit.NotALine, "4097 bytes"},
		"removed, then not JSON": {
			func(l [][]byte) [][]byte { return [][]byte{l[0], l[3], []byte("never\n"), l[4]} }, 2, audit.Removed, "seq 4 comes after 1",
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := damagedTrail(t, c.change)
			result, err := audit.Verify(path, "")
			d := result.Damage
			if err != nil || d == nil || d.Line != c.line || d.Fault != c.fault || !strings.Contains(d.Text, c.text) ||
				d.File != audit.Path(path) {
				t.Errorf("%v, %v, want line %d %s: %s", d, err, c.line, c.fault, c.text)
			}
			if result.Lines != uint64(c.line-1) || result.Last != uint64(c.line-1) {
				t.Errorf("%d lines fit, the last one seq %d, want all before line %d", result.Lines, result.Last, c.line)
			}
		})
	}
}

// TestVerifyTellsOfFiles: damage where one file ends and another begins.
func TestVerifyTellsOfFiles(t *testing.T) {
	t.Parallel()
	spliced := func(end string) func(path string) error {
		return func(path string) error {
			text, err := os.ReadFile(path + ".2")
			return errors.Join(err, os.WriteFile(path+".2", append(text[:len(text)-2], end...), 0o600))
		}
	}
	for what, c := range map[string]struct {
		change func(path string) error
		file   string
		last   bool // the last line of the file, else the first
		fault  audit.Fault
	}{
		"removed file":   {func(p string) error { return os.Remove(p + ".2") }, ".1", false, audit.Removed},
		"removed oldest": {func(p string) error { return os.Remove(p + ".3") }, ".2", false, audit.Removed},
		"swapped files": {func(p string) error {
			return errors.Join(os.Rename(p+".2", p+".x"), os.Rename(p+".1", p+".2"), os.Rename(p+".x", p+".1"))
		}, ".2", false, audit.Reordered},
		"changed last line":   {spliced(" }\n"), ".2", true, audit.Changed},
		"cut file":            {spliced("}"), ".2", true, audit.NotALine},
		"swapped with newest": {func(p string) error { return os.Rename(p, p+".9") }, ".9", false, audit.Reordered},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := newRatchet(t)
			session(t, path, audit.Options{MaxSize: 1200}, 10)
			if err := c.change(audit.Path(path)); err != nil {
				t.Fatal(err)
			}
			line := 1
			if c.last {
				line = len(linesOf(t, audit.Path(path)+c.file))
			}
			result, err := audit.Verify(path, "")
			if d := result.Damage; err != nil || d == nil || d.File != audit.Path(path)+c.file || d.Line != line || d.Fault != c.fault {
				t.Errorf("%v, %v, want %s line %d %s", d, err, c.file, line, c.fault)
			}
		})
	}
}

// TestVerifyReadsFilesAlone: a folder, a link or a pipe of such a name is an error, and is not waited for.
func TestVerifyReadsFilesAlone(t *testing.T) {
	t.Parallel()
	for want, make := range map[string]func(path string) error{
		"not a regular file":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"not a regular file: mov": func(path string) error { return os.Mkdir(path, 0o700) },
		"symbolic link":           func(path string) error { return os.Symlink("ratchet.db-audit", path) },
	} {
		path := newRatchet(t)
		session(t, path, audit.Options{}, 1)
		if err := make(audit.Path(path) + ".1"); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.Verify(path, ""); err == nil || !strings.Contains(err.Error(), "-audit.1") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestVerifyNotes: it keeps a hundred and counts the others.
func TestVerifyNotes(t *testing.T) {
	t.Parallel()
	path := newRatchet(t)
	l := open(t, path, audit.Options{})
	for range 150 {
		l.Add(audit.Event{Name: audit.Dropped, Count: 3})
	}
	closeLog(t, l)
	result := fits(t, path, 152)
	if len(result.Notes) != 100 || result.More != 50 || result.Notes[99].Line != 101 || result.Notes[0].Text != "3 events were dropped" {
		t.Errorf("%d notes and %d more, the last %+v", len(result.Notes), result.More, result.Notes[99])
	}
}

// TestVerifyTakesNoMemory for a line, however long it is. It runs alone, to measure.
func TestVerifyTakesNoMemory(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	path := newRatchet(t)
	session(t, path, audit.Options{}, 1)
	const long = 256 << 20
	if err := os.Truncate(audit.Path(path), long); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	result := fits(t, path, 3)
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 1<<20 {
		t.Errorf("%d bytes of memory for a line of %d, want few", taken, long)
	}
	if len(result.Notes) != 1 || result.Notes[0].Line != 4 {
		t.Errorf("notes %+v, want that of the end", result.Notes)
	}
}

// TestAnyChangeIsFound: after one change at random to the files of a trail at random, Verify tells damage. It
// does not if the change was at the very end: then there is a note, or the last hash is another.
func TestAnyChangeIsFound(t *testing.T) {
	t.Parallel()
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	for range rounds {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 0))
		path := randomTrail(t, r)
		before := fits(t, path, int(mustVerify(t, path).Lines))
		change := changes[r.IntN(len(changes))]
		file := before.Files[r.IntN(len(before.Files))]
		lines := linesOf(t, file)
		at := r.IntN(len(lines))
		changed := change.change(r, slices.Clone(lines), at)
		if bytes.Equal(bytes.Join(changed, nil), bytes.Join(lines, nil)) {
			continue
		}
		write(t, file, bytes.Join(changed, nil))
		after := mustVerify(t, path)
		// The last line, or with one that is missing the last two.
		atEnd := file == audit.Path(path) && at == len(lines)-1 || change.cuts && file == audit.Path(path)
		if after.Damage == nil && (!atEnd || after.Hash == before.Hash) {
			t.Errorf("seed %d: %s of %s line %d was not found: %+v", seed, change.name, file, at+1, after)
		}
		if change.cuts && file == audit.Path(path) && (after.Damage != nil || len(after.Notes) <= len(before.Notes)) {
			t.Errorf("seed %d: a cut at line %d: %v, %+v, want a note alone", seed, at+1, after.Damage, after.Notes)
		}
	}
}

func mustVerify(t *testing.T, path string) audit.Result {
	t.Helper()
	result, err := audit.Verify(path, "")
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// randomTrail makes a trail of one session or several, in one file or several.
func randomTrail(t *testing.T, r *rand.Rand) string {
	t.Helper()
	path := newRatchet(t)
	options := audit.Options{MaxSize: int64(2000 + r.IntN(8000))}
	for range 1 + r.IntN(3) {
		l := open(t, path, options)
		for range r.IntN(12) {
			e := signed(r.IntN(1000))
			e.Detail = strings.Repeat("d", r.IntN(300))
			e.Name = []audit.Name{audit.Signed, audit.Refused, audit.Register, audit.Fence}[r.IntN(4)]
			l.Add(e)
		}
		closeLog(t, l)
	}
	return path
}

// changes are the ways to change the lines of a file at one of them.
var changes = []struct {
	name   string
	cuts   bool // the end of the file off
	change func(r *rand.Rand, lines [][]byte, at int) [][]byte
}{
	{"a byte", false, func(r *rand.Rand, lines [][]byte, at int) [][]byte {
		lines[at] = bytes.Clone(lines[at])
		lines[at][r.IntN(len(lines[at])-1)] ^= byte(1 << r.IntN(8))
		return lines
	}},
	{"a byte added", false, func(r *rand.Rand, lines [][]byte, at int) [][]byte {
		lines[at] = slices.Insert(bytes.Clone(lines[at]), r.IntN(len(lines[at])), byte(r.IntN(256)))
		return lines
	}},
	{"a byte removed", false, func(r *rand.Rand, lines [][]byte, at int) [][]byte {
		i := r.IntN(len(lines[at]) - 1)
		lines[at] = slices.Delete(bytes.Clone(lines[at]), i, i+1)
		return lines
	}},
	{"a line removed", false, func(_ *rand.Rand, lines [][]byte, at int) [][]byte { return slices.Delete(lines, at, at+1) }},
	{"a line repeated", false, func(_ *rand.Rand, lines [][]byte, at int) [][]byte {
		return slices.Insert(lines, at, lines[at])
	}},
	{"a line moved", false, func(r *rand.Rand, lines [][]byte, at int) [][]byte {
		line := lines[at]
		lines = slices.Delete(lines, at, at+1)
		return slices.Insert(lines, r.IntN(len(lines)+1), line)
	}},
	{"lines swapped", false, func(r *rand.Rand, lines [][]byte, at int) [][]byte {
		with := r.IntN(len(lines))
		lines[at], lines[with] = lines[with], lines[at]
		return lines
	}},
	{"a line of its own", false, func(_ *rand.Rand, lines [][]byte, at int) [][]byte {
		return slices.Insert(lines, at, []byte(`{"seq":1,"prev":"`+zeros+`","event":"stop"}`+"\n"))
	}},
	{"a cut", true, func(r *rand.Rand, lines [][]byte, at int) [][]byte {
		lines = lines[:at+1]
		lines[at] = lines[at][:1+r.IntN(len(lines[at])-1)]
		return lines
	}},
}
