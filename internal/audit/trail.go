package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"pawl/internal/durable"
)

// maxWrite is about how many bytes are written at once.
const maxWrite = 1 << 20

// trail is the files that one process writes. It is not safe for concurrent use.
type trail struct {
	path    string // of the newest file
	maxSize int64
	keep    int
	rename  func(from, to string) error // os.Rename; tests kill here

	file *os.File // nil while there is none
	size int64    // of its whole lines
	torn bool     // the last write ended amid a line
	last link
}

// write writes the lines of events, and tells how many of them are written whole. The others may be written
// with another call.
func (t *trail) write(events []Event) (written int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	if err := t.ready(); err != nil {
		return 0, err
	}
	for written < len(events) && err == nil {
		lines, links := t.linesOf(events[written:])
		if len(links) == 0 {
			err = t.rotate()
			continue
		}
		n := 0
		n, err = t.file.Write(lines)
		written += t.advance(lines[:n], links)
	}
	return written, err
}

// linesOf returns the lines of as many events as have room in the file, and their links. A file that is
// empty has room for one.
func (t *trail) linesOf(events []Event) (lines []byte, links []link) {
	at := t.last
	for _, e := range events {
		more, next := appendLine(lines, e, at)
		if size := t.size + int64(len(more)); size > t.maxSize && size > int64(len(more)-len(lines)) {
			break
		}
		lines, links, at = more, append(links, next), next
		if len(lines) >= maxWrite {
			break
		}
	}
	return lines, links
}

// advance takes note of bytes that were written, and returns how many whole lines they are.
func (t *trail) advance(bytes []byte, links []link) (whole int) {
	begin := 0
	for i, b := range bytes {
		if b == '\n' {
			t.last = links[whole]
			whole++
			begin = i + 1
		}
	}
	t.size += int64(begin)
	t.torn = begin < len(bytes)
	return whole
}

// ready has a file open that ends with a whole line. One that was moved away or removed, as a program
// that rotates logs does, is replaced by a new one, and the chain goes on there.
func (t *trail) ready() error {
	if t.file != nil && !t.inPlace() {
		_ = t.file.Close()
		t.file = nil
	}
	if t.file == nil {
		return t.begin()
	}
	info, err := t.file.Stat()
	switch {
	case err != nil:
		return err
	case t.torn && info.Size() > t.size:
		err = t.file.Truncate(t.size)
	default:
		t.size = info.Size() // whatever was done to the file, which Verify tells
	}
	t.torn = t.torn && err != nil
	return err
}

// inPlace reports whether the open file still has its name.
func (t *trail) inPlace() bool {
	named, err := os.Lstat(t.path)
	if err != nil {
		return false
	}
	info, err := t.file.Stat()
	return err == nil && os.SameFile(named, info)
}

// begin makes the newest file.
func (t *trail) begin() error {
	file, err := openOwn(t.path, os.O_CREATE)
	if err != nil {
		return err
	}
	if info, err := file.Stat(); err != nil || info.Size() > 0 {
		err = errors.Join(err, fmt.Errorf("%s is the file of somebody else now: move it away", t.path))
		return errors.Join(err, file.Close())
	}
	t.file, t.size, t.torn = file, 0, false
	return nil
}

// rotate makes the newest file the newest of the older ones, and begins another. The oldest one goes if
// there would be too many. After a kill amid that a number is missing, or the newest file; no line is.
func (t *trail) rotate() error {
	if err := t.file.Sync(); err != nil {
		return err
	}
	for n := t.free(); n > 1; n-- {
		if err := t.rename(older(t.path, n-1), older(t.path, n)); err != nil {
			return err
		}
	}
	if err := t.rename(t.path, older(t.path, 1)); err != nil {
		return err
	}
	_ = t.file.Close() // it is synced
	t.file = nil
	return errors.Join(t.begin(), durable.Sync(filepath.Dir(t.path)))
}

// free is the first number that no older file has, or the last one that is kept.
func (t *trail) free() int {
	for n := 1; n < t.keep; n++ {
		if !exists(older(t.path, n)) {
			return n
		}
	}
	return t.keep
}

// close syncs and closes the file.
func (t *trail) close() error {
	if t.file == nil {
		return nil
	}
	err := errors.Join(t.file.Sync(), t.file.Close())
	t.file = nil
	return err
}
