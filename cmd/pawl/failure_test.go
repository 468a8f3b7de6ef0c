package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"pawl/signer"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		code int
		want string
	}{
		"nothing": {nil, 0, ""},
		"failure": {errors.New("no way"), 1, "pawl: error: no way\n"},
		"lines":   {errors.Join(errors.New("one"), errors.New("two\r\n")), 1, "pawl: error: one; two\n"},
		"hint": {
			fmt.Errorf("outer: %w", withHint(errors.New("inner"), "try %s", "this")), 1,
			"pawl: error: outer: inner\nhint: try this\n",
		},
		"usage":  {&usageError{text: "what", help: "pawl --help"}, 2, "pawl: error: what\nhint: see pawl --help\n"},
		"misuse": {fmt.Errorf("x: %w", &usageError{text: "what"}), 2, "pawl: error: x: what\n"},
		"findings": {
			&findingsError{file: "keys.json", findings: []signer.Finding{{Path: "url", Text: "missing"}, {Text: "empty"}}}, 1,
			"pawl: error: keys.json: url: missing\npawl: error: keys.json: empty\n",
		},
	} {
		var stderr bytes.Buffer
		if code := report(&stderr, test.err); code != test.code || stderr.String() != test.want {
			t.Errorf("%s: exit code %d, %q, want %d, %q", name, code, stderr.String(), test.code, test.want)
		}
	}
	if withHint(nil, "unneeded") != nil {
		t.Error("withHint makes an error of nil")
	}
}
