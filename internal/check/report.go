package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"pawl/ratchet"
)

// Status is how bad a finding is.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warning Status = "warning" // worth a look; keys sign all the same
	Error   Status = "error"   // is to be mended, though keys may sign by another server
)

// Finding is one thing that was checked, and what came of it.
type Finding struct {
	Status  Status `json:"status"`
	Subject string `json:"subject"` // a file, a name in keys.json, a server, a key
	Text    string `json:"finding"`
	// Remedy says what to do, of every finding that is not OK. Commands stand in it on lines of their own.
	Remedy string `json:"remedy,omitempty"`
	// Latency is that of a server's signatures, for scripts.
	Latency *Latency `json:"latency,omitempty"`
}

// Report is what a check found, in the order in which it looked.
type Report struct {
	Findings []Finding

	open      bool     // a file or folder is open to others
	unchecked []string // what was left when the time was over

	readable []string             // ratchets that a daemon would open, and none has open
	told     []ratchet.StoredMark // by the daemon that holds one
}

// over reports whether ctx has ended, or its deadline has come: gRPC may tell that before ctx does.
func over(ctx context.Context) bool {
	deadline, bounded := ctx.Deadline()
	return ctx.Err() != nil || bounded && !time.Now().Before(deadline)
}

// ended reports whether the time is over. What came of the check then says nothing, and it is noted
// as unchecked.
func (r *Report) ended(ctx context.Context, what string) bool {
	if !over(ctx) {
		return false
	}
	r.unchecked = append(r.unchecked, what)
	return true
}

// end adds one finding for all that was not checked, with the reason.
func (r *Report) end(ctx context.Context, timeout time.Duration) {
	why, remedy := fmt.Sprintf("timed out after %v",
		timeout), "see what is slow above, and give it more time with --timeout"
	if errors.Is(ctx.Err(), context.Canceled) {
		why, remedy = "was interrupted", "let it run to its end"
	}
	if len(r.unchecked) > 0 {
		r.fail("check", remedy, "%s: not checked: %s", why, strings.Join(r.unchecked, ", "))
	}
}

func (r *Report) ok(subject, format string, args ...any) {
	r.add(OK, subject, "", format, args)
}

func (r *Report) warn(subject, remedy, format string, args ...any) {
	r.add(Warning, subject, remedy, format, args)
}

func (r *Report) fail(subject, remedy, format string, args ...any) {
	r.add(Error, subject, remedy, format, args)
}

func (r *Report) add(status Status, subject, remedy, format string, args []any) {
	r.Findings = append(r.Findings, Finding{
		Status: status, Subject: subject, Text: oneLine(fmt.Sprintf(format, args...)), Remedy: remedy,
	})
}

// Count returns how many findings have the status.
func (r *Report) Count(status Status) (n int) {
	for _, f := range r.Findings {
		if f.Status == status {
			n++
		}
	}
	return n
}

// Err returns an error when anything is broken, be it one server of several.
func (r *Report) Err() error {
	switch n := r.Count(Error); n {
	case 0:
		return nil
	case 1:
		i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Status == Error })
		return fmt.Errorf("the check found an error: %s: %s", r.Findings[i].Subject, r.Findings[i].Text)
	default:
		return fmt.Errorf("the check found %d errors", n)
	}
}

// oneLine keeps what others wrote, such as a server's message, to its line, and its control
// characters off the terminal.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
