package fault_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// logTrouble is what becomes of the log of a daemon.
type logTrouble struct {
	name string
	// open returns where the daemon writes its log, and what makes the trouble once it listens.
	open func(t *testing.T) (stderr *os.File, begin func())
	// limit is that of the size of a file that the daemon writes, in MiB; 0 is none.
	limit int
	// slow: the log takes some lines, so that the queue has to be filled before one is dropped.
	slow bool
}

var logTroubles = []logTrouble{
	{name: "its reader stops", open: readerStops, slow: true},
	{name: "its reader goes away", open: readerGoes},
	{name: "its reader is slow", open: readerIsSlow, slow: true},
	{name: "its disk is full", open: diskIsFull},
	{name: "its file is as large as it may be", open: fileIsLarge, limit: fileLimit},
}

// fileLimit is more than a ratchet needs, in MiB.
const fileLimit = 64

// pipe returns both ends of a pipe that holds little.
func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = read.Close(), write.Close() })
	if _, err := unix.FcntlInt(write.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()); err != nil {
		t.Fatal(err)
	}
	return read, write
}

func readerStops(t *testing.T) (*os.File, func()) {
	t.Helper()
	_, write := pipe(t)
	return write, func() {}
}

func readerGoes(t *testing.T) (*os.File, func()) {
	t.Helper()
	read, write := pipe(t)
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, read)
		close(gone)
	}()
	return write, func() {
		_ = write.Close() // ours
		if err := read.SetReadDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		<-gone
		_ = read.Close()
	}
}

// readerIsSlow reads a line a second, more or less.
func readerIsSlow(t *testing.T) (*os.File, func()) {
	t.Helper()
	read, write := pipe(t)
	go func() {
		buffer := make([]byte, 50)
		for {
			if _, err := read.Read(buffer); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	return write, func() {}
}

func diskIsFull(t *testing.T) (*os.File, func()) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("no disk that is always full here: %v", err)
	}
	t.Cleanup(func() { _ = full.Close() })
	return full, func() {}
}

func fileIsLarge(t *testing.T) (*os.File, func()) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if err := file.Truncate(fileLimit<<20 - 600); err != nil { // has room for a line or two
		t.Fatal(err)
	}
	return file, func() {}
}
