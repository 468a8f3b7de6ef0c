package sqlite_test

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pawl/internal/hostlock"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// TestExclusiveFromTheFirstRead: once a connection of the data source has read from the file no other can,
// though nothing was written yet.
func TestExclusiveFromTheFirstRead(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	pool := openPool(t, sqlite.DataSource(path))
	pool.SetMaxOpenConns(1)
	if _, err := readGeneration(t, pool); err != nil {
		t.Fatal(err)
	}
	if present(t, path+"-shm") {
		t.Error("there is a -shm file: the -wal index is shared")
	}
	other := openPool(t, "file:"+path+"?mode=rw&_busy_timeout=0")
	if n, err := readGeneration(t, other); err == nil {
		t.Errorf("a second connection read generation %d", n)
	}
}

func readGeneration(t *testing.T, pool *sql.DB) (n int, err error) {
	t.Helper()
	err = pool.QueryRowContext(t.Context(), "SELECT generation FROM provenance").Scan(&n)
	return n, err
}

func TestSecondOpenInThisProcess(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 0)
	for range 3 {
		_, err := openDB(t.Context(), path, options{})
		if !errors.Is(err, ratchet.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
			t.Fatalf("got %v, want %v and this process's pid", err, ratchet.ErrLocked)
		}
	}
	// SQLite's own locks must still be held: another process finds them.
	if out := runChild(t, "shell", path); !strings.Contains(out, "database is locked") {
		t.Errorf("another process, without our lock, got %q, want the database locked", out)
	}
	mustSign(t, db, block(1, 0), bytesNumber(0))
	closeDB(t, db)
	open(t, path, options{})
}

// TestSecondProcess: it is refused before either has signed or written.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	pid, stop := startHolder(t, path)
	_, err := openDB(t.Context(), path, options{})
	if !errors.Is(err, ratchet.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("process ", pid)) {
		t.Errorf("got %v, want %v and pid %d", err, ratchet.ErrLocked, pid)
	}
	if out := runChild(t, "shell", path); !strings.Contains(out, "database is locked") {
		t.Errorf("a program that knows nothing of our lock got %q, want the database locked", out)
	}
	stop()
	open(t, path, options{})
}

// TestHeldByAnotherProgram: a database shell has the file open, without our lock.
func TestHeldByAnotherProgram(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	shell := openPool(t, "file:"+path+"?mode=rw")
	conn, err := shell.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx, err := conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRowContext(t.Context(), "SELECT generation FROM provenance").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if _, err := openDB(t.Context(), path, options{}); !errors.Is(err, ratchet.ErrLocked) {
		t.Errorf("got %v, want %v", err, ratchet.ErrLocked)
	}
	if err := errors.Join(tx.Rollback(), conn.Close(), shell.Close()); err != nil {
		t.Fatal(err)
	}
	open(t, path, options{})
}

// TestCloseUnlocksForAll: Close releases the lock even if a child process that is just being started has a
// copy of its descriptor.
func TestCloseUnlocksForAll(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	inherited, err := unix.Dup(db.LockDescriptor())
	if err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	closeDB(t, open(t, path, options{}))
	if err := unix.Close(inherited); err != nil {
		t.Error(err)
	}
}

// TestReaderStopsNoOpening: a reader has the lock for a moment, and the opening waits for that.
func TestReaderStopsNoOpening(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(sqlite.LockTime/10, func() { _ = unix.Close(fd) })
	db, err := openDB(t.Context(), path, options{})
	if err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
}

// TestLockOfAnotherUser: who may read the file may lock it. The refusal tells whose process it is, and how
// to keep others out.
func TestLockOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	path := newFile(t)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	holder := lockAs(t, path, 65534)
	_, err := openDB(t.Context(), path, options{})
	if !errors.Is(err, ratchet.ErrLocked) {
		t.Fatalf("got %v, want %v", err, ratchet.ErrLocked)
	}
	for _, want := range []string{hostlock.Peer{PID: holder, UID: 65534}.String(), "chmod 600 " + path} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, which lacks %q", err, want)
		}
	}
}

// lockAs has another user lock a file that lies where he cannot look, and returns the process.
func lockAs(t *testing.T, path string, uid uint32) (pid int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	cmd := exec.CommandContext(t.Context(), "flock", "--shared", "/proc/self/fd/3", "sh", "-c", "echo locked; read end")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.ExtraFiles = []*os.File{file}
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = input.Close(), cmd.Wait() })
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil || line != "locked\n" {
		t.Fatalf("flock said %q, %v", line, err)
	}
	return cmd.Process.Pid
}
