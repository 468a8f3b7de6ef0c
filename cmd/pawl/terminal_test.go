package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// echoes reports whether the terminal shows what is typed.
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
	term.start(t, cmd)
	term.await(t, "Passphrase of the key: ", false)
	return cmd
}

// start runs a program that has the terminal.
func (term *terminal) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hung := killIfHung(cmd)
	t.Cleanup(func() { hung.Stop() })
}

// await waits for a text on the screen, and for the terminal to show what is typed or not to.
func (term *terminal) await(t *testing.T, text string, echoing bool) {
	t.Helper()
	for start := time.Now(); !strings.Contains(term.screen(), text) || term.echoes(t) != echoing; time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("%q is not shown, but %q", text, term.screen())
		}
	}
}

// A PEM may be pasted, in pieces and with more behind it. None of it is shown, and none is
// left to the shell.
func TestPastedPEM(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	config := (&faultyCard{}).serve(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pawl := filepath.Join(t.TempDir(), "pawl")
	if err := os.Symlink(self, pawl); err != nil {
		t.Fatal(err)
	}
	const shell = `"$0" keys import --config "$1" --dir "$2"; echo at the shell; read line; echo "it reads $line"`
	cmd := exec.Command("sh", "-c", shell, pawl, config, t.TempDir())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.slave, term.slave, term.slave
	term.start(t, cmd)
	term.await(t, "Secret key: ", false)
	for _, piece := range []string{ // of RFC 8410 section 10.3, with the line ends of a paste
		"-----BEGIN EC PARAMETERS-----\rBgUrgQQACg==\r-----END EC PARAMETERS-----\r-----BEGIN PRIV",
		"ATE KEY-----\rMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06",
		"/nwoy/HU++CXqI9EdVhC\r-----END PRIVATE KEY-----\rcommand\rcommand\r",
	} {
		if _, err := term.master.WriteString(piece); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	term.await(t, "at the shell", true)
	if _, err := term.master.WriteString("what is typed\r"); err != nil {
		t.Fatal(err)
	}
	term.await(t, "it reads what is typed", true)
	_ = cmd.Wait()
	screen := term.screen()
	if !strings.Contains(screen, "edpktqZcVmXHSzLxFHBnyBpthJ3UpHjVPj7Q8T4H7MtLGthJbw3CTy") {
		t.Errorf("shown: %q", screen)
	}
	if strings.Contains(screen, "BEGIN") || strings.Contains(screen, "MC4CAQ") || strings.Contains(screen, "command") {
		t.Errorf("the paste is shown: %q", screen)
	}
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
