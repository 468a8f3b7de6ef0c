package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

//go:embed preload/syncs.c
var syncsSource []byte

// buildSyncs compiles the library that counts fsyncs into dir.
func buildSyncs(ctx context.Context, dir string) (library string, err error) {
	source := filepath.Join(dir, "syncs.c")
	library = filepath.Join(dir, "syncs.so")
	if err := os.WriteFile(source, syncsSource, 0o600); err != nil {
		return "", err
	}
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "gcc"
	}
	cmd := exec.CommandContext(ctx, compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl") //nolint:gosec // Go's C compiler
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compiling the fsync counter: %v: %s", err, out)
	}
	return library, nil
}

// syncs is the memory that one process and its counter share.
type syncs struct {
	path string
	mem  []byte
}

const syncsSize = 16 // two 64-bit numbers

func newSyncs(path string) (*syncs, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // in the folder of this run
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the mapping stays
	if err := file.Truncate(syncsSize); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(file.Fd()), 0, syncsSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &syncs{path, mem}, nil
}

func (s *syncs) word(n int) *uint64 { return (*uint64)(unsafe.Pointer(&s.mem[8*n])) } //nolint:gosec // page-aligned

// calls is how many syncs there were.
func (s *syncs) calls() uint64 { return atomic.LoadUint64(s.word(0)) }

// slow makes each sync from now on take so much longer.
func (s *syncs) slow(delay time.Duration) { atomic.StoreUint64(s.word(1), uint64(delay)) } //nolint:gosec // above 0

func (s *syncs) environment(library string) []string {
	return append(os.Environ(), "LD_PRELOAD="+library, "PAWL_BENCH_SYNCS="+s.path)
}
