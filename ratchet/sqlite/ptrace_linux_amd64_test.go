package sqlite_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// trace runs a child and calls visit for each of its system calls before the call is executed. If visit
// returns true the child is killed there. trace returns what the child printed and whether it was killed.
func trace(t *testing.T, cmd *exec.Cmd, visit func(*syscall.PtraceRegs) (kill bool)) (out string, killed bool) {
	t.Helper()
	runtime.LockOSThread() // ptrace and __WNOTHREAD go by thread
	defer runtime.UnlockOSThread()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = writer
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Skipf("ptrace: %v", err)
	}
	_ = writer.Close()
	read := make(chan string, 1)
	go func() {
		content, _ := io.ReadAll(reader)
		_ = reader.Close()
		read <- string(content)
	}()
	killed = follow(t, cmd.Process.Pid, visit)
	_ = cmd.Process.Release()
	return <-read, killed
}

// follow waits for the child's threads by its process group, because this thread may have other children,
// for which another test waits.
func follow(t *testing.T, pid int, visit func(*syscall.PtraceRegs) bool) (killed bool) {
	t.Helper()
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
		t.Fatalf("waiting for the child's first stop: %v", err)
	}
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := errors.Join(unix.PtraceSetOptions(pid, options), unix.PtraceSyscall(pid, 0)); err != nil {
		t.Fatalf("ptrace: %v", err)
	}
	for {
		tid, err := unix.Wait4(-pid, &status, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatalf("waiting for the child: %v", err)
		}
		if tid == pid && !status.Stopped() {
			return killed
		}
		if !status.Stopped() {
			continue // a thread has ended
		}
		pass := 0
		if sig := status.StopSignal(); sig == unix.SIGTRAP|0x80 {
			var regs syscall.PtraceRegs
			if syscall.PtraceGetRegs(tid, &regs) == nil && entering(&regs) && !killed && visit(&regs) {
				killed = true
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		} else if sig != unix.SIGTRAP && sig != unix.SIGSTOP { // those two are of a new thread
			pass = int(sig)
		}
		_ = unix.PtraceSyscall(tid, pass) // ESRCH when it was killed
	}
}

// entering reports whether a system call is about to begin: the kernel has then put -ENOSYS where the result
// will be.
func entering(regs *syscall.PtraceRegs) bool { return int64(regs.Rax) == -int64(unix.ENOSYS) }

// changesFiles reports whether a system call may change a file or a folder. Wherever a kill comes between two
// of them, it finds the same files.
func changesFiles(regs *syscall.PtraceRegs) bool {
	switch regs.Orig_rax {
	case unix.SYS_OPENAT:
		return regs.Rdx&unix.O_CREAT != 0
	case unix.SYS_WRITE:
		return regs.Rdi > 2
	case unix.SYS_OPEN:
		return regs.Rsi&unix.O_CREAT != 0
	case unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_UNLINK, unix.SYS_UNLINKAT, unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		return true
	}
	return false
}

// TestKillAtEveryWrite kills a process that opens, signs and closes, before each system call that changes a
// file. It begins with a file that was closed, with one whose process was killed, and with one of each older
// schema version. It does each twice over as well: then the process makes idle checkpoints too, and the next
// process is killed at the same point. The next opening must succeed and have every mark.
func TestKillAtEveryWrite(t *testing.T) {
	t.Parallel()
	onceIsEnough := map[string]bool{"untotalled": true, "timeless": true, "killed, and read by a shell": true}
	for name, prepare := range map[string]func(*testing.T, *released, string){
		"closed":   func(*testing.T, *released, string) {},
		"killed":   func(t *testing.T, r *released, path string) { t.Helper(); r.read(t, runChild(t, "killed", path)+"\n") },
		"unsealed": func(t *testing.T, _ *released, path string) { t.Helper(); unseal(t, path) },
		"untotalled": func(t *testing.T, _ *released, path string) {
			t.Helper()
			takeTimes(t, path)
			alter(t, path, "DROP TABLE totals; PRAGMA user_version = 2")
		},
		"timeless": func(t *testing.T, _ *released, path string) { t.Helper(); takeTimes(t, path) },
		"killed, and read by a shell": func(t *testing.T, r *released, path string) {
			t.Helper()
			r.read(t, runChild(t, "killed", path)+"\n")
			runChild(t, "shell", path)
		},
	} {
		for _, twice := range []bool{false, true} {
			child := "sign"
			if twice && onceIsEnough[name] {
				continue
			}
			if twice {
				name, child = name+", twice", "idle"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r, path := newReleased(t)
				for point := 1; ; point++ {
					prepare(t, r, path)
					killed := killAt(t, r, child, path, point)
					if twice && killed {
						killAt(t, r, child, path, point)
					}
					r.check(t, path)
					if !killed {
						if point < 20 {
							t.Errorf("the process ended after %d writes, want more", point-1)
						}
						t.Logf("kills at %d writes", point-1)
						return
					}
				}
			})
		}
	}
}

// TestKillOfAMerge kills a process that merges another ratchet, before each system call that changes a file. All of
// it is there afterwards, or nothing; all, if it was told so.
func TestKillOfAMerge(t *testing.T) {
	t.Parallel()
	other := openRegistered(t, options{})
	for level := range int32(3) {
		m := block(level, 0)
		m.Kind = tezos.Kind(0x11 + uint8(level)) // a mark of each kind
		mustSign(t, other, m, bytesNumber(int(level)))
	}
	closeDB(t, other)
	seen := make(map[int]int) // kills by the marks that are there afterwards
	for point, killed := 1, true; killed; point++ {
		path := newFile(t)
		if err := os.Rename(other.Path(), path+"-other"); err != nil {
			t.Fatal(err)
		}
		var out string
		count := 0
		out, killed = trace(t, childCommand(t.Context(), "merge", path), func(regs *syscall.PtraceRegs) bool {
			if changesFiles(regs) {
				count++
			}
			return count == point
		})
		if err := os.Rename(path+"-other", other.Path()); err != nil {
			t.Fatal(err)
		}
		db := open(t, path, options{})
		marks, registrations := contents(t, db)
		if whole := len(marks) == 3 && len(registrations) == 1; !whole && (len(marks)+len(registrations) > 0 || strings.Contains(out, "merged")) {
			t.Errorf("killed before write %d, and told %q: %d marks and %d registrations", point, out, len(marks), len(registrations))
		}
		seen[len(marks)]++
		closeDB(t, db)
	}
	if seen[0] < 3 || seen[3] < 3 {
		t.Errorf("kills by the marks that were there afterwards: %v, want more", seen)
	}
}

// TestKillOfAFencingStart kills the first start on a copy at each write: at the next start its keys are fenced all
// the same.
func TestKillOfAFencingStart(t *testing.T) {
	t.Parallel()
	whole := left(t, killed)
	for point, dead := 1, true; dead; point++ {
		path := filepath.Join(t.TempDir(), "ratchet.db")
		keep(t, whole).putBack(t, path)
		count := 0
		_, dead = trace(t, childCommand(t.Context(), "retire", path), func(regs *syscall.PtraceRegs) bool {
			if changesFiles(regs) {
				count++
			}
			return count == point
		})
		db := open(t, path, options{})
		wantFenced(t, db, ratchet.Moved)
		closeDB(t, db)
	}
}

// TestKillOfARetirement kills it at each write: the key is retired, or it was not told so.
func TestKillOfARetirement(t *testing.T) {
	t.Parallel()
	seen := make(map[bool]int)
	for point, dead := 1, true; dead; point++ {
		path := left(t, closed)
		count, out := 0, ""
		out, dead = trace(t, childCommand(t.Context(), "retire", path), func(regs *syscall.PtraceRegs) bool {
			if changesFiles(regs) {
				count++
			}
			return count == point
		})
		db := open(t, path, options{})
		all, err := db.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		is := all.Registrations[0].Retired != ""
		if seen[is]++; !is && strings.Contains(out, "retired") {
			t.Errorf("killed before write %d: told, and not retired", point)
		}
		if db.Finding().Verdict != sqlite.InPlace {
			t.Errorf("killed before write %d: found %+v", point, db.Finding())
		}
		closeDB(t, db)
	}
	if seen[true] < 3 || seen[false] < 3 {
		t.Errorf("kills by whether it was retired then: %v, want more", seen)
	}
}

// TestKilledUpgradeIsNotForAnOlderPawl: a file with seals, totals or times says so in its header. An older pawl,
// which writes rows without them, looks at nothing else.
func TestKilledUpgradeIsNotForAnOlderPawl(t *testing.T) {
	t.Parallel()
	r, path := newReleased(t)
	const (
		seals  = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('marks') WHERE name = 'seal')"
		totals = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'totals')"
		times  = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('marks') WHERE name = 'time')"
		bounds = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('never_used') WHERE name = 'known')"
	)
	var seen [6]int // by version
	for point, killed := 1, true; killed; point++ {
		unseal(t, path)
		killed = killAt(t, r, "sign", path, point)
		const versionAt = 63 // the last byte of user_version (https://www.sqlite.org/fileformat.html, section 1.3)
		version := read(t, path)[versionAt]
		for below, query := range map[uint8]string{2: seals, 3: totals, 4: times, 5: bounds} {
			if version < below && hasWithWAL(t, path, query) {
				t.Errorf("killed before write %d: its head says version %d, and yes is the answer to %s", point, version, query)
			}
		}
		seen[version]++
		r.check(t, path)
	}
	if seen[1] < 5 || seen[2] < 10 || seen[3] < 10 || seen[4] < 10 || seen[5] < 10 {
		t.Errorf("%v files had each version, want more", seen)
	}
}

// hasWithWAL answers a query about the tables, as a copy of the file with its -wal does.
func hasWithWAL(t *testing.T, path, query string) (has bool) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		if present(t, path+suffix) {
			write(t, copied+suffix, read(t, path+suffix))
		}
	}
	pool := openPool(t, "file:"+copied)
	if err := errors.Join(pool.QueryRowContext(t.Context(), query).Scan(&has), pool.Close()); err != nil {
		t.Fatal(err)
	}
	return has
}

func killAt(t *testing.T, r *released, child, path string, point int) bool {
	t.Helper()
	count := 0
	out, killed := trace(t, childCommand(t.Context(), child, path), func(regs *syscall.PtraceRegs) bool {
		if changesFiles(regs) {
			count++
		}
		return count == point
	})
	r.read(t, out)
	return killed
}

// TestKillOfTheNextOpening kills an opening, and then the next one at one of its first writes.
func TestKillOfTheNextOpening(t *testing.T) {
	t.Parallel()
	for first := 1; first <= 16; first++ {
		t.Run(fmt.Sprintf("after %d", first), func(t *testing.T) {
			t.Parallel()
			for next := 1; next <= 4; next++ {
				r, path := newReleased(t)
				killAt(t, r, "sign", path, first)
				killAt(t, r, "sign", path, next)
				r.check(t, path)
			}
		})
	}
}

// TestKillAmidGrowth kills a process before some of the writes with which a checkpoint makes the database
// longer. SQLite copies the header first, which then says more than is there. The next opening must succeed:
// all is in the -wal.
func TestKillAmidGrowth(t *testing.T) {
	t.Parallel()
	_, path := newReleased(t)
	writes := 0
	if _, killed := trace(t, childCommand(t.Context(), "grow", path), func(regs *syscall.PtraceRegs) bool {
		if changesFiles(regs) {
			writes++
		}
		return false
	}); killed {
		t.Fatal("killed by nobody")
	}
	points := rand.Perm(writes)[:8]
	for last := range 10 {
		points = append(points, writes-last) // of the checkpoint at the end
	}
	for _, point := range points {
		_, path := newReleased(t)
		count := 0
		trace(t, childCommand(t.Context(), "grow", path), func(regs *syscall.PtraceRegs) bool {
			if changesFiles(regs) {
				count++
			}
			return count == point
		})
		if _, err := sqlite.Read(t.Context(), path); err != nil {
			t.Errorf("killed before write %d of %d: Read: %v", point, writes, err)
		}
		db, err := openDB(t.Context(), path, options{})
		if err != nil {
			t.Errorf("killed before write %d of %d: %v", point, writes, err)
			continue
		}
		closeDB(t, db)
	}
}

// TestOneSyncPerSignature: with one request in flight each COMMIT syncs once, the first one too.
func TestOneSyncPerSignature(t *testing.T) {
	t.Parallel()
	_, path := newReleased(t)
	var syncs int
	var before []int // each line of the child
	out, _ := trace(t, childCommand(t.Context(), "three", path), func(regs *syscall.PtraceRegs) bool {
		switch {
		case regs.Orig_rax == unix.SYS_FSYNC || regs.Orig_rax == unix.SYS_FDATASYNC:
			syncs++
		case regs.Orig_rax == unix.SYS_WRITE && regs.Rdi == 1:
			before = append(before, syncs)
			syncs = 0
		}
		return false
	})
	if len(before) != 5 || before[1] != 1 || before[2] != 1 || before[4] != 1 {
		t.Errorf("syncs before open, two signatures, the end of an idle checkpoint and a signature: %v, "+
			"want one for each signature; the child said %q", before, out)
	}
}
