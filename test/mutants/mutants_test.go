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
	all, err := sabotages()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, s := range all {
		fits(t, s, names)
		if !hasTest(t, s.pkg, s.test) {
			t.Errorf("%s: there is no %s in %s", s.name, s.test, s.pkg)
		}
	}
}

// TestEquivalentsFitTheCode: what no test can notice is there to be read, and its reason is given.
func TestEquivalentsFitTheCode(t *testing.T) {
	t.Parallel()
	_, spared, err := conditions()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, e := range spared {
		fits(t, e.sabotage, names)
		if len(strings.Fields(e.why)) < 3 {
			t.Errorf("%s: %q is no reason", e.name, e.why)
		}
	}
}

// fits checks that a sabotage can be applied to its file, and that its name is its own.
func fits(t *testing.T, s sabotage, names map[string]bool) {
	t.Helper()
	if names[s.name] {
		t.Errorf("%s occurs twice", s.name)
	}
	names[s.name] = true
	text, err := os.ReadFile(filepath.Join("../..", s.file))
	if err != nil {
		t.Errorf("%s: %v", s.name, err)
		return
	}
	if _, err := s.apply(string(text)); err != nil {
		t.Error(err)
	}
}

// TestParseConditions reads entries of both kinds, and refuses one that is not whole.
func TestParseConditions(t *testing.T) {
	t.Parallel()
	caught, spared, err := parseConditions("# Heading\n\n== a/b.go\n- \tif x {\n- \t\tone()\n+ \tif !x {\n+ \t\tone()\n= TestX\n- y\n+ z\n~ it is the same\n")
	want := sabotage{name: "a/b.go: if !x {", file: "a/b.go", old: "\tif x {\n\t\tone()", new: "\tif !x {\n\t\tone()", pkg: "./a", test: "TestX"}
	if err != nil || len(caught) != 1 || caught[0] != want {
		t.Errorf("caught %+v, %v, want %+v", caught, err, want)
	}
	if len(spared) != 1 || spared[0].name != "a/b.go: z" || spared[0].why != "it is the same" {
		t.Errorf("spared %+v", spared)
	}
	for _, text := range []string{"- y\n+ z\n= TestX\n", "== a\n- y\n= TestX\n", "== a\n- y\n+ z\n=\n", "== a\n- y\n+ z\n", "y\n"} {
		if _, _, err := parseConditions(text); err == nil {
			t.Errorf("%q is taken", text)
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
