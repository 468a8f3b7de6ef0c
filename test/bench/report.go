package main

import (
	"bufio"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// report is what is kept of a run.
type report struct {
	Time     time.Time `json:"time"`
	Program  string    `json:"program"`  // its commit
	Size     int64     `json:"size"`     // of the program, in bytes
	Machine  string    `json:"machine"`  // processor, cores, kernel, file system
	Startups []startup `json:"startups"` // of pawl
	Cells    []result  `json:"cells"`
	Targets  []target  `json:"targets"`

	rounds map[string][]result // of each cell, for benchstat
}

// print writes the tables for people. Times are microseconds, those of processes are
// CPU time per request.
func (r report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\t\n", args...) } // Flush has the error
	p("%s", r.Machine)
	p("%s, %.1f MB\n", r.Program, float64(r.Size)/1e6)
	p("\trequests\t/s\tp50\tp99\tp99.9\tpawl\tcard\tload\tcores\tcommits\tfsyncs\tMiB")
	for _, c := range r.Cells {
		p("%s\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.2f\t%.3f\t%.3f\t%.1f", c.Cell, c.Took.Count, c.Rate,
			c.Took.P50, c.Took.P99, c.Took.P999, c.Pawl, c.Card, c.Load, c.Busy, c.Commits, c.Syncs, c.Resident)
	}
	p("\n")
	p("ceilings, p50 and p99\t%s\town p50\town p99", strings.Join(all, "\t"))
	for _, c := range r.Cells {
		if len(c.Ceilings) > 0 {
			p("%s\t%s%.0f\t%.0f", c.Cell, ceilingColumns(c), c.Own.P50, c.Own.P99)
		}
	}
	p("\n")
	for _, s := range r.Startups {
		p("%s\tlistening %.1f ms\tready %.1f ms\t%.1f MiB at rest", s.Stand, s.Listening.P50/1000, s.Ready.P50/1000,
			s.Resident)
	}
	p("\n")
	for _, t := range r.Targets {
		p("%s\t%.4g\tlimit %.4g\t%s", t.Name, t.Got, t.Limit, map[bool]string{true: "held", false: "MISSED"}[t.Held])
	}
	return w.Flush()
}

func ceilingColumns(c result) string {
	var columns strings.Builder
	for _, name := range all {
		if q, ok := c.Ceilings[name]; ok {
			fmt.Fprintf(&columns, "%.0f/%.0f", q.P50, q.P99)
		}
		columns.WriteByte('\t')
	}
	return columns.String()
}

// keep writes the report as JSON, and each round as a line that benchstat reads
// (https://go.dev/design/14313-benchmark-format), and says where.
func (r report) keep(dir string) (paths []string, err error) {
	base := filepath.Join(dir, r.Time.UTC().Format("20060102-150405"))
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(base+".json", append(text, '\n'), 0o600); err != nil {
		return nil, err
	}
	file, err := os.Create(base + ".txt") //nolint:gosec // in the folder of the operator's choice
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriter(file)
	r.benchstat(w)
	if err := w.Flush(); err != nil {
		_ = file.Close()
		return nil, err
	}
	return []string{base + ".json", base + ".txt"}, file.Close()
}

func (r report) benchstat(w io.Writer) {
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) } // the buffer keeps the error
	p("program: %s\nmachine: %s\n", r.Program, r.Machine)
	for _, c := range r.Cells {
		name := strings.NewReplacer(" ", "_", "/", "-").Replace(c.Cell)
		for _, round := range r.rounds[c.Cell] {
			p("BenchmarkPawl/%s %d %.0f p50-ns %.0f p99-ns %.0f pawl-cpu-ns %.1f req/s", name, round.Took.Count,
				1000*round.Took.P50, 1000*round.Took.P99, 1000*round.Pawl, round.Rate)
		}
	}
}

// describe says what was measured, and where. dir lies on the disk.
func (r *report) describe(program, dir string) error {
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	r.Size, r.Program = info.Size(), revision(program)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return err
	}
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return err
	}
	r.Machine = fmt.Sprintf("%s, %d cores, Linux %s, file system %#x", processor(), runtime.NumCPU(),
		unix.ByteSliceToString(kernel.Release[:]), fs.Type)
	return nil
}

// revision is the commit that a Go program was built from.
func revision(program string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return program
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit := settings["vcs.revision"]
	commit = commit[:min(len(commit), 12)]
	if settings["vcs.modified"] == "true" {
		commit += " and changes"
	}
	return fmt.Sprintf("%s %s, %s", filepath.Base(program), commit, info.GoVersion)
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}
