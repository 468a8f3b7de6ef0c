package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// checkStatus is how bad a finding of check is.
type checkStatus string

const (
	checkOK      checkStatus = "ok"
	checkWarning checkStatus = "warning" // worth a look; keys sign all the same
	checkError   checkStatus = "error"   // is to be mended, though keys may sign by another server
)

// checkFinding is one thing that was checked, and what came of it.
type checkFinding struct {
	Status  checkStatus `json:"status"`
	Subject string      `json:"subject"` // a file, a name in keys.json, a server, a key
	Text    string      `json:"finding"`
	Remedy  string      `json:"remedy,omitempty"` // what to do; of every finding that is not ok
	// Latency is that of a server's signatures, for scripts.
	Latency *latency `json:"latency,omitempty"`
}

// checkReport collects findings.
type checkReport struct {
	findings  []checkFinding
	open      bool     // a file or folder is open to others
	unchecked []string // what was left when the time was over
}

// over is whether ctx has ended, or its deadline is there: gRPC may tell that before ctx
// does.
func over(ctx context.Context) bool {
	deadline, bounded := ctx.Deadline()
	return ctx.Err() != nil || bounded && !time.Now().Before(deadline)
}

// ended is whether the time for what there is to check is over. Then what came of it says
// nothing, and it is noted as unchecked.
func (r *checkReport) ended(ctx context.Context, what string) bool {
	if !over(ctx) {
		return false
	}
	r.unchecked = append(r.unchecked, what)
	return true
}

// end tells once what was not checked, and why.
func (r *checkReport) end(ctx context.Context, timeout time.Duration) {
	why, remedy := fmt.Sprintf("its %v are over", timeout), "see what is slow above, and give it more time with --timeout"
	if errors.Is(ctx.Err(), context.Canceled) {
		why, remedy = "was interrupted", "let it run to its end"
	}
	if len(r.unchecked) > 0 {
		r.fail("check", remedy, "%s: not checked: %s", why, strings.Join(r.unchecked, ", "))
	}
}

func (r *checkReport) ok(subject, format string, args ...any) {
	r.add(checkOK, subject, "", format, args)
}

func (r *checkReport) warn(subject, remedy, format string, args ...any) {
	r.add(checkWarning, subject, remedy, format, args)
}

func (r *checkReport) fail(subject, remedy, format string, args ...any) {
	r.add(checkError, subject, remedy, format, args)
}

func (r *checkReport) add(status checkStatus, subject, remedy, format string, args []any) {
	r.findings = append(r.findings, checkFinding{
		Status: status, Subject: subject, Text: oneLine(fmt.Sprintf(format, args...)), Remedy: remedy,
	})
}

// count is how many findings have the status.
func (r *checkReport) count(status checkStatus) (n int) {
	for _, f := range r.findings {
		if f.Status == status {
			n++
		}
	}
	return n
}

// err is an error when anything is broken, be it one server of several.
func (r *checkReport) err() error {
	switch n := r.count(checkError); n {
	case 0:
		return nil
	case 1:
		i := slices.IndexFunc(r.findings, func(f checkFinding) bool { return f.Status == checkError })
		return fmt.Errorf("the check found an error: %s: %s", r.findings[i].Subject, r.findings[i].Text)
	default:
		return fmt.Errorf("the check found %d errors", n)
	}
}

func (r *checkReport) print(s *streams, asJSON bool) error {
	if asJSON {
		return r.printJSON(s)
	}
	t := table{out: s.out}
	for _, f := range r.findings {
		t.cells(string(f.Status), f.Subject, f.Text)
		if f.Remedy != "" {
			t.cells("", "", "-> "+f.Remedy)
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	return s.printf("\n%s, %s, %d ok\n", counted(r.count(checkError), "error"), counted(r.count(checkWarning), "warning"), r.count(checkOK))
}

func (r *checkReport) printJSON(s *streams) error {
	out := json.NewEncoder(s.out)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(struct {
		OK       bool           `json:"ok"` // no error; there may be warnings
		Errors   int            `json:"errors"`
		Warnings int            `json:"warnings"`
		Findings []checkFinding `json:"findings"`
	}{r.count(checkError) == 0, r.count(checkError), r.count(checkWarning), r.findings})
}
