package fault_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// onTmpfs fills a small file system, and makes it read-only.
func onTmpfs(t *testing.T, pawl string, shim *ioShim, random *rand.Rand) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("pawl-test", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m"); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	s := newDiskStand(t, pawl, dir, shim, random)
	s.fullWhileRunning(t, "full tmpfs")
	s.fullWhileStopped(t, "full tmpfs")

	d := s.serve(t)
	step := s.signs(t, d)
	if err := remountReadOnly(dir); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("read-only remount under a daemon: %v, want %v from the kernel", err, syscall.EBUSY)
	}
	d.end(t, s.random.IntN(2) == 0)
	must(t, remountReadOnly(dir))
	s.refuses(t, s.config(), "read-only file system")
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, ""))
	d = s.serve(t)
	s.answersFor(t, d, step)
	s.counts("read-only file system", "refused to start; writable again, the next start served what was released")
	d.end(t, true)
	s.count(t)
}

func remountReadOnly(dir string) error {
	return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

// fullWhileRunning leaves a daemon less and less room: what it cannot store it refuses,
// and it goes on by itself when there is room again.
func (s *diskStand) fullWhileRunning(t *testing.T, name string) {
	t.Helper()
	d := s.serve(t)
	s.signs(t, d)
	s.fill(t)
	var step []answer
	refused := 0
	for steps := 0; refused == 0 && steps < 100; steps++ {
		step = s.ask(d, s.asks())
		for _, a := range step {
			switch {
			case a.notStored():
				refused++
			case a.status != http.StatusOK && !a.hsmFailed():
				t.Errorf("%s: %v, want a signature or 500 and that nothing was signed", name, a)
			}
		}
	}
	if refused == 0 {
		t.Fatalf("%s: nothing was refused in 100 steps", name)
	}
	d.becomes(t, http.StatusServiceUnavailable)
	s.empty(t)
	d.becomes(t, http.StatusOK)
	s.answersFor(t, d, step)
	step = s.signs(t, d)
	d.kill()
	d = s.serve(t)
	s.answersFor(t, d, step)
	s.counts(name, "refused and not ready, then ready again without a restart")
	d.kill()
}

// fullWhileStopped has a daemon start on a disk without room.
func (s *diskStand) fullWhileStopped(t *testing.T, name string) {
	t.Helper()
	d := s.serve(t)
	step := s.signs(t, d)
	d.end(t, s.random.IntN(2) == 0)
	s.fill(t)
	d, serves := s.launch(t, s.config())
	outcome := "refused to start; with room the next start served what was released"
	if serves { // there was room enough in the last block
		outcome = "started all the same, and so did the next"
		d.kill()
	} else {
		d.saysWhy(t, s.ratchet())
	}
	s.empty(t)
	d = s.serve(t)
	s.answersFor(t, d, step)
	s.counts(name+" at the start", outcome)
	d.kill()
}

func (s *diskStand) filler() string { return filepath.Join(s.dir, "filler") }

// fill leaves no room on the file system, or a few blocks.
func (s *diskStand) fill(t *testing.T) {
	t.Helper()
	file, err := os.Create(s.filler())
	must(t, err)
	written := int64(0)
	for err == nil {
		var n int
		n, err = file.Write(make([]byte, 4096))
		written += int64(n)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	must(t, errors.Join(file.Truncate(max(0, written-4096*s.random.Int64N(8))), file.Sync(), file.Close()))
}

func (s *diskStand) empty(t *testing.T) {
	t.Helper()
	must(t, os.Remove(s.filler()))
}

// onExt4 has a real file system on a loop device fail under a daemon: full, made
// read-only by its own error handling, and shut down.
func onExt4(t *testing.T, pawl string, shim *ioShim, random *rand.Rand) {
	t.Helper()
	m := newExt4(t)
	s := newDiskStand(t, pawl, m.dir, shim, random)
	s.fullWhileRunning(t, "full ext4")
	for _, fault := range []struct {
		name   string
		strike func() error
	}{
		{"ext4 that makes itself read-only", m.abort},
		{"ext4 that shuts down, its journal kept", func() error { return m.shutDown(goingLogFlush) }},
		{"ext4 that shuts down, its journal lost", func() error { return m.shutDown(goingNoLogFlush) }},
	} {
		d := s.serve(t)
		for range s.random.IntN(3) {
			s.signs(t, d)
		}
		s.signs(t, d)
		step := s.strikeWhileAsked(t, d, fault.strike)
		d.ends(t, "ratchet failed")
		s.refuses(t, s.config(), m.dir)
		must(t, m.unmount())
		must(t, m.mount())
		d = s.serve(t)
		s.answersFor(t, d, step)
		s.counts(fault.name, "ended with an error; mounted again, the next start served what was released")
		d.end(t, true)
	}
	s.count(t)
}

// strikeWhileAsked has the file system fail among the requests of a step, or of those
// that follow.
func (s *diskStand) strikeWhileAsked(t *testing.T, d *diskDaemon, strike func() error) (step []answer) {
	t.Helper()
	at, struck := s.random.IntN(4), make(chan error, 1)
	for i := range 100 {
		if i == at {
			go func() { struck <- strike() }()
		}
		step = s.ask(d, s.asks())
		for _, a := range step {
			if a.status != http.StatusOK {
				must(t, <-struck)
				return step
			}
		}
	}
	t.Fatal("100 steps were signed on a file system that has failed")
	return nil
}

// ext4 is a small file system in a file, mounted on dir.
type ext4 struct{ image, dir string }

func newExt4(t *testing.T, options ...string) *ext4 {
	t.Helper()
	m := &ext4{filepath.Join(t.TempDir(), "ext4.img"), t.TempDir()}
	must(t, os.WriteFile(m.image, nil, 0o600))
	must(t, os.Truncate(m.image, 8<<20))
	if out, err := exec.Command("mkfs.ext4", append(options, "-q", "-F", m.image)...).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v %s", err, out)
	}
	if err := m.mount(); err != nil {
		t.Skipf("mounting an ext4: %v", err)
	}
	t.Cleanup(func() { must(t, m.unmount()) })
	return m
}

func (m *ext4) mount() error { return command("mount", "-o", "loop", m.image, m.dir) }

// unmount waits for nobody: the daemons have ended.
func (m *ext4) unmount() error { return command("umount", m.dir) }

// abort has ext4 behave as after an error of its device (ext4(5), mount option abort).
func (m *ext4) abort() error { return command("mount", "-o", "remount,abort", m.dir) }

// The numbers of EXT4_IOC_SHUTDOWN are in fs/ext4/ext4.h of Linux.
const (
	ext4IOCShutdown = 0x8004587d // _IOR('X', 125, __u32)
	goingLogFlush   = uint32(1)
	goingNoLogFlush = uint32(2)
)

func (m *ext4) shutDown(flags uint32) error {
	dir, err := os.Open(m.dir)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), ext4IOCShutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("EXT4_IOC_SHUTDOWN: %w", errno)
	}
	return nil
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}
