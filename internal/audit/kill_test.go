package audit_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pawl/internal/audit"
)

// childVariable tells a test binary that it is to write a trail, and where.
const childVariable = "AUDIT_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		fmt.Println(writeForEver(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForEver opens a trail, adds to it and closes it, again and again. It prints each line that was written
// by its number.
func writeForEver(path string) error {
	for {
		l, err := audit.Open(path, audit.Options{MaxSize: 20_000, Keep: 10_000})
		if err != nil {
			return err
		}
		for i := range rand.IntN(1000) {
			l.Add(signed(i))
			if i%100 == 0 {
				seq, _ := l.Head()
				fmt.Println(seq)
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
			}
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
}

// TestKill kills a process that writes and rotates, at random. All that it had written fits, and the next one
// goes on with it.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 30
	if testing.Short() {
		kills = 5
	}
	path := newRatchet(t)
	for range kills {
		written := killed(t, path)
		result, err := audit.Verify(path, "")
		if err != nil || result.Damage != nil || result.Last < written {
			t.Fatalf("after a kill: %+v (%v), %v, want it to fit up to line %d at least", result, result.Damage, err, written)
		}
	}
}

// killed starts a process that writes, kills it, and returns the number of the last line that it told of.
func killed(t *testing.T, path string) (written uint64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() { // it is up
		t.Fatal("the child said nothing")
	}
	time.AfterFunc(time.Duration(rand.IntN(30_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
	for text := lines.Text(); ; text = lines.Text() {
		if _, err := fmt.Sscan(text, &written); err != nil {
			t.Fatalf("the child said %q", text)
		}
		if !lines.Scan() {
			break
		}
	}
	_ = cmd.Wait() // killed
	return written
}

// TestFullDisk: events wait for room, Err tells, and when there is room all are written, in order.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	path := onTmpfs(t, "size=256k")
	l := open(t, path, audit.Options{})
	fill(t, path+".filler")
	added := 0
	for ; l.Err() == nil; added++ { // to the end of the last page
		l.Add(signed(added))
		await(t, "written", func() bool { return l.Waiting() == 0 || l.Err() != nil })
	}
	if err := l.Err(); !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), audit.Path(path)) {
		t.Errorf("Err on a full disk: %v", err)
	}
	l.Add(signed(added))
	if result, err := audit.Verify(path, ""); err != nil || result.Damage != nil {
		t.Errorf("on a full disk: %+v, %v, want what is there to fit", result, err)
	}
	free(t, path+".filler")
	await(t, "written", func() bool { return l.Err() == nil && l.Waiting() == 0 })
	closeLog(t, l)
	fits(t, path, 1+added+1+1)
	if l.Dropped() != 0 {
		t.Errorf("%d events were dropped, want none", l.Dropped())
	}
}

// TestFullDiskAtStart is no error of Open. What the queue cannot hold until there is room is told of.
func TestFullDiskAtStart(t *testing.T) {
	t.Parallel()
	path := onTmpfs(t, "size=256k,nr_inodes=3")
	fill(t, path+".filler") // the last inode
	l := open(t, path, audit.Options{})
	if err := l.Err(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("Err without a file: %v", err)
	}
	for i := range audit.MaxEvents + 5 {
		l.Add(signed(i))
	}
	free(t, path+".filler")
	if err := unix.Mount("", filepath.Dir(path), "tmpfs", unix.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	await(t, "written", func() bool { return l.Err() == nil && l.Waiting() == 0 })
	closeLog(t, l)
	fits(t, path, 1+audit.MaxEvents+1+1)
	if all := events(t, audit.Path(path)); all[len(all)-2].Count != 5 || l.Dropped() != 5 {
		t.Errorf("%+v tells of the dropped ones, and Dropped of %d, want 5", all[len(all)-2], l.Dropped())
	}
}

// TestCloseOnFullDisk: it is an error, and the next start tells that lines may be missing.
func TestCloseOnFullDisk(t *testing.T) {
	t.Parallel()
	path := onTmpfs(t, "size=256k")
	l := open(t, path, audit.Options{})
	await(t, "written", func() bool { seq, _ := l.Head(); return seq == 1 })
	fill(t, path+".filler")
	for i := range 100 {
		l.Add(signed(i))
	}
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("Close on a full disk: %v", err)
	}
	written, _ := l.Head()
	if l.Dropped() != 101-written {
		t.Errorf("%d dropped and %d lines written, want 100 events", l.Dropped(), written)
	}
	free(t, path+".filler")
	session(t, path, audit.Options{}, 0)
	result := fits(t, path, int(written)+len(events(t, audit.Path(path))[written:]))
	if len(result.Notes) == 0 || !strings.Contains(result.Notes[len(result.Notes)-1].Text, "missing") {
		t.Errorf("notes %+v, want that lines may be missing", result.Notes)
	}
}

// onTmpfs is the path of a ratchet on a file system of its own.
func onTmpfs(t *testing.T, how string) string {
	t.Helper()
	folder := t.TempDir()
	if err := unix.Mount("pawl-test", folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, how); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(folder, "ratchet.db")
	write(t, path, nil)
	return path
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func free(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
