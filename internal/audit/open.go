package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// searched is how many bytes from the end of a file its last whole line is searched for. What a power cut
	// leaves unfinished is at most one write.
	searched = 4 * maxWrite
	chunk    = 16 * maxLine

	// notClosed is the reason of a Start after anything but Stop.
	notClosed = "not closed"
	// reasonDamaged is the reason of a Cut after which the trail begins anew.
	reasonDamaged = "damaged"
)

// end is the end of a file.
type end struct {
	link        // of its last whole line; seq 0: there is none
	closed bool // that line says Stop
	size   int64
	rest   int64 // bytes after that line
}

// open finds the end of the trail and makes it whole. It returns the events that tell of that, the last of
// which is Start. After an error it may be called again.
func (t *trail) open() (tell []Event, err error) {
	file, err := openOwn(t.path, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	found, in, err := t.end(file)
	var moved string
	if errors.Is(err, errNotLine) {
		moved = aside(t.path, asides(t.path)+1)
		if err = errors.Join(file.Close(), t.rename(in, moved)); err == nil {
			file, err = openOwn(t.path, os.O_CREATE)
		}
	}
	if err == nil && found.rest > 0 {
		err = file.Truncate(found.size)
	}
	if err != nil {
		return nil, errors.Join(err, closeOpen(file))
	}
	t.file, t.size, t.last = file, found.size, found.link
	return opening(found, in, moved), nil
}

func closeOpen(file *os.File) error {
	if file == nil {
		return nil
	}
	if err := file.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

// opening is what an opening tells: what was cut off, or moved aside, and whether lines may be missing.
func opening(found end, in, moved string) (tell []Event) {
	start := Event{Name: Start}
	if found.seq > 0 && !found.closed || found.rest > 0 || moved != "" {
		start.Reason, start.Detail = notClosed, "the trail was not closed: lines may be missing"
	}
	switch {
	case moved != "":
		tell = append(tell, Event{Name: Cut, Reason: reasonDamaged, Detail: fmt.Sprintf(
			"%s does not end with a line of a trail: it is %s now, and the trail begins anew", filepath.Base(in), filepath.Base(moved))})
	case found.rest > 0:
		tell = append(tell, Event{Name: Cut, Reason: "incomplete", Count: uint64(found.rest)})
	}
	return append(tell, start)
}

// end finds the last whole line of the trail, in the newest file or, if that has none, the newest of the older
// ones. It returns the name of the file, also if the line is no line of a trail.
func (t *trail) end(file *os.File) (found end, in string, err error) {
	found, err = endOf(file)
	if err != nil || found.seq > 0 {
		return found, t.path, err
	}
	before, err := numbers(t.path)
	if err != nil || len(before) == 0 {
		return found, t.path, err
	}
	in = older(t.path, before[0])
	last, err := endAt(in)
	found.link, found.closed = last.link, last.closed
	if err == nil && last.seq == 0 {
		err = errNotLine
	}
	return found, in, err
}

func endAt(path string) (end, error) {
	file, err := openFile(path, unix.O_RDONLY)
	if err != nil {
		return end{}, err
	}
	defer file.Close() //nolint:errcheck // only read
	return endOf(file)
}

// endOf finds the last whole line of a file, reading no more of it than its end. The error is errNotLine if
// that is no line of a trail.
func endOf(file *os.File) (found end, err error) {
	info, err := file.Stat()
	if err != nil {
		return found, err
	}
	found.size, err = lineEnd(file, info.Size())
	found.rest = info.Size() - found.size
	if err != nil || found.size == 0 {
		return found, err
	}
	line, err := lineBefore(file, found.size)
	if err != nil {
		return end{}, err
	}
	p, err := parseLine(line)
	if err != nil {
		return end{}, err
	}
	found.link, found.closed = link{p.seq, hashOf(line)}, p.name == Stop
	return found, nil
}

// lineEnd returns where the last whole line ends, 0 for none.
func lineEnd(file io.ReaderAt, size int64) (int64, error) {
	var buffer [chunk]byte
	for at := size; at > 0 && size-at < searched; {
		begin := max(0, at-chunk)
		part := buffer[:at-begin]
		if _, err := file.ReadAt(part, begin); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return begin + int64(i) + 1, nil
		}
		at = begin
	}
	if size > searched {
		return 0, errNotLine
	}
	return 0, nil
}

// lineBefore returns the line that ends there, without its newline.
func lineBefore(file io.ReaderAt, lineEnd int64) ([]byte, error) {
	begin := max(0, lineEnd-maxLine-1)
	part := make([]byte, lineEnd-1-begin)
	if _, err := file.ReadAt(part, begin); err != nil {
		return nil, err
	}
	i := bytes.LastIndexByte(part, '\n')
	if i < 0 && begin > 0 {
		return nil, errNotLine
	}
	return part[i+1:], nil
}

// isRoom reports whether the disk is the trouble: it is full, or takes no writes.
func isRoom(err error) bool {
	for _, no := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// inLine is an error's text in one line.
func inLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
