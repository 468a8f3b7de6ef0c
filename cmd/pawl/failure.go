package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"pawl/internal/check"
	"pawl/internal/config"
	"pawl/ratchet"
	"pawl/tezos"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a command line that cannot be used. Nothing was opened and no server was
// called.
type usageError struct{ text, help string }

func (e *usageError) Error() string { return e.text }

// hintedError is an error with its remedy.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

// reportedError is an error that was printed already.
type reportedError struct{ error }

func (e *reportedError) Unwrap() error { return e.error }

// withHint adds a remedy to an error, and nothing to nil.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hintedError{err: err, hint: fmt.Sprintf(format, args...)}
}

// hintInLine puts the remedy into the line of the error.
func hintInLine(err error) error {
	if hinted, ok := errors.AsType[*hintedError](err); ok {
		return fmt.Errorf("%v: %s", err, hintLine(hinted.hint))
	}
	return err
}

// hintLine puts a remedy with commands into one line.
func hintLine(hint string) string {
	return strings.ReplaceAll(strings.ReplaceAll(hint, ":\n  ", ": "), "\n  ", "; ")
}

// findingsError holds the findings in keys.json that forbid the start.
type findingsError struct {
	file     string
	findings []config.Finding
}

func (e *findingsError) Error() string { return strings.Join(e.lines(), "; ") }

func (e *findingsError) lines() []string {
	shown, more := config.Shown(e.findings)
	lines := make([]string, len(shown))
	for i, f := range shown {
		lines[i] = fmt.Sprintf("%s: %v", e.file, f)
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("%s: and %s more", e.file, counted(more, "finding")))
	}
	return lines
}

// report prints err, one line for each error and one for the remedy, and returns the exit
// code. It prints no error twice.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if _, reported := errors.AsType[*reportedError](err); !reported {
		printError(stderr, err)
	}
	if _, misuse := errors.AsType[*usageError](err); misuse {
		return exitUsage
	}
	return exitFailed
}

func printError(stderr io.Writer, err error) {
	for _, line := range errorLines(err) {
		tell(stderr, "pawl: error: ", line)
	}
	if hint := hintFor(err); hint != "" {
		for line := range strings.SplitSeq(hint, "\n") {
			tell(stderr, "hint: ", line)
		}
	}
}

// tell writes a line. That stderr cannot be written cannot be told either.
func tell(stderr io.Writer, what, text string) {
	_, _ = fmt.Fprintf(stderr, "%s%s\n", what, oneLine(tezos.RedactKeys(text)))
}

func errorLines(err error) []string {
	if findings, ok := errors.AsType[*findingsError](err); ok {
		return findings.lines()
	}
	return []string{err.Error()}
}

// hintFor returns the remedy for err, or nothing if there is none or the text names it.
func hintFor(err error) string {
	var hinted *hintedError
	var misuse *usageError
	switch {
	case errors.As(err, &hinted):
		return hinted.hint
	case errors.As(err, &misuse) && misuse.help != "":
		return "see " + misuse.help
	case errors.Is(err, ratchet.ErrMissing):
		return check.NewRatchet
	}
	return ""
}

// oneLine keeps foreign text, such as a server's message, on one line, and its control characters
// off the terminal.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
