package main

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
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a daemon command in a process of its own.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	stderr *os.File // the end of the pipe that is read
	write  *os.File // the other one
	line   struct{ Msg, Address, Admin string }
}

func newProcess(t *testing.T, program string, args ...string) *process {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = read.Close(), write.Close() })
	p := &process{cmd: exec.Command(program, args...), exited: make(chan struct{}), stderr: read, write: write}
	p.cmd.Stderr = write
	return p
}

// start runs it until the end of the test.
func (p *process) start(t *testing.T) {
	t.Helper()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(p.exited); _ = p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
	})
}

// startProcess runs a command and reads its log until a line has that message.
func startProcess(t *testing.T, msg string, args ...string) *process {
	t.Helper()
	p := newProcess(t, args[0], args[1:]...)
	p.start(t)
	if err := p.stderr.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(p.stderr); p.line.Msg != msg; {
		if !lines.Scan() {
			t.Fatalf("%v: no line %q: %v", args, msg, lines.Err())
		}
		_ = json.Unmarshal(lines.Bytes(), &p.line) // a note is none
	}
	return p
}

// stick fills the pipe that nobody reads any more.
func (p *process) stick(t *testing.T) {
	t.Helper()
	const more = 2 << 20 // than a pipe holds
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = p.write.Write(make([]byte, more)) // until the test closes it
	}()
	select {
	case <-written:
		t.Error("the pipe is not full")
	case <-time.After(50 * time.Millisecond):
	}
}

// signal sends it to the process.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ends wants the exit code.
func (p *process) ends(t *testing.T, code int) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("%v has not ended", p.cmd.Args)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("%v ended with %v, want %d", p.cmd.Args, p.cmd.ProcessState, code)
	}
}

// daemonArgs are the arguments of each daemon command, and the message of its line when it serves.
func daemonArgs(t *testing.T) map[string][]string {
	t.Helper()
	config := (&faultyCard{}).serve(t)
	addKey(t, config)
	const free = "127.0.0.1:0"
	d, card := filepath.Join(t.TempDir(), "d"), filepath.Join(t.TempDir(), "card")
	return map[string][]string{
		"serve":    {"listening", "pawl", "serve", "--config", config, "--listen", free, "--admin", free},
		"demo":     {"listening", "pawl", "demo", "--dir", d, "--listen", free, "--admin", free, "--card", free},
		"softcard": {"card listening", "pawl", "softcard", "--dir", card, "--listen", free},
	}
}

// TestStuckLog: every daemon command ends in time with a log that nobody reads any more.
func TestStuckLog(t *testing.T) {
	t.Parallel()
	for name, args := range daemonArgs(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, args[0], args[1:]...)
			p.stick(t)
			p.signal(t, syscall.SIGTERM)
			p.ends(t, exitOK)
		})
	}
}

// TestStuckFromTheStart: a daemon starts with a log that nobody reads, and one that cannot start ends
// all the same.
func TestStuckFromTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"serve": {"serve", "--config", filepath.Join(dir, "none.json")}, "demo": {"demo", "--dir", "/dev/null"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startStuck(t, args...).ends(t, exitFailed)
		})
	}
	t.Run("softcard", func(t *testing.T) {
		t.Parallel()
		card := filepath.Join(dir, "card")
		p := startStuck(t, "softcard", "--dir", card, "--listen", "127.0.0.1:0")
		for start := time.Now(); ; time.Sleep(time.Millisecond) {
			if _, err := os.Stat(filepath.Join(card, "client.pem")); err == nil {
				break
			}
			if time.Since(start) > patience {
				t.Fatal("the card is not made")
			}
		}
		p.signal(t, syscall.SIGTERM)
		p.ends(t, exitOK)
	})
}

// startStuck runs pawl with a pipe that is full.
func startStuck(t *testing.T, args ...string) *process {
	t.Helper()
	p := newProcess(t, "pawl", args...)
	p.stick(t)
	p.start(t)
	return p
}

// TestLogReaderGoesAway: no daemon command ends of it. Each goes on, and stops cleanly.
func TestLogReaderGoesAway(t *testing.T) {
	t.Parallel()
	for name, args := range daemonArgs(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, args[0], args[1:]...)
			_, _ = p.stderr.Close(), p.write.Close()
			if p.line.Admin != "" { // each of these has a line in the log
				for range 3 {
					get(t, "http://"+p.line.Address+"/authorized_keys")
					awaitDropped(t, p.line.Admin, 1)
				}
			}
			p.signal(t, syscall.SIGTERM)
			p.ends(t, exitOK)
		})
	}
}

// get returns the body of a 200.
func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v", url, res.Status, err)
	}
	return string(body)
}

// awaitDropped waits until so many lines of the log are counted as dropped.
func awaitDropped(t *testing.T, admin string, want int) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		got := 0
		for line := range strings.Lines(get(t, "http://"+admin+"/metrics")) {
			_, _ = fmt.Sscanf(line, "pawl_log_lines_dropped_total %d", &got)
		}
		if got >= want {
			return
		}
		if time.Since(start) > patience {
			t.Fatalf("%d lines dropped, want %d", got, want)
		}
	}
}

// A failed start is told, once, and its exit code is its own.
func TestReportOfADaemon(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	args := []string{"pawl", "serve", "--config", filepath.Join(t.TempDir(), "none.json")}
	err := run(t.Context(), args, io.Discard, &stderr)
	if code := report(&stderr, err); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if got := stderr.String(); strings.Count(got, "pawl: error: ") != 1 || strings.Count(got, "hint: ") != 1 {
		t.Errorf("stderr is %q, want one error and one hint", got)
	}
}

// TestLibrariesAreMute: nothing but the log writes to stderr.
func TestLibrariesAreMute(t *testing.T) {
	t.Parallel()
	if output, err := exec.Command("chatter").CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("%q, %v; want nothing", output, err)
	}
}
