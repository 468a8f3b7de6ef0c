package main

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"pawl/internal/check"
)

// followCommand is `follow FILE N COUNT`: it runs what FILE (stdout, stderr) tells a person to run, with
// N for the level, and wants as many commands, each to succeed. A program that it ends has ended then.
func followCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: follow FILE N COUNT")
	}
	text := ts.ReadFile(args[0])
	commands := commandsIn(text)
	if strconv.Itoa(len(commands)) != args[2] {
		ts.Fatalf("%s tells %d commands, want %s: %q, in\n%s", args[0], len(commands), args[2], commands, text)
	}
	for _, command := range commands {
		command = strings.ReplaceAll(command, "level N", "level "+args[1])
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = ts.Getenv("WORK")
		cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "GORACE="+ts.Getenv("GORACE"))
		output, err := cmd.CombinedOutput()
		ts.Logf("$ %s\n%s", command, output)
		if err != nil {
			ts.Fatalf("following %s: %s: %v\n%s", args[0], command, err, output)
		}
		for _, started := range processes(ts) {
			if command == "kill -TERM "+strconv.Itoa(started.Process.Pid) {
				_ = started.Wait()
			}
		}
	}
}

// told matches a command on a line of its own, and one in backquotes.
var told = regexp.MustCompile("(?m)^(?:hint:)?  +((?:pawl|mkdir|kill) .*)$|`(pawl [^`]*)`")

// commandsIn finds commands in those places, and at the end of a line that lists them all.
func commandsIn(text string) (commands []string) {
	for _, match := range told.FindAllStringSubmatch(text, -1) {
		commands = append(commands, match[1]+match[2])
	}
	for line := range strings.Lines(text) {
		list := strings.TrimSpace(line[strings.LastIndex(line, ": ")+1:])
		if !strings.Contains(line, check.NewRatchet+": ") {
			continue
		}
		commands = append(commands, strings.Split(list, "; ")...)
	}
	return commands
}
