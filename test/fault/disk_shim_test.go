package fault_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioFault is an order for preload/ioerror.c.
type ioFault struct {
	name         string
	calls, files int64
	errno        syscall.Errno
	torn         bool  // a write that fails has written its first half
	times        int64 // how many calls fail
}

// The calls and files of ioerror.c.
const (
	callWrite, callSync, callTruncate, callRead = 1, 2, 4, 8
	fileWAL, fileDatabase, fileOther            = 1, 2, 4

	anyCall = callWrite | callSync | callTruncate | callRead
	anyFile = fileWAL | fileDatabase | fileOther

	always = 1 << 62
)

// ioShim is the library and the memory that it shares with this process.
type ioShim struct {
	library, path string
	mem           []byte
}

// newIOShim compiles the library.
func newIOShim(t *testing.T) *ioShim {
	t.Helper()
	dir := t.TempDir()
	s := &ioShim{library: filepath.Join(dir, "ioerror.so"), path: filepath.Join(dir, "order")}
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "gcc"
	}
	out, err := exec.Command(compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", s.library, "preload/ioerror.c", "-ldl").CombinedOutput()
	if err != nil {
		t.Fatalf("compiling ioerror.c: %v\n%s", err, out)
	}
	const size = 8 * 8 // eight numbers of 64 bits
	if err := os.WriteFile(s.path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // the mapping stays
	if s.mem, err = unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(s.mem) })
	return s
}

func (s *ioShim) word(n int) *int64 { return (*int64)(unsafe.Pointer(&s.mem[8*n])) } // a page begins there

// arm returns the order: the calls after the next skip ones fail.
func (s *ioShim) arm(f ioFault, skip int) {
	s.disarm()
	torn := int64(0)
	if f.torn {
		torn = 1
	}
	for i, n := range []int64{f.files, int64(f.errno), int64(skip), f.times, torn, 0, 0} {
		atomic.StoreInt64(s.word(1+i), n)
	}
	atomic.StoreInt64(s.word(0), f.calls)
}

func (s *ioShim) disarm() { atomic.StoreInt64(s.word(0), 0) }

// seen is how many calls the order was for, and hits how many of them failed.
func (s *ioShim) seen() int { return int(atomic.LoadInt64(s.word(6))) }
func (s *ioShim) hits() int { return int(atomic.LoadInt64(s.word(7))) }

func (s *ioShim) environment() []string {
	return append(os.Environ(), "LD_PRELOAD="+s.library, "PAWL_FAULT_IO="+s.path)
}
