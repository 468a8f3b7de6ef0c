package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	if strings.HasSuffix(os.Args[0], ".test") { // not one of the programs below
		// Under nohup SIGHUP is ignored, and so it would be in those that tests start.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	testscript.Main(witnessed{m}, map[string]func(){
		"pawl":           main,
		"createtezoskey": main,
		"http":           httpMain,
		"verify":         verifyMain,
		"chatter":        chatterMain,
		"trail":          trailMain,
	})
}

// witnessed runs the tests with a folder for the witnesses of all ratchets.
type witnessed struct{ *testing.M }

func (w witnessed) Run() int {
	folder, err := os.MkdirTemp("", "pawl-witness-")
	if err == nil {
		err = os.Setenv("RUNTIME_DIRECTORY", folder)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	return w.M.Run()
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:      "testdata",
		Deadline: time.Now().Add(10 * patience),
		Setup: func(env *testscript.Env) error {
			env.Values["processes"] = make(map[string]*exec.Cmd)
			env.Setenv("RUNTIME_DIRECTORY", os.Getenv("RUNTIME_DIRECTORY"))
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each program with the race detector takes a second more
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start":   startCommand,
			"await":   awaitCommand,
			"halt":    haltCommand,
			"exits":   exitsCommand,
			"capture": captureCommand,
			"odd":     oddCommand,
			"mode":    modeCommand,
			"payload": payloadCommand,

			"await-ready": awaitReadyCommand,
			"badconfig":   badConfigCommand,
			"certify":     certifyCommand,
			"expand":      expandCommand,
			"files":       filesCommand,
			"freshkey":    freshKeyCommand,
			"follow":      followCommand,
			"holds":       holdsCommand,
			"node":        nodeCommand,
			"publicinfo":  publicInfoCommand,
		},
	})
}

// patience is how long a slow machine may take for anything.
const patience = time.Minute

// killIfHung kills a program that runs longer than patience, unless the timer is stopped.
func killIfHung(cmd *exec.Cmd) *time.Timer {
	return time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
}

// startCommand is `start NAME PROGRAM ARGS…`: it runs a program that writes to
// NAME.out and NAME.err until `halt NAME`, or the end of the script.
func startCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARGS…")
	}
	name := args[0]
	cmd := exec.Command(lookPath(ts, args[1]), args[2:]...)
	cmd.Args[0] = args[1]
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "GORACE="+ts.Getenv("GORACE"))
	stdout, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	stderr, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	ts.Defer(func() { _, _ = stdout.Close(), stderr.Close() })
	ts.Check(cmd.Start())
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	processes(ts)[name] = cmd
}

func processes(ts *testscript.TestScript) map[string]*exec.Cmd {
	return ts.Value("processes").(map[string]*exec.Cmd)
}

func lookPath(ts *testscript.TestScript, program string) string {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		path := dir + "/" + program
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	ts.Fatalf("no program %s", program)
	return ""
}

// awaitCommand is `await NAME REGEXP VAR…`: it waits until what NAME wrote to
// stderr or stdout matches, and sets the variables to the groups.
func awaitCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await NAME REGEXP VAR…")
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	deadline := time.Now().Add(patience)
	for {
		wrote := ts.ReadFile(args[0]+".err") + ts.ReadFile(args[0]+".out")
		if setGroups(ts, pattern, wrote, args[2:]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not write %s but:\n%s", args[0], args[1], wrote)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func setGroups(ts *testscript.TestScript, pattern *regexp.Regexp, text string, vars []string) bool {
	groups := pattern.FindStringSubmatch(text)
	if groups == nil || len(groups) != len(vars)+1 {
		return false
	}
	for i, name := range vars {
		ts.Setenv(name, groups[i+1])
	}
	return true
}

// haltCommand is `halt NAME TERM|INT|KILL|NONE CODE`: it signals the program and
// wants that exit code. With NONE it only waits.
func haltCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: halt NAME TERM|INT|KILL|NONE CODE")
	}
	cmd := processes(ts)[args[0]]
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}
	if signal, ok := signals[args[1]]; ok {
		ts.Check(cmd.Process.Signal(signal))
	}
	defer killIfHung(cmd).Stop()
	err := cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); strconv.Itoa(code) != args[2] {
		ts.Fatalf("%s: exit code %d (%v), want %s\n%s", args[0], code, err, args[2], ts.ReadFile(args[0]+".err"))
	}
}

// exitsCommand is `exits CODE PROGRAM ARGS…`: exec with the exit code wanted.
func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s: %s", code, args[0], ts.ReadFile("stderr"))
	}
	if code != 0 {
		checkErrorOutput(ts)
	}
}

// checkErrorOutput wants each line of a failed command's stderr to be an error,
// a hint, a note or a line of the log, and at least one error.
func checkErrorOutput(ts *testscript.TestScript) {
	stderr := strings.TrimSuffix(ts.ReadFile("stderr"), "\n")
	if !strings.Contains("\n"+stderr, "\npawl: error: ") {
		ts.Fatalf("no line of stderr starts with pawl: error:\n%s", stderr)
	}
	for line := range strings.SplitSeq(stderr, "\n") {
		if line == "" || strings.Contains(line, "goroutine ") || strings.Contains(line, "panic") {
			ts.Fatalf("stderr has the line %q", line)
		}
	}
}

// captureCommand is `capture FILE REGEXP VAR…`: it sets the variables to the
// groups of the first match in the file, which may be stdout.
func captureCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: capture FILE REGEXP VAR…")
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	if text := ts.ReadFile(args[0]); !setGroups(ts, pattern, text, args[2:]) {
		ts.Fatalf("%s does not match %s:\n%s", args[0], args[1], text)
	}
}

// modeCommand is `mode OCTAL FILE…`.
func modeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode OCTAL FILE…")
	}
	for _, file := range args[1:] {
		info, err := os.Stat(ts.MkAbs(file))
		ts.Check(err)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", file, got, args[0])
		}
	}
}

func matches(ts *testscript.TestScript, pattern, text string) bool {
	re, err := regexp.Compile(pattern)
	ts.Check(err)
	return re.MatchString(text)
}
