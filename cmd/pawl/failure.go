package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"pawl/internal/check"
	"pawl/internal/config"
	"pawl/ratchet"
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
	lines := make([]string, len(e.findings))
	for i, f := range e.findings {
		lines[i] = fmt.Sprintf("%s: %v", e.file, f)
	}
	return lines
}

// report prints err, one line for each error and one for the remedy, and returns the exit
// code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	for _, line := range errorLines(err) {
		tell(stderr, "pawl: error: ", line)
	}
	if hint := hintFor(err); hint != "" {
		for line := range strings.SplitSeq(hint, "\n") {
			tell(stderr, "hint: ", line)
		}
	}
	if _, misuse := errors.AsType[*usageError](err); misuse {
		return exitUsage
	}
	return exitFailed
}

// tell writes a line. That stderr cannot be written cannot be told either.
func tell(stderr io.Writer, what, text string) {
	_, _ = fmt.Fprintf(stderr, "%s%s\n", what, oneLine(text))
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

// secretWord matches what a secret in the wrong place looks like: a Tezos secret key, or 16
// bytes of hex or more (the shortest seed).
var secretWord = regexp.MustCompile(`\b(edsk|edesk|spsk|spesk|p2sk|p2esk|BLsk|BLesk|mdsk)[0-9A-Za-z]*|[0-9A-Fa-f]{32,}`)

// withoutSecrets cuts from a message what may be a secret.
func withoutSecrets(text string) string { return secretWord.ReplaceAllString(text, "$1[redacted]") }

// oneLine keeps foreign text, such as a server's message, on one line.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
