package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal and all that was shown on it.
type terminal struct {
	master, slave *os.File
	mu            sync.Mutex
	shown         bytes.Buffer
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	term := &terminal{master: master, slave: slave}
	go term.watch()
	return term
}

func (term *terminal) watch() {
	buffer := make([]byte, 1024)
	for {
		n, err := term.master.Read(buffer)
		term.mu.Lock()
		term.shown.Write(buffer[:n])
		term.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (term *terminal) screen() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.shown.String()
}

// echoes is whether the terminal shows what is typed.
func (term *terminal) echoes(t *testing.T) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(term.slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}

// asked runs `pawl keys import` of an encrypted key at the terminal, until it asks for
// the passphrase.
func (term *terminal) asked(t *testing.T, stdout, stderr *bytes.Buffer, dir string) *exec.Cmd {
	t.Helper()
	config := (&faultyCard{}).serve(t)
	secret := secretFile(t, "edesk1uiM6BaysskGto8pRtzKQqFqsy1sea1QRjTzaQYuBxYNhuN6eqEU78TGRXZocsVRJYcN7AaU9JDykwUd8KW")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args = []string{"pawl", "keys", "import", "--from", secret, "--config", config, "--dir", dir}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.slave, stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { hung.Stop() })
	for start := time.Now(); !strings.Contains(term.screen(), "Passphrase of the key: ") || term.echoes(t); time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			_ = cmd.Process.Kill()
			t.Fatalf("not asked, but shown %q and told %q", term.screen(), stderr)
		}
	}
	return cmd
}

func TestPassphraseIsNotShown(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	var stdout, stderr bytes.Buffer
	cmd := term.asked(t, &stdout, &stderr, t.TempDir())
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid))
	if err != nil || !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
		t.Errorf("it may dump core: %v\n%s", err, limits)
	}
	if _, err := term.master.WriteString("foo\n"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(stdout.String(), "edpkttVn1coEZNjcjjAF36jDXDB377imNiKCHqjdXSt85eVN779jfX") {
		t.Errorf("%v, stdout %q, stderr %q", err, &stdout, &stderr)
	}
	if strings.Contains(term.screen(), "foo") {
		t.Errorf("shown: %q", term.screen())
	}
	if !term.echoes(t) {
		t.Error("the terminal still hides what is typed")
	}
}

// A question that is broken off leaves the terminal as it was, and no file.
func TestInterruptAtTheQuestion(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	cmd := term.asked(t, &stdout, &stderr, dir)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || stderr.String() != "pawl: error: interrupted\n" || stdout.Len() > 0 {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, &stdout, &stderr)
	}
	if !term.echoes(t) {
		t.Error("the terminal still hides what is typed")
	}
	if names := namesIn(t, dir); len(names) != 0 {
		t.Errorf("the folder holds %v", names)
	}
}

// Where nobody can be asked, the way out is said.
func TestPassphraseWithoutATerminal(t *testing.T) {
	t.Parallel()
	config := (&faultyCard{}).serve(t)
	secret := secretFile(t, "edesk1uiM6BaysskGto8pRtzKQqFqsy1sea1QRjTzaQYuBxYNhuN6eqEU78TGRXZocsVRJYcN7AaU9JDykwUd8KW")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args = []string{"pawl", "keys", "import", "--from", secret, "--config", config, "--dir", t.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a session of its own has no terminal
	output, _ := cmd.CombinedOutput()
	want := "pawl: error: there is no terminal to ask at: name a file with --passphrase-file\n"
	if code := cmd.ProcessState.ExitCode(); code != 1 || string(output) != want {
		t.Errorf("exit code %d, output %q, want %q", code, output, want)
	}
}
