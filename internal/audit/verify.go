package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Fault says what does not fit in a chain.
type Fault string

// The faults.
const (
	Changed   Fault = "changed"   // the line does not have the hash that the next one tells, or a number of its own
	Removed   Fault = "removed"   // lines are missing before it
	Reordered Fault = "reordered" // it is not where it was written
	NotALine  Fault = "not JSON"  // or without number and hash, or longer than any line of a trail
)

// DamageError is the first line of a trail that does not fit.
type DamageError struct {
	File  string
	Line  int // in the file, from 1
	Fault Fault
	Text  string
}

func (d *DamageError) Error() string {
	return fmt.Sprintf("%s line %d: %s: %s", d.File, d.Line, d.Fault, d.Text)
}

// Note is something that may be as it should.
type Note struct {
	File string
	Line int // 0: about the whole file
	Text string
}

// String is one line.
func (n Note) String() string {
	if n.Line == 0 {
		return fmt.Sprintf("%s: %s", n.File, n.Text)
	}
	return fmt.Sprintf("%s line %d: %s", n.File, n.Line, n.Text)
}

// Result is what Verify found, up to the first line that does not fit.
type Result struct {
	Files []string // the oldest first
	Lines uint64
	First uint64 // the number of the first line
	Last  uint64 // that of the last one
	Hash  string // that of the last line
	Notes []Note // the first 100
	More  int    // notes left out

	Damage *DamageError // nil: all fits
}

const maxNotes = 100

// Verify reads the trail of the ratchet at path, oldest file first, or from one of its files on if from is
// not empty, and tells the first line that does not fit. It may be called beside the process that writes. It
// takes no more memory than a line, however long the lines are. The error is about reading, and
// fs.ErrNotExist if there is no trail.
//
// A last line that is incomplete, an end without Stop, and the first lines that a rotation has removed are
// no damage, but notes. A trail that begins amid the chain is damage, unless there are so many files that the
// rotation has removed some, or from is given.
//
// A chain without a secret shows damage and careless edits. Whoever can write the files can write them anew,
// and cut off their end: compare Last and Hash with what was kept elsewhere.
func Verify(path, from string) (Result, error) { return verify(Path(path), from, defaultKeep) }

func verify(path, from string, keep int) (result Result, err error) {
	files, err := openAll(path)
	if err != nil {
		return result, err
	}
	defer closeAll(files)
	skip, err := indexOf(files, path, from)
	if err != nil {
		return result, err
	}
	v := verifier{amid: from != "" || exists(older(path, keep))}
	for i, f := range files[skip:] {
		v.result.Files = append(v.result.Files, f.Name())
		if v.result.Damage != nil {
			continue
		}
		if err := v.file(f, i == len(files[skip:])-1); err != nil {
			return result, err
		}
	}
	v.end(path)
	return v.result, nil
}

// openAll opens all files of a trail, the oldest first. A rotation amid that would show one twice, or not at
// all: then it opens them again.
func openAll(path string) ([]*os.File, error) {
	const attempts = 10
	for range attempts {
		files, err := openOnce(path)
		if err == nil && areAll(files, path) {
			return files, nil
		}
		closeAll(files)
		switch {
		case err == nil:
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		case !hasFiles(path):
			return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
	}
	return nil, fmt.Errorf("%s is rotated all the time", path)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // only read
	}
}

func openOnce(path string) (files []*os.File, err error) {
	names, err := names(path)
	for _, name := range names {
		file, err := openFile(name, unix.O_RDONLY)
		if err != nil {
			return files, err
		}
		files = append(files, file)
	}
	return files, err
}

// names lists the files of a trail, the oldest first.
func names(path string) (names []string, err error) {
	found, err := numbers(path)
	if err != nil {
		return nil, err
	}
	for _, n := range slices.Backward(found) {
		names = append(names, older(path, n))
	}
	if exists(path) {
		names = append(names, path)
	}
	if names == nil {
		err = fs.ErrNotExist
	}
	return names, err
}

func hasFiles(path string) bool {
	_, err := names(path)
	return err == nil
}

// areAll reports whether the open files are still those with their names, and there are no others.
func areAll(files []*os.File, path string) bool {
	names, err := names(path)
	if err != nil || len(names) != len(files) {
		return false
	}
	for i, name := range names {
		named, errNamed := os.Lstat(name)
		info, err := files[i].Stat()
		if err != nil || errNamed != nil || files[i].Name() != name || !os.SameFile(named, info) {
			return false
		}
	}
	return true
}

// indexOf returns which of the files has that name, the first one for none.
func indexOf(files []*os.File, path, name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	wanted, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	for i, f := range files {
		if info, err := f.Stat(); err == nil && os.SameFile(info, wanted) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%s is no file of the trail %s", name, path)
}

// verifier checks line after line.
type verifier struct {
	amid   bool // the trail may begin amid the chain
	result Result
	at     DamageError // the file and line that are read
	before DamageError // those of the line before
	last   link
	prior  link         // the one before
	closed bool         // the last line says Stop
	leap   *DamageError // a line with a higher number than it should have; those missing may come later
}

// file checks a file. Only the last one may end amid a line.
func (v *verifier) file(f *os.File, isLast bool) error {
	v.at = DamageError{File: f.Name()}
	lines := bufio.NewReaderSize(f, maxLine)
	for v.result.Damage == nil {
		line, length, err := nextLine(lines)
		v.at.Line++
		switch {
		case errors.Is(err, io.EOF) && length == 0:
			return nil
		case errors.Is(err, io.EOF) && isLast:
			v.note("ends with %d bytes that are no whole line: they were being written, or cut off", length)
			return nil
		case errors.Is(err, io.EOF):
			v.damage(NotALine, "it has no end")
		case err != nil:
			return err
		case line == nil:
			v.damage(NotALine, "%d bytes, and a line has %d at most", length, maxLine)
		default:
			v.line(line)
		}
	}
	return nil
}

// nextLine reads a line and returns it without its newline, nil if it is longer than maxLine. The error is
// io.EOF for a line, of some bytes or none, that has no newline.
func nextLine(r *bufio.Reader) (line []byte, length int64, err error) {
	line, err = r.ReadSlice('\n')
	length = int64(len(line))
	if err == nil {
		return line[:len(line)-1], length, nil
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.ReadSlice('\n')
		length += int64(len(line))
	}
	return nil, length, err
}

// line checks a whole line.
func (v *verifier) line(line []byte) {
	p, err := parseLine(line)
	if err != nil {
		v.damage(NotALine, "it is not a JSON object with seq, prev and event")
		return
	}
	if v.leap != nil {
		if p.seq == v.last.seq+1 { // what is missing there is here
			v.leap.Fault = Reordered
			v.result.Damage = v.leap
		}
		return
	}
	if v.check(p); v.result.Damage != nil || v.leap != nil {
		return
	}
	v.result.Lines++
	v.prior, v.last, v.before = v.last, link{p.seq, hashOf(line)}, v.at
	v.closed = p.name == Stop
	v.tell(p)
}

// check checks the chain up to a line.
func (v *verifier) check(p parsed) {
	if v.result.Lines == 0 {
		v.first(p)
		return
	}
	fits := p.prev == v.last.hash
	switch {
	case p.seq == v.last.seq+1 && fits:
	case p.seq == v.last.seq+1:
		v.changedBefore()
	case fits:
		v.damage(Changed, "it follows seq %d and says that it is %d", v.last.seq, p.seq)
	case p.seq <= v.last.seq && p.name == Cut && p.reason == reasonDamaged && p.seq == 1:
		v.damage(Removed, "the trail begins anew after seq %d: %s; --from %s checks from here on", v.last.seq, p.detail, v.at.File)
	case p.seq <= v.last.seq:
		v.damage(Reordered, "seq %d comes after %d", p.seq, v.last.seq)
	default:
		leap := v.at
		leap.Fault = Removed
		leap.Text = fmt.Sprintf("seq %d comes after %d", p.seq, v.last.seq)
		v.leap = &leap
	}
}

// changedBefore says that the line before was changed: this one does not tell its hash.
func (v *verifier) changedBefore() {
	damage := v.before
	damage.Fault = Changed
	damage.Text = fmt.Sprintf("it has not the hash that %s line %d tells of it", filepath.Base(v.at.File), v.at.Line)
	v.result.Damage = &damage
	v.result.Lines--
	v.last = v.prior
}

// first checks the first line.
func (v *verifier) first(p parsed) {
	v.result.First = p.seq
	switch {
	case p.seq == 1 && p.prev != hash{}:
		v.damage(Changed, "it is the first line and tells of one before it")
	case p.seq > 1 && !v.amid:
		v.leap = &DamageError{
			File: v.at.File, Line: v.at.Line, Fault: Removed,
			Text: fmt.Sprintf("the trail begins with seq %d; if older files were put elsewhere: --from %s", p.seq, v.at.File),
		}
	case p.seq > 1:
		v.note("begins with seq %d: what was before is not here", p.seq)
	}
}

// tell notes what the trail says of itself.
func (v *verifier) tell(p parsed) {
	switch {
	case p.name == Start && p.reason == notClosed:
		v.note("%s", p.detail)
	case p.name == Dropped:
		v.note("%d events were dropped", p.count)
	case p.name == Cut && p.count > 0:
		v.note("%d bytes that were no whole line were cut off", p.count)
	case p.name == Cut:
		v.note("%s", p.detail)
	}
}

// end is called after the last file.
func (v *verifier) end(path string) {
	if v.result.Damage == nil {
		v.result.Damage = v.leap
	}
	v.result.Last, v.result.Hash = v.last.seq, v.last.hash.String()
	if v.result.Damage == nil && !v.closed {
		v.at = v.before
		v.note("does not end with stop: it is in use, or was not closed and may lack its last lines")
	}
	if n := asides(path); n > 0 {
		v.at = DamageError{File: path}
		v.note("%d damaged files were moved aside, to %s and so on, and are not checked", n, filepath.Base(aside(path, 1)))
	}
}

// damage says what does not fit, unless the line before did not.
func (v *verifier) damage(fault Fault, format string, args ...any) {
	if v.leap != nil {
		v.result.Damage = v.leap
		return
	}
	damage := v.at
	damage.Fault, damage.Text = fault, fmt.Sprintf(format, args...)
	v.result.Damage = &damage
}

func (v *verifier) note(format string, args ...any) {
	if len(v.result.Notes) == maxNotes {
		v.result.More++
		return
	}
	v.result.Notes = append(v.result.Notes, Note{v.at.File, v.at.Line, fmt.Sprintf(format, args...)})
}
