package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the server that the bench starts of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "echo" {
		main()
		return
	}
	os.Exit(m.Run())
}

// buildPawl builds the program as `make build` does.
func buildPawl(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pawl")
	const tags = "netgo,osusergo,sqlite_omit_load_extension" // of the Makefile
	cmd := exec.Command("go", "build", "-trimpath", "-tags", tags, "-o", path, "pawl/cmd/pawl")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// TestRun measures a cell of each kind for a moment: the load is understood, its
// signatures verify, and the figures are there. How large they are no test says.
func TestRun(t *testing.T) {
	t.Parallel()
	pawl, dir := buildPawl(t), t.TempDir()
	only := regexp.MustCompile(`^(tz2, 1 connection|tz1, HTTPS, 2 fresh, resumed|10 keys, 16 connections|GET /keys, 16 connections` +
		`|identical again, 16 connections|conflicting, 16 connections|HSM 5 ms, 64 at once|10 keys, 64 connections, fsync \+5 ms)$`)
	cmd := runCmd{Pawl: pawl, Dir: dir, Rounds: 1, Time: 200 * time.Millisecond, Starts: 1, Only: only}
	if err := cmd.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := readReport(t, dir)
	if len(r.Cells) != 8 || len(r.Startups) != 5 || len(r.Targets) == 0 || r.Size == 0 {
		t.Fatalf("%d cells, %d startups, %d targets, program of %d bytes, want 8, 5, some and some", len(r.Cells), len(r.Startups), len(r.Targets), r.Size)
	}
	for _, c := range r.Cells {
		if c.Took.Count == 0 || c.Took.P50 <= 0 || c.Rate <= 0 || c.Pawl <= 0 || c.Resident <= 0 {
			t.Errorf("%s: %+v, want figures", c.Cell, c)
		}
		signs := !strings.HasPrefix(c.Cell, "GET") && !strings.HasPrefix(c.Cell, "identical") && !strings.HasPrefix(c.Cell, "conflicting")
		if signs != (c.Commits > 0) || signs != (c.Syncs > 0) {
			t.Errorf("%s: %v commits and %v fsyncs a request", c.Cell, c.Commits, c.Syncs)
		}
		if c.Cell == "tz2, 1 connection" && (c.Commits != 1 || c.Syncs != 1 || len(c.Ceilings) != len(all) || c.Own.Count == 0) {
			t.Errorf("%s: %+v, want one commit and one fsync each, and all ceilings", c.Cell, c)
		}
		if strings.Contains(c.Cell, "fsync +5 ms") && c.Took.P50 < 5000 {
			t.Errorf("%s: p50 %v µs, want the five milliseconds in it", c.Cell, c.Took.P50)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "run-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func readReport(t *testing.T, dir string) (r report) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("reports %v, %v, want one", paths, err)
	}
	text, err := os.ReadFile(paths[0])
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(strings.TrimSuffix(paths[0], "json") + "txt")
	if err != nil || strings.Count(string(stat), "BenchmarkPawl/") != len(r.Cells) {
		t.Errorf("lines for benchstat: %v\n%s", err, stat)
	}
	return r
}

// TestOther puts the load on a signer that it only knows by its address and its keys.
func TestOther(t *testing.T) {
	t.Parallel()
	b, err := openBench(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := b.use(t.Context(), buildPawl(t)); err != nil {
		t.Fatal(err)
	}
	s, err := b.stand(t.Context(), plan{name: "other", keys: 1, kinds: mixed, inFlight: 8})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := runCmd{
		URL: "http://" + s.pawl.Address, Keys: []string{s.keys[0].public().Hash().String()}, Level: 1000, PID: s.pid,
		Dir: dir, Rounds: 1, Time: 50 * time.Millisecond,
	}
	if err := cmd.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := readReport(t, dir)
	if len(r.Cells) != 7 { // not 64 connections: a key has 24 lanes
		t.Errorf("%d cells, want 7", len(r.Cells))
	}
	for _, c := range r.Cells {
		if c.Took.Count == 0 || c.Pawl <= 0 || c.Resident <= 0 {
			t.Errorf("%s: %+v, want figures", c.Cell, c)
		}
	}
}

// TestCompare measures a program against itself.
func TestCompare(t *testing.T) {
	t.Parallel()
	b, err := openBench(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	pawl := buildPawl(t)
	if err := b.use(t.Context(), pawl); err != nil {
		t.Fatal(err)
	}
	cmd := compareCmd{Old: pawl, Requests: 100, Time: 50 * time.Millisecond, Only: regexp.MustCompile("^10 keys, 16 connections$")}
	var out strings.Builder
	if err := cmd.compare(t.Context(), b, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"pawl CPU µs", "p50 µs", "requests/s", "turns, requests"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestWrongAnswers: what is no good answer ends the run, for its figures would be of
// nothing.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	good := key(t, 1)
	for name, l := range map[string]*lane{
		"no signature":    {public: good, payload: []byte{0x13}, signature: "sig"},
		"of another key":  {public: good, payload: []byte{0x13}, signature: signatureOfNobody},
		"of other bytes ": {public: good, payload: []byte{0x12}, signature: signatureOfNobody},
	} {
		if err := l.verify(); err == nil {
			t.Errorf("%s: verifies", name)
		}
	}
	if err := (&lane{}).verify(); err != nil {
		t.Errorf("nothing signed: %v", err)
	}
}

// signatureOfNobody has the right form.
const signatureOfNobody = "edsigtXomBKi5CTRf5cjATJWSyaRvhfYNHqSUGrn4SdbYRcGwQrUGjzEfQDTuqHhuA8b2d8NarZjz8TRf65WkpQmo423BtomS8Q"
