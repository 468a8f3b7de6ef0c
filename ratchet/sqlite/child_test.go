package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
)

// childVariable tells a test binary that was started as a child process what to do.
const childVariable = "RATCHET_TEST_CHILD"

// children are the programs that tests run in their own processes. path is the ratchet file. What they
// print is their result.
var children = map[string]func(path string) error{
	"flicker":   flicker,
	"hold":      holdOpen,
	"killed":    signAndDie,
	"grow":      signManyAndCheckpoint,
	"limited":   signLimited,
	"load":      signUnderLoad,
	"overwrite": overwriteInPlace,
	"loop":      signAndReopen,
	"merge":     mergeOther,
	"retire":    retireBaker,
	"idle":      signAndCheckpoint,
	"registers": registerAndDie,
	"shell":     readAsShell,
	"sign":      signOnce,
	"three":     signThree,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		if err := children[name](os.Args[len(os.Args)-1]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func childCommand(ctx context.Context, name, path string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], path)
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// runChild runs a child to its end and returns what it printed.
func runChild(t *testing.T, name, path string) string {
	t.Helper()
	out, err := childCommand(t.Context(), name, path).Output()
	if _, exited := err.(*exec.ExitError); err != nil && !exited { //nolint:errorlint // exec.Cmd documents this very type
		t.Fatalf("running child %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// holdOpen keeps the ratchet open, without signing, until its input ends.
func holdOpen(path string) error {
	db, err := openDB(context.Background(), path, options{})
	if err != nil {
		return err
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return db.Close()
}

// readAsShell reads the file as any SQLite program does.
func readAsShell(path string) error {
	pool, err := sql.Open("sqlite3", "file:"+path+"?mode=rw&_busy_timeout=0")
	if err != nil {
		return err
	}
	var n int
	if err := pool.QueryRow("SELECT generation FROM provenance").Scan(&n); err != nil {
		return err
	}
	fmt.Println("generation", n)
	return pool.Close()
}

// mergeOther opens, merges what the file beside it holds, and closes.
func mergeOther(path string) error {
	other, err := sqlite.Read(context.Background(), path+"-other")
	if err != nil {
		return err
	}
	db, err := openDB(context.Background(), path, options{})
	if err != nil {
		return err
	}
	m, err := db.Change(context.Background(), merging(other.Snapshot))
	if err == nil {
		fmt.Println("merged", len(m.Marks)+len(m.Registrations))
	}
	return errors.Join(err, db.Close())
}

// retireBaker opens, retires the baker, and closes.
func retireBaker(path string) error {
	db, err := openDB(context.Background(), path, options{})
	if err != nil {
		return err
	}
	_, err = db.Change(context.Background(), func(held ratchet.Snapshot) (ratchet.Changes, error) { return held.Retire(baker, "sold") })
	if err == nil {
		fmt.Println("retired")
	}
	return errors.Join(err, db.Close())
}

// overwriteInPlace replaces the content of the file by what it reads.
func overwriteInPlace(path string) error {
	content, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(content, 0)
	return errors.Join(err, file.Truncate(int64(len(content))), file.Close())
}

// signOnce opens, signs one level above the mark, and closes.
func signOnce(path string) error {
	db, err := openDB(context.Background(), path, options{})
	if err != nil {
		return err
	}
	if err := signNext(db); err != nil {
		return err
	}
	return db.Close()
}

// signThree says when it is open and then signs three levels, the last after an idle checkpoint.
func signThree(path string) error {
	db, err := openDB(context.Background(), path, options{})
	if err != nil {
		return err
	}
	fmt.Println("open")
	for n := range 3 {
		if n == 2 {
			db.IdleCheckpoint()
			fmt.Println("checkpointed")
		}
		if err := signNext(db); err != nil {
			return err
		}
	}
	return db.Close()
}

// signAndCheckpoint makes an idle checkpoint before each of two signatures.
func signAndCheckpoint(path string) error {
	db, err := openDB(context.Background(), path, options{})
	if err != nil {
		return err
	}
	for range 2 {
		db.IdleCheckpoint()
		if err := signNext(db); err != nil {
			return err
		}
	}
	return db.Close()
}

// signManyAndCheckpoint signs with many new keys, so that the database grows when the -wal is copied into
// it, once at an idle checkpoint and once at the end.
func signManyAndCheckpoint(path string) error {
	db, err := openDB(context.Background(), path, options{})
	if err != nil {
		return err
	}
	registered, err := db.Registrations(context.Background())
	if err != nil {
		return err
	}
	for n := range 80 {
		key := keyNumber(len(registered) + n + 1)
		if err := db.Register(context.Background(), key, mainnet, 0); err != nil {
			return err
		}
		m, d := block(1, 0), bytesNumber(n)
		m.Key = key
		if _, err := db.Place(m, d, signatureFrom(d, 0)); err != nil {
			return err
		}
		if n == 40 {
			db.IdleCheckpoint()
		}
	}
	return db.Close()
}

// signAndDie kills its own process, with some of the marks in the -wal only.
func signAndDie(path string) error {
	db, err := openDB(context.Background(), path, options{})
	if err != nil {
		return err
	}
	if err := signNext(db); err != nil {
		return err
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// signAndReopen signs and reopens for ever.
func signAndReopen(path string) error {
	for {
		if err := signOnce(path); err != nil {
			return err
		}
	}
}

// signNext signs the level above the mark and prints what was released.
func signNext(db *DB) error {
	ctx := context.Background()
	marks, err := db.Marks(ctx)
	if err != nil {
		return err
	}
	level := int32(1)
	if len(marks) > 0 {
		level = marks[0].Level + 1
	}
	d := bytesNumber(int(level))
	var c card
	release, err := db.Sign(ctx, block(level, 0), d, c.Sign(d))
	if err != nil {
		return err
	}
	fmt.Println(level, release.Signature)
	return nil
}

// startHolder starts another process that keeps the ratchet open, and returns its pid and a function that
// ends it cleanly.
func startHolder(t *testing.T, path string) (pid int, stop func()) {
	t.Helper()
	cmd := childCommand(t.Context(), "hold", path)
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
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil || line != "open\n" {
		t.Fatalf("the holder said %q, %v", line, err)
	}
	return cmd.Process.Pid, func() {
		if err := input.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the holder: %v", err)
		}
	}
}
