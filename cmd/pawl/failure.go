package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"pawl/internal/config"
	"pawl/ratchet"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a command line that cannot be meant. Nothing was opened and
// nobody was connected to.
type usageError struct{ text, help string }

func (e *usageError) Error() string { return e.text }

// hintedError is an error with the way out of it.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

// withHint adds the way out to an error, and nothing to nil.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hintedError{err: err, hint: fmt.Sprintf(format, args...)}
}

// hintInLine puts the way out into the line of the error.
func hintInLine(err error) error {
	if hinted, ok := errors.AsType[*hintedError](err); ok {
		return fmt.Errorf("%v: %s", err, hinted.hint)
	}
	return err
}

// findingsError is the findings in keys.json that forbid the start.
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

// report tells err to the person at the terminal, a line for each error and
// one for the way out, and returns the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	for _, line := range errorLines(err) {
		tell(stderr, "pawl: error: ", line)
	}
	if hint := hintFor(err); hint != "" {
		tell(stderr, "hint: ", hint)
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

// hintFor returns the way out of err, or nothing when its text says it or when
// there is none.
func hintFor(err error) string {
	var hinted *hintedError
	var misuse *usageError
	switch {
	case errors.As(err, &hinted):
		return hinted.hint
	case errors.As(err, &misuse) && misuse.help != "":
		return "see " + misuse.help
	case errors.Is(err, ratchet.ErrMissing):
		return "a new ratchet knows no mark: register each key that was used from a level above all that it ever signed"
	}
	return ""
}

// secretWord is what a secret looks like that was given in the wrong place: a secret key of
// Tezos, or 16 bytes or more in hex, the shortest seed.
var secretWord = regexp.MustCompile(`\b(edsk|edesk|spsk|spesk|p2sk|p2esk|BLsk|BLesk|mdsk)[0-9A-Za-z]*|[0-9A-Fa-f]{32,}`)

// withoutSecrets keeps what may be a secret from being shown once more.
func withoutSecrets(text string) string { return secretWord.ReplaceAllString(text, "$1[redacted]") }

// oneLine keeps what others wrote, such as a server's message, to its line.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
