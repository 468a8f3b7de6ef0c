package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tags are those of the Makefile, so that what is built is what is shipped.
const tags = "netgo,osusergo,sqlite_omit_load_extension"

// verdict is what became of a sabotage.
type verdict string

const (
	redTest  verdict = "caught"   // the named test failed
	green    verdict = "SURVIVED" // the named test passed
	notATest verdict = "BROKEN"   // nothing was tested: it did not build or did not end
)

// tree is a copy of the project that may be damaged.
type tree struct{ dir string }

// copyTrees copies the files that belong to the project, new ones too, n times.
func copyTrees(ctx context.Context, n int) (trees []*tree, err error) {
	root, err := output(ctx, ".", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, err
	}
	root = strings.TrimSpace(root)
	list, err := output(ctx, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	names := strings.Split(strings.Trim(list, "\x00"), "\x00")
	for range n {
		t, err := copyTree(root, names)
		if err != nil {
			removeTrees(trees)
			return nil, err
		}
		trees = append(trees, t)
	}
	return trees, nil
}

func copyTree(root string, names []string) (*tree, error) {
	dir, err := os.MkdirTemp("", "pawl-mutants-")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := copyFile(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	return &tree{dir}, nil
}

func removeTrees(trees []*tree) {
	for _, t := range trees {
		_ = os.RemoveAll(t.dir) // a temporary folder
	}
}

// copyFile copies one file; one that was deleted but is still in the index is no error.
func copyFile(from, to string) error {
	data, err := os.ReadFile(from) //nolint:gosec // a file of the project
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	return os.WriteFile(to, data, info.Mode().Perm()) //nolint:gosec // below a temporary folder
}

func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // git, with arguments of this program
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %v: %s", name, args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// baseline checks that every named test exists and passes as long as nothing
// is damaged: a test that fails anyway proves nothing.
func (t *tree) baseline(ctx context.Context, chosen []sabotage) error {
	byPackage := make(map[string][]string)
	for _, s := range chosen {
		byPackage[s.pkg] = append(byPackage[s.pkg], s.test)
	}
	for pkg, tests := range byPackage {
		slices.Sort(tests)
		tests = slices.Compact(tests)
		out, err := t.goTest(ctx, pkg, "^("+strings.Join(tests, "|")+")$")
		if err != nil {
			return fmt.Errorf("%s fails without a sabotage: %v\n%s", pkg, err, indent(out))
		}
		for _, test := range tests {
			if !strings.Contains(out, "--- PASS: "+test+" ") {
				return fmt.Errorf("%s: %s did not run", pkg, test)
			}
		}
	}
	return nil
}

// try applies s, runs its test and undoes it. The error is one of the tree, not
// of the test.
func (t *tree) try(ctx context.Context, s sabotage) (verdict, string, error) {
	path := filepath.Join(t.dir, s.file)
	intact, err := os.ReadFile(path) //nolint:gosec // a file of the project
	if err != nil {
		return "", "", err
	}
	damaged, err := s.apply(string(intact))
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil { //nolint:gosec // below a temporary folder
		return "", "", err
	}
	out, testErr := t.goTest(ctx, s.pkg, "^"+s.test+"$")
	if err := os.WriteFile(path, intact, 0o600); err != nil { //nolint:gosec // below a temporary folder
		return "", "", err
	}
	if err := ctx.Err(); err != nil {
		return "", "", err
	}
	return judge(s.test, out, testErr), out, nil
}

// goTest runs the tests of one package that pattern names.
func (t *tree) goTest(ctx context.Context, pkg, pattern string) (string, error) {
	// With -trimpath all trees share what `make build` has compiled.
	args := []string{
		"test", "-trimpath", "-v", "-count=1", "-vet=off", "-timeout=3m", "-tags=" + tags, "-run=" + pattern, pkg,
	}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // arguments of this program
	cmd.Dir = t.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// judge reads what `go test -v` printed. Only a test that failed by its own
// judgement counts: a build failure and a timeout say nothing of the rule.
func judge(test, out string, err error) verdict {
	failed := strings.Contains(out, "--- FAIL: "+test+" ")
	hung := strings.Contains(out, "panic: test timed out")
	switch {
	case err == nil && strings.Contains(out, "--- PASS: "+test+" "):
		return green
	case err != nil && failed && !hung:
		return redTest
	default:
		return notATest
	}
}
