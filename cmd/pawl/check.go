package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pawl/internal/check"
)

type checkCmd struct {
	Config string     `default:"./keys.json" placeholder:"FILE" help:"keys.json to check (default: ${default})."`
	Admin  string     `default:"127.0.0.1:9732" placeholder:"ADDR" help:"Admin listener of a running daemon, asked while it holds the ratchet (default: ${default})."`
	HTTPS  httpsFlags `embed:""`
	JSON   bool       `name:"json" help:"Print JSON."`
	// Timeout bounds a check, whatever hangs. A server that is down costs seconds.
	Timeout time.Duration `default:"2m" placeholder:"TIME" help:"End after so long; what was not checked by then is told (default: ${default})."`
}

// Validate refuses a timeout that is not positive, and a flag that means nothing without another one.
func (c *checkCmd) Validate() error {
	if err := c.HTTPS.validate(); err != nil {
		return err
	}
	if c.Timeout <= 0 {
		return fmt.Errorf("--timeout %v: want a time above 0", c.Timeout)
	}
	return nil
}

func (*checkCmd) Help() string {
	return helpText("Checks keys.json and all that it points at: certificates (with --tls-cert those of pawl serve "+
		"too), the GREP11 servers, a signature of each key, the ratchets, the head of a node, file modes, the clock. It "+
		"changes nothing and may run beside a daemon.",
		"pawl check --json | jq .findings", "0 if nothing is broken, be there warnings; 1 if anything is, be it one "+
			"server of several; 2 for wrong usage")
}

// Run prints the findings.
func (c *checkCmd) Run(ctx context.Context, s *streams) error {
	r := check.Run(ctx, check.Options{
		Config: c.Config, Admin: c.Admin, Timeout: c.Timeout, HTTPS: c.HTTPS.files(),
	})
	show := showReport
	if c.JSON {
		show = showReportJSON
	}
	return errors.Join(show(s, r), r.Err())
}

// showReport prints a table: a line for each finding, and below it what to do.
func showReport(s *streams, r *check.Report) error {
	t := table{out: s.out}
	for _, f := range r.Findings {
		t.cells(string(f.Status), f.Subject, f.Text)
		for i, line := range strings.Split(f.Remedy, "\n") {
			switch {
			case i > 0:
				t.cells("", "", "   "+line)
			case line != "":
				t.cells("", "", "-> "+line)
			}
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	return s.printf("\n%s, %s, %d ok\n",
		counted(r.Count(check.Error), "error"), counted(r.Count(check.Warning), "warning"), r.Count(check.OK))
}

func showReportJSON(s *streams, r *check.Report) error {
	out := json.NewEncoder(s.out)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(struct {
		OK       bool            `json:"ok"` // no error; there may be warnings
		Errors   int             `json:"errors"`
		Warnings int             `json:"warnings"`
		Findings []check.Finding `json:"findings"`
	}{r.Count(check.Error) == 0, r.Count(check.Error), r.Count(check.Warning), r.Findings})
}

// counted writes a number with its noun: "1 error", "2 errors".
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
