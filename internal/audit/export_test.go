package audit

import (
	"os"
	"time"
)

// What the tests reach of the package.
const (
	MaxLine   = maxLine
	MaxEvents = maxEvents
	Never     = time.Hour // a time that no test waits for
)

// OpenLate opens a trail whose events wait so long for others.
func OpenLate(path string, options Options, late time.Duration) (*Log, error) {
	return open(path, options, late, os.Rename)
}

// OpenRenaming opens a trail whose files are renamed by that function.
func OpenRenaming(path string, options Options, rename func(from, to string) error) (*Log, error) {
	return open(path, options, lateTime, rename)
}

// Write has the events that wait written now.
func (l *Log) Write() {
	select {
	case l.urgent <- struct{}{}:
	default:
	}
}

// Waiting is how many events wait.
func (l *Log) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) + l.taken
}

// VerifyKept is Verify of a trail with so many older files.
func VerifyKept(path, from string, keep int) (Result, error) { return verify(Path(path), from, keep) }

// LineOf is the line of an event that is the first one, without its newline.
func LineOf(e Event) []byte {
	line, _ := appendLine(nil, e.bounded(), link{})
	return line[:len(line)-1]
}
