// Package takeover_test has an older pawl make a folder and sign, and this one take it over in place:
// what was signed stays signed.
package takeover_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"pawl/tezos/tezostest"
)

// older is the last commit of the pawl whose ratchet was one package over SQLite.
const older = "eea091563e7afe8b3958989922f45f78d202166d"

// tags are those of the Makefile.
const tags = "netgo,osusergo,sqlite_omit_load_extension"

// patience is how long a slow machine may take for anything.
const patience = time.Minute

// buildOlder builds the pawl of the older commit, or skips the test where git does not have it.
func buildOlder(t *testing.T) string {
	t.Helper()
	if out, err := exec.Command("git", "-C", "../..", "cat-file", "-e", older+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("git does not have the older commit, as in a shallow clone: %v %s", err, out)
	}
	dir := t.TempDir()
	archive := filepath.Join(dir, "old.tar")
	command(t, "../..", "git", "archive", "-o", archive, older)
	source := filepath.Join(dir, "old")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, source, "tar", "-xf", archive)
	return build(t, source, filepath.Join(dir, "pawl-old"))
}

func build(t *testing.T, source, program string) string {
	t.Helper()
	command(t, source, "go", "build", "-trimpath", "-buildvcs=false", "-tags", tags, "-o", program, "./cmd/pawl")
	return program
}

func command(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// demo is a running `pawl demo`.
type demo struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	keys []string
}

// start starts a program on a folder and waits until it listens.
func start(t *testing.T, program, dir string) *demo {
	t.Helper()
	d := &demo{t: t, cmd: exec.Command(program, "demo", "--dir", dir,
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--card", "127.0.0.1:0")}
	d.cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+dir+"-run")
	log, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill(); _ = d.cmd.Wait() })
	lines := bufio.NewScanner(log)
	var said strings.Builder
	for d.url == "" && lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			d.url = "http://" + line.Address
		}
	}
	if d.url == "" {
		t.Fatalf("%s does not listen:\n%s", program, said.String())
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	config, err := os.ReadFile(filepath.Join(dir, "keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	d.keys = regexp.MustCompile(`tz[123]\w{33}`).FindAllString(string(config), -1)
	if len(d.keys) != 3 {
		t.Fatalf("%s has keys %q, want three", program, d.keys)
	}
	return d
}

// sign asks for a signature. A card that is not connected yet is waited for.
func (d *demo) sign(key string, payload []byte) (status int, body string) {
	d.t.Helper()
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Post(d.url+"/keys/"+key, "application/json", bytes.NewReader(tezostest.Quoted(payload)))
		if err != nil {
			d.t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if closed := res.Body.Close(); err != nil || closed != nil {
			d.t.Fatal(err, closed)
		}
		if res.StatusCode != http.StatusInternalServerError || time.Since(begun) > patience {
			return res.StatusCode, string(text)
		}
	}
}

// end stops the program with a signal, and wants exit code 0 of one that may end cleanly.
func (d *demo) end(signal syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(signal); err != nil {
		d.t.Fatal(err)
	}
	if err := d.cmd.Wait(); (err == nil) != (signal == syscall.SIGTERM) {
		d.t.Fatalf("after %v: %v", signal, err)
	}
}

// TestTakeOver: the folder of an older pawl, stopped or killed, gives the same signature for the same
// bytes, refuses others in the same slot, and goes on above it.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	old := buildOlder(t)
	program := build(t, "../..", filepath.Join(t.TempDir(), "pawl"))
	for name, signal := range map[string]syscall.Signal{"stopped": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "demo")
			before := start(t, old, dir)
			signed := make(map[string]string)
			payloads := [][]byte{tezostest.Block(100, 1, 1), tezostest.Attestation(101, 0, 1), tezostest.Preattestation(101, 2, 1)}
			for _, key := range before.keys {
				for i, payload := range payloads {
					status, body := before.sign(key, payload)
					if status != http.StatusOK {
						t.Fatalf("the older pawl: %d %s", status, body)
					}
					signed[fmt.Sprint(key, i)] = body
				}
			}
			before.end(signal)
			after := start(t, program, dir)
			for _, key := range before.keys {
				for i, payload := range payloads {
					if status, body := after.sign(key, payload); status != http.StatusOK || body != signed[fmt.Sprint(key, i)] {
						t.Errorf("%s, the same bytes: %d %s, want the signature of before, %s", key, status, body, signed[fmt.Sprint(key, i)])
					}
				}
				for what, payload := range map[string][]byte{
					"other bytes in the slot": tezostest.Block(100, 1, 2),
					"a lower round":           tezostest.Preattestation(101, 1, 1),
					"a lower level":           tezostest.Attestation(100, 9, 1),
				} {
					if status, body := after.sign(key, payload); status != http.StatusConflict {
						t.Errorf("%s, %s: %d %s, want 409", key, what, status, body)
					}
				}
				if status, body := after.sign(key, tezostest.Block(100, 2, 1)); status != http.StatusOK {
					t.Errorf("%s, the next round: %d %s", key, status, body)
				}
			}
			after.end(syscall.SIGTERM)
		})
	}
}
