package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTableFitsTheCode keeps the table in step with the project: each line to
// be sabotaged stands there once, and each named test exists.
func TestTableFitsTheCode(t *testing.T) {
	t.Parallel()
	names := make(map[string]bool)
	for _, s := range sabotages() {
		if names[s.name] {
			t.Errorf("%s occurs twice", s.name)
		}
		names[s.name] = true
		text, err := os.ReadFile(filepath.Join("../..", s.file))
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		if _, err := s.apply(string(text)); err != nil {
			t.Error(err)
		}
		if !hasTest(t, s.pkg, s.test) {
			t.Errorf("%s: there is no %s in %s", s.name, s.test, s.pkg)
		}
	}
}

func hasTest(t *testing.T, pkg, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(test) + `\(`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if declared.Match(text) {
			return true
		}
	}
	return false
}

func TestApply(t *testing.T) {
	t.Parallel()
	const text = "if a {\nif b {\nif b {\n"
	for _, test := range []struct {
		s    sabotage
		want string // of the text, or of the error after "!"
	}{
		{sabotage{name: "once", old: "if a {", new: "if !a {"}, "if !a {\nif b {\nif b {\n"},
		{sabotage{name: "twice", old: "if b {", new: "if !b {"}, "!2 times"},
		{sabotage{name: "gone", old: "if c {", new: "if !c {"}, "!0 times"},
		{sabotage{name: "same", old: "if a {", new: "if a {"}, "!changes nothing"},
	} {
		got, err := test.s.apply(text)
		if want, bad := strings.CutPrefix(test.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q, %v, want an error with %q", test.s.name, got, err, want)
			}
		} else if err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", test.s.name, got, err, want)
		}
	}
}

// TestJudge: only a test that failed by its own judgement has caught anything.
func TestJudge(t *testing.T) {
	t.Parallel()
	exit := errors.New("exit status 1")
	for name, test := range map[string]struct {
		out  string
		err  error
		want verdict
	}{
		"failed":         {"=== RUN   TestX\n    x_test.go:1: got 1, want 2\n--- FAIL: TestX (0.00s)\nFAIL\n", exit, redTest},
		"panicked":       {"=== RUN   TestX\n--- FAIL: TestX (0.00s)\npanic: index out of range [recovered]\n", exit, redTest},
		"passed":         {"=== RUN   TestX\n--- PASS: TestX (0.00s)\nPASS\nok  \tpawl/x\t0.1s\n", nil, green},
		"no such test":   {"testing: warning: no tests to run\nPASS\nok  \tpawl/x\t0.1s [no tests to run]\n", nil, notATest},
		"skipped":        {"=== RUN   TestX\n--- SKIP: TestX (0.00s)\nPASS\n", nil, notATest},
		"does not build": {"./x.go:3:2: declared and not used: y\nFAIL\tpawl/x [build failed]\nFAIL\n", exit, notATest},
		"does not end":   {"=== RUN   TestX\npanic: test timed out after 3m0s\n--- FAIL: TestX (180.00s)\nFAIL\n", exit, notATest},
		"another failed": {"=== RUN   TestXY\n--- FAIL: TestXY (0.00s)\nFAIL\n", exit, notATest},
	} {
		if got := judge("TestX", test.out, test.err); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
