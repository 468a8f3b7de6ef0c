package fault_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// patch is a change of one place in a source file of the program, for a build that
// only this campaign uses: the sources themselves have no hooks.
type patch struct {
	file     string // below the module's root
	old, new string // with an empty old the file is new
}

// apply changes a source file in memory. The place must be there exactly once: a
// hook that is set nowhere would prove nothing.
func (p patch) apply(t *testing.T, content string) string {
	t.Helper()
	if p.old == "" {
		return p.new
	}
	if n := strings.Count(content, p.old); n != 1 {
		t.Fatalf("%s has %d times what is to be patched, want once:\n%s", p.file, n, p.old)
	}
	return strings.Replace(content, p.old, p.new, 1)
}

// programs are those built so far, in a folder that TestMain removes.
var programs = struct {
	sync.Mutex
	dir   string
	built map[string]string
}{built: make(map[string]string)}

// build builds the program as `make build` does.
func build(t *testing.T) (path string) { t.Helper(); return buildPatched(t) }

// buildPatched builds the program with patches laid over its sources
// (`go build -overlay`), which stay as they are. It does so once for all tests.
func buildPatched(t *testing.T, patches ...patch) (path string) {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	name := fmt.Sprint(patches)
	if path, ok := programs.built[name]; ok {
		return path
	}
	path = filepath.Join(programs.dir, fmt.Sprintf("pawl-%d", len(programs.built)))
	const tags = "netgo,osusergo,sqlite_omit_load_extension" // of the Makefile
	args := []string{"build", "-trimpath", "-tags", tags, "-o", path, "-overlay", overlay(t, path+".overlay", patches)}
	if out, err := exec.Command("go", append(args, "pawl/cmd/pawl")...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	programs.built[name] = path
	return path
}

// overlay writes the patched files into a folder, and the list that go build reads.
func overlay(t *testing.T, dir string, patches []patch) (list string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var names struct{ Replace map[string]string }
	names.Replace = make(map[string]string)
	for file, content := range patchedFiles(t, patches) {
		replacement := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(replacement, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		absolute, err := filepath.Abs(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		names.Replace[absolute] = replacement
	}
	text, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	list = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return list
}

func patchedFiles(t *testing.T, patches []patch) map[string]string {
	t.Helper()
	contents := make(map[string]string)
	for _, p := range patches {
		content, seen := contents[p.file]
		if !seen && p.old != "" {
			data, err := os.ReadFile(filepath.Join("../..", p.file))
			if err != nil {
				t.Fatal(err)
			}
			content = string(data)
		}
		contents[p.file] = p.apply(t, content)
	}
	return contents
}
