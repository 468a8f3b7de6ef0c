package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// released collects what killed children have released. It fails the test if a level got two signatures or
// the level fell.
type released struct {
	highest    int32
	signatures map[int32]string
}

// read takes what a child printed. A last line without a newline was cut by a kill.
func (r *released) read(t *testing.T, out string) {
	t.Helper()
	for line := range strings.Lines(out) {
		number, signature, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		level, err := strconv.ParseInt(number, 10, 32)
		if !ok || err != nil {
			t.Fatalf("a child said %q", line)
		}
		if !strings.HasSuffix(line, "\n") {
			return
		}
		if before, twice := r.signatures[int32(level)]; twice && before != signature {
			t.Fatalf("level %d was released as %s and %s", level, before, signature)
		}
		if int32(level) < r.highest {
			t.Fatalf("level %d was signed after %d", level, r.highest)
		}
		r.highest, r.signatures[int32(level)] = int32(level), signature
	}
}

// check reads the file and opens it in this process. No mark may have been lost, and both must find
// the same.
func (r *released) check(t *testing.T, path string) {
	t.Helper()
	held, errRead := sqlite.Read(t.Context(), path)
	db, err := openDB(t.Context(), path, options{})
	if err != nil || errRead != nil {
		t.Fatalf("after a kill: Read: %v, Open: %v", errRead, err)
	}
	defer closeDB(t, db)
	marks, err := db.TableMarks(t.Context())
	if diff := cmp.Diff(held.Marks, marks, sameSignature); err != nil || diff != "" {
		t.Fatalf("after a kill: Marks: %v (-Read +Open):\n%s", err, diff)
	}
	if r.highest == 0 {
		return
	}
	if err != nil || len(marks) != 1 || marks[0].Level < r.highest {
		t.Fatalf("after a kill: marks %+v, %v, want level %d or higher", marks, err, r.highest)
	}
	if marks[0].Level > r.highest {
		return // it was committed and the kill came before the answer
	}
	other := bytesNumber(-1)
	_, err = db.Sign(t.Context(), block(r.highest, 0), other, new(card).Sign(other))
	wantRefused(t, err, ratchet.OtherBytes, "")
	again := mustSign(t, db, block(r.highest, 0), bytesNumber(int(r.highest)))
	if !again.Stored || again.Signature.String() != r.signatures[r.highest] {
		t.Fatalf("after a kill: level %d has %s, was released as %s", r.highest, again.Signature, r.signatures[r.highest])
	}
}

func newReleased(t *testing.T) (*released, string) {
	t.Helper()
	path := newFile(t)
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 0)
	closeDB(t, db)
	return &released{signatures: make(map[int32]string)}, path
}

// TestKillAtRandom kills a process that opens, signs and closes in a loop.
func TestKillAtRandom(t *testing.T) {
	t.Parallel()
	kills := 40
	if testing.Short() {
		kills = 5
	}
	r, path := newReleased(t)
	for range kills {
		cmd := childCommand(t.Context(), "loop", path)
		output, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(output)
		first, err := lines.ReadString('\n') // it is up
		if err != nil {
			t.Fatalf("the child said %q, %v", first, err)
		}
		time.AfterFunc(time.Duration(rand.IntN(30_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		var rest strings.Builder
		_, _ = lines.WriteTo(&rest)
		_ = cmd.Wait() // killed
		r.read(t, first+rest.String())
		if rand.IntN(2) == 0 { // else the next child finds it as it is
			r.check(t, path)
		}
	}
	r.check(t, path)
	t.Logf("kills=%d levels=%d", kills, r.highest)
}

// TestKillUnderLoad kills a process that signs with eight keys at once. What it had released must be found
// again.
func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	for n := range loadKeys {
		register(t, db, keyNumber(n), mainnet, 0)
	}
	closeDB(t, db)
	for range 10 {
		cmd := childCommand(t.Context(), "load", path)
		output, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(output)
		first, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the child said %q, %v", first, err)
		}
		time.AfterFunc(time.Duration(rand.IntN(50))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		var rest strings.Builder
		_, _ = lines.WriteTo(&rest)
		_ = cmd.Wait() // killed
		checkLoad(t, path, first+rest.String())
	}
}

const loadKeys = 8

// checkLoad reads lines "key level signature" and compares them with the marks.
func checkLoad(t *testing.T, path, out string) {
	t.Helper()
	db := open(t, path, options{})
	defer closeDB(t, db)
	last := make(map[int]string)
	for line := range strings.Lines(out) {
		if key, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasSuffix(line, "\n") {
			n, err := strconv.Atoi(key)
			if err != nil {
				t.Fatalf("the child said %q", line)
			}
			last[n] = rest
		}
	}
	for n, rest := range last {
		number, signature, _ := strings.Cut(rest, " ")
		level, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			t.Fatalf("the child said %q", rest)
		}
		m := block(int32(level), 0)
		m.Key = keyNumber(n)
		release, err := db.Sign(t.Context(), m, bytesNumber(int(level)), func(context.Context, tezos.Message) (tezos.Signature, error) {
			return tezos.Signature{}, errors.New("signed again")
		})
		if err != nil && !errors.Is(err, ratchet.ErrRefused) || err == nil && release.Signature.String() != signature {
			t.Errorf("key %d level %d: got %+v, %v, before the kill %s", n, level, release, err, signature)
		}
	}
}

// signUnderLoad signs level after level with each key and prints what was released.
func signUnderLoad(path string) error {
	db, err := openDB(context.Background(), path, options{})
	if err != nil {
		return err
	}
	marks, err := db.TableMarks(context.Background())
	if err != nil {
		return err
	}
	next := make([]int32, loadKeys)
	for i := range next {
		for _, m := range marks {
			if m.Key == keyNumber(i) {
				next[i] = m.Level
			}
		}
	}
	failed := make(chan error)
	for n := range loadKeys {
		go func() {
			for level := next[n] + 1; ; level++ {
				m, d := block(level, 0), bytesNumber(int(level))
				m.Key = keyNumber(n)
				release, err := db.Sign(context.Background(), m, d, new(card).Sign(d))
				if err != nil {
					failed <- err
				}
				_, _ = os.Stdout.WriteString(strings.Join([]string{strconv.Itoa(n), strconv.Itoa(int(level)), release.Signature.String()}, " ") + "\n")
			}
		}()
	}
	return <-failed
}
