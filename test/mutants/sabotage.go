package main

import (
	"fmt"
	"strings"
)

// sabotage is one line made wrong, and the test that has to notice.
type sabotage struct {
	name string
	file string // below the project's folder
	old  string // occurs exactly once in file
	new  string
	pkg  string // as `go test` names it
	test string // a test function of pkg
}

// apply returns text with the old line replaced by the new one.
func (s sabotage) apply(text string) (string, error) {
	switch n := strings.Count(text, s.old); {
	case s.old == s.new:
		return "", fmt.Errorf("%s: changes nothing", s.name)
	case n != 1:
		return "", fmt.Errorf("%s: %s has the line %d times, want once: %s", s.name, s.file, n, s.old)
	}
	return strings.Replace(text, s.old, s.new, 1), nil
}
